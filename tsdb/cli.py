"""The command ``tsdb``. Modules are imported when a command needs them: ``tsdb --help`` is instant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tsdb import flags
from tsdb.commands.analyze import analyze
from tsdb.commands.backup import backup
from tsdb.commands.check import check
from tsdb.commands.export import export
from tsdb.commands.import_data import import_data
from tsdb.commands.inspect import inspect
from tsdb.commands.query import query
from tsdb.commands.snapshot import restore, snapshot
from tsdb.commands.test import test
from tsdb.model.errors import ConfigError, TsdbError

if TYPE_CHECKING:
    from tsdb.server.server import Report

HELP = """A time-series database server that speaks Prometheus' protocols.

\b
Start one:         tsdb serve
Like Prometheus:   tsdb --config.file=prometheus.yml --storage.tsdb.path=data
Ask it:            curl 'http://127.0.0.1:9090/api/v1/query?query=up'
Send it samples:   in prometheus.yml,
                     remote_write: [{url: http://127.0.0.1:9090/api/v1/write}]
In Python:         import tsdb; db = tsdb.open("data")
"""

SERVE_HELP = """Runs the server until SIGTERM or SIGINT (Ctrl-C).

Everything has a default: without options it listens on 127.0.0.1:9090, keeps its data in ./data, and scrapes nothing.
The first start compiles its kernels, which takes some seconds; /-/ready answers 200 once queries are answered.

\b
  tsdb serve --config examples/quickstart.yml      scrapes itself
  tsdb serve --listen :9090 --data /var/lib/tsdb   listens on all addresses

Flags are Prometheus', and win over the config file. All flags and keys: docs/configuration.md.
"""


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"tsdb {version('tsdb-server')}")
        context.exit()


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


class Commands(click.Group):
    """Flags without a command are those of ``serve``: in a unit file, ``prometheus --config.file=…`` becomes ``tsdb
    --config.file=…``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0].startswith("--") and args[0].partition("=")[0] not in own:
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("tsdb: interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(
    cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True,
              help="Print the version.")
def cli() -> None:
    pass


def _serve(**given: Any) -> None:
    import gc

    gc.disable()  # until the server is ready: importing makes much and drops nothing
    try:
        parsed = flags.parse({name: values for name, values in _by_flag(given) if values})
    except ConfigError as problem:
        raise click.UsageError(str(problem), click.get_current_context()) from None
    _check_machine_code()
    from tsdb.server import logs
    from tsdb.server.run import end_beside_threads, run

    logs.set_up(parsed.log_level, parsed.log_format)
    report, finish = _progress()
    try:
        run(parsed, report, click.echo if parsed.log_format != "json" else lambda _: None)
    finally:
        finish()
    end_beside_threads()


def _check_machine_code() -> None:
    """Raises ConfigError where the system runs no code that was made in memory, as Debian's unit of Prometheus says."""
    try:
        import numba  # noqa: F401
    except PermissionError as problem:
        raise ConfigError(
            "this system refuses memory for compiled kernels (memory that is written, then executed): in a systemd "
            f"unit set MemoryDenyWriteExecute=no, elsewhere look at SELinux or seccomp ({problem})"
        ) from problem


def _by_flag(given: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for flag in flags.FLAGS:
        value = given[_parameter(flag)]
        if flag.is_bool:
            yield flag.name, [] if value is None else [str(value).lower()]
        else:
            yield flag.name, list(value)


def _parameter(flag: flags.Flag) -> str:
    return flag.name.replace(".", "_").replace("-", "_")


SHORT = {"config.file": "--config", "web.listen-address": "--listen", "storage.tsdb.path": "--data",
         "log.level": "--log-level"}
"""Shorter spellings of flags."""


def _option(flag: flags.Flag) -> click.Option:
    names = [_parameter(flag), *([SHORT[flag.name]] if flag.name in SHORT else [])]
    hidden = flag.hidden or not flag.acted
    if flag.is_bool:
        return click.Option([*names, f"--{flag.name}/--no-{flag.name}"], default=None, help=flag.doc, hidden=hidden)
    default = f"  [default: {flag.default}]" if flag.default else ""
    return click.Option([*names, f"--{flag.name}"], multiple=True, metavar=flag.kind.metavar, hidden=hidden,
                        help=flag.doc + default)


cli.add_command(click.Command(
    "serve", callback=_serve, params=[_option(flag) for flag in flags.FLAGS], help=SERVE_HELP,
    epilog="Prometheus' other flags are taken, too, with a warning: docs/configuration.md has them all.",
))
cli.add_command(check)
cli.add_command(inspect)
cli.add_command(analyze)
cli.add_command(snapshot)
cli.add_command(backup)
cli.add_command(restore)
cli.add_command(test)
cli.add_command(query)
cli.add_command(import_data)
cli.add_command(export)


@cli.command()
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
              help="Data directory: machine code goes to its .kernels where no cache folder can be written.")
def warmup(data: Path | None) -> None:
    """Compiles all kernels, so that the next start need not: for images, and after an upgrade.

    Machine code is kept in $TSDB_CACHE_DIR, or else in the XDG cache (~/.cache/tsdb/kernels), or else in
    DIR/.kernels.
    """
    _check_machine_code()
    from tsdb import kernels

    report, finish = _progress()
    try:
        total = kernels.warm_up(data, wait=None, progress=report).total
    finally:
        finish()
    click.echo(f"{total} kernels compiled" if total else "all kernels were compiled already")


def _progress() -> tuple[Report, Callable[[], None]]:
    """(report, finish): a bar on a terminal, log lines elsewhere. Nothing is shown where nothing compiles."""
    if not sys.stderr.isatty():
        import logging

        log = logging.getLogger("tsdb.kernels")

        def line(done: int, total: int, name: str) -> None:
            if done == total or done % 10 == 1:
                log.info("compiling kernels", extra={"fields": {"done": done, "of": total}})

        return line, lambda: None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    bar = Progress(TextColumn("compiling kernels"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TextColumn("{task.fields[newest]}"), console=Console(stderr=True), transient=True)
    tasks: list[TaskID] = []

    def advance(done: int, total: int, name: str) -> None:
        if not tasks:
            bar.start()
            tasks.append(bar.add_task("", total=total, newest=""))
        bar.update(tasks[0], completed=done, newest=name.rpartition(".")[2])
        if done == total:
            bar.stop()

    return advance, bar.stop


def main() -> None:
    """Entry point. Errors of ours are one line on standard error and exit code 1."""
    try:
        cli(prog_name="tsdb")
    except TsdbError as problem:
        click.echo(f"tsdb: {problem}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
