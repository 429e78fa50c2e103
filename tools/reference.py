"""Writes docs/configuration.md, docs/http-api.md and docs/promql.md from the tables in the code: python -m
tools.reference"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from tools.promql_reference import promql
from tsdb import config
from tsdb.cli import cli
from tsdb.flags import FEATURES, FLAGS, Flag, Meaning
from tsdb.model import key_table
from tsdb.server import metrics
from tsdb.server.api.routes import ROUTES
from tsdb.server.http.route import Route
from tsdb.server.http.web_config import WebConfig
from tsdb.server.metrics import PROMETHEUS_VERSION
from tsdb.server.metrics.absent import ABSENT

DOCS = Path(__file__).parent.parent / "docs"

CONFIGURATION = """# Configuration

Made from the code's own tables by `python -m tools.reference`: do not edit.

Everything has a default: `tsdb serve` without options and without a file runs. Options win over the file. Who comes
from Prometheus reads [drop-in.md](drop-in.md) first.

## Commands

{options}

Environment: `TSDB_CACHE_DIR` is the folder for compiled kernels, instead of `$XDG_CACHE_HOME/tsdb/kernels` (by default
`~/.cache/tsdb/kernels`). Where neither can be written, they go to `.kernels` in the data directory.

Exit codes: 0 after SIGTERM or SIGINT, 1 for an error (one line on standard error), 2 for wrong options.

## Flags of the server

They are Prometheus': in a unit file it is enough to change the name of the program, since `tsdb --config.file=…`
without a command means `tsdb serve`. `--config`, `--listen`, `--data` and `--log-level` are shorter spellings of
`--config.file`, `--web.listen-address`, `--storage.tsdb.path` and `--log.level`. A flag of the type `true or false` is
written `--name` or `--no-name`. A flag that Prometheus does not have is an error that names the nearest one.

{flags}

These are taken, and not acted on: a warning in the log names them where they are given. The meaning is that of
Prometheus.

{ignored_flags}

What `--enable-feature` takes:

{features}

## TLS and passwords

The file of `--web.config.file` is that of Prometheus and its exporters; names in it are relative to its folder. It is
read again when it, or a certificate that it names, has changed; if it is wrong then, the old one goes on. Passwords are
asked for on all paths, `/-/healthy` too. `tsdb check web-config FILE` checks one.

{web_keys}

## The file

A `prometheus.yml` as it is, and more: the sections `query` and `server`, `storage.tsdb.path` and `storage.wal` are
ours. `tsdb check config FILE` checks one, as promtool does it.

- A key that is unknown or stands twice is an error that names file, line, column and where the key belongs. One that is
  known and not built yet is named in a warning; it is an error where ignoring it would not be safe.
- The file is YAML with the core schema of YAML 1.2: `on`, `1:30` and `2001-01-01` are text, `010` is ten. Where true or
  false is wanted, `yes`, `no`, `on` and `off` say it, too. Anchors and the merge key `<<` are known: what stands beside
  it wins, also where it stands before (in Prometheus the merged value wins then). A key without a value has its
  default.
- A duration is text such as `15s`, `1h30m` or `500ms`; a size is text such as `32MiB` or `32MB`, which is the same.
- `${{env:NAME}}` and `${{env:NAME:-default}}` in a value stand for what the environment has, in any section; a variable
  that is missing and has no default is an error. A key whose value is no text may use them, too. In
  `global.external_labels` Prometheus' own form, `$NAME` and `${{NAME}}`, is known as well.
- Names of files are relative to the folder of the file that has them, but for `storage.tsdb.path`.
- Secrets, and passwords in URLs, are shown nowhere; of values from the environment `/api/v1/status/config` shows the
  variable's name.
- The file is read at the start, and again on SIGHUP and `POST /-/reload`: what is reloadable takes effect then, if the
  whole file is right, and the files that it names can be used. At the start a job whose certificate is missing, say, is
  left out, with an error in the log and a notification, until a reload can begin it; others are not held up by it.

{keys}
"""

HTTP_API = """# HTTP API

Made from the code's own tables by `python -m tools.reference`: do not edit.

Answers have the shape of Prometheus {version}: `{{"status":"success","data":…,"warnings":[…],"infos":[…]}}`, the last
two only where there are any, and `{{"status":"error","errorType":…,"error":…}}`. Times are seconds since 1970
(`1435781430.781`) or RFC 3339 (`2015-07-01T20:10:30.781Z`), durations are seconds or text such as `5m`. POST takes the
parameters as a form in the body too. Answers are sent as zstd or gzip to who asks for it. The permission tells kinds of
endpoints apart: who reaches the server, with the password where `--web.config.file` wants one, may use all of them, but
for what a flag has to turn on.

| errorType | status | when |
| --- | --- | --- |
| `bad_data` | 400 | a parameter or the expression is wrong |
| `execution` | 422 | the expression cannot be evaluated, or not within its limits |
| `timeout` | 503 | the deadline passed, in the queue or in the query |
| `canceled` | 499 | the client left |
| `internal` | 500 | a bug: the log has the details |
| `unavailable` | 500, 501 | it is turned off, or not built yet |

While the server starts or stops, what needs the data is answered with 503, `Retry-After` and a line of text. Whoever
sends samples gets a line of text instead of the envelope: 204 is taken; 400 can never be taken (the line names reasons
and samples, the valid rest is kept); 413 and 415 are too large and of an unknown type; 503 with `Retry-After` may be
sent again. What contradicts nothing but other samples of the same request is dropped with 204, as by Prometheus.

Blocks of history are uploaded by Mimir's API, `/api/v1/upload/block/…`, as `tsdb import --url` does it: start with the
block's meta.json, its files `index` and `chunks`, in parts if they are large, finish, and then check until the answer
is no longer `validating`: now the block is shown to queries, or refused with a reason, as a whole. Each of these is
answered with 200, or a line of text: 400 for what can never be taken, blocks of Prometheus among it; 404 where the
upload was not started, or is forgotten after a restart or a day: start again; 409 where the block is there already; 413
above `server.max_upload_size`, or where a part is above `server.max_body_size`; 422 where its samples would go at once,
for their age; 503 where the disk is full or `server.max_uploads` are under way.

{routes}

## Metrics

`GET /metrics` has these, besides those of process and Python. Names are Prometheus' where the meaning is.

{metrics}

What Prometheus' own dashboards and alerts ask for besides, and why it is not there:

{absent}
"""


def configuration() -> str:
    return CONFIGURATION.format(
        options=_options(cli),
        flags=_flags(flag for flag in FLAGS if flag.acted),
        ignored_flags=_flags(flag for flag in FLAGS if not flag.acted),
        features=_features(),
        web_keys=_keys(key_table.keys(WebConfig)),
        keys=_keys(config.all_keys()),
    )


def http_api() -> str:
    routes = "\n\n".join(_route(route) for route in ROUTES)
    return HTTP_API.format(version=PROMETHEUS_VERSION, routes=routes, metrics=_metrics(), absent=_absent())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _options(group: click.Group) -> str:
    rows = []
    for name, command in _commands(group, "tsdb"):
        for parameter in command.params:
            if name == "tsdb serve":
                continue  # a table of their own
            if isinstance(parameter, click.Option) and not parameter.hidden:
                option = parameter.opts[-1] + (f" {parameter.metavar}" if parameter.metavar else "")
                rows.append((f"`{name}`", f"`{option}`", parameter.help or ""))
    return _table(("command", "option", "meaning"), rows)


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for inner in sorted(command.commands):
            yield from _commands(command.commands[inner], f"{name} {inner}")


def _flags(flags: Iterable[Flag]) -> str:
    rows = [(f"`--{flag.name}`", flag.kind.name, f"`{flag.default}`" if flag.default else "", flag.doc)
            for flag in flags]
    return _table(("flag", "type", "default", "meaning"), rows)


def _features() -> str:
    rows = [(meaning.value, ", ".join(f"`{name}`" for name in sorted(FEATURES) if FEATURES[name] is meaning))
            for meaning in Meaning]
    return _table(("here", "features"), rows)


def _keys(keys: Iterable[key_table.Key]) -> str:
    rows = [
        (f"`{key.name}`", key.type + (f", {key.unit}" if key.unit not in ("", key.type) else ""),
         f"`{key.default}`" if key.default not in ("", "required") else key.default,
         key.doc if key.built else f"Not built yet. {key.doc}", "yes" if key.reloadable else "no")
        for key in keys
    ]
    return _table(("key", "type", "default", "meaning", "reloadable"), rows)


def _route(route: Route) -> str:
    text = f"## {', '.join(route.methods)} {route.path}\n\n{route.doc} Permission: {route.permission}."
    if not route.parameters:
        return text
    rows = [(f"`{p.name}`", p.type + (", required" if p.required else ""), p.doc) for p in route.parameters]
    return f"{text}\n\n{_table(('parameter', 'type', 'meaning'), rows)}"


def _metrics() -> str:
    rows = [(f"`{name}`", kind, part, text) for name, kind, part, text in metrics.reference()]
    return _table(("metric", "type", "of", "meaning"), rows)


def _absent() -> str:
    return _table(("metric", "why"), [(f"`{name}`", reason) for name, reason in ABSENT.items()])


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration, "http-api.md": http_api, "promql.md": functools.partial(promql, _table),
}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
