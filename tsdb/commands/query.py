"""``tsdb query``: asks a server, or a data directory, and shows the answer."""

from __future__ import annotations

import shutil
import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tsdb.commands.query_sources import Directory, Document, Server

DEFAULT_URL = "http://127.0.0.1:9090"
FORMATS = ("table", "json", "csv", "chart")
Decorated = Callable[..., Any]


def _options(*options: Decorated) -> Callable[[Decorated], Decorated]:
    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_SOURCE = (
    click.option("--url", metavar="URL", help="The server; name and password may stand in it.  "
                 f"[default: {DEFAULT_URL}]"),
    click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
                 help="A data directory instead, which is only read: a server may run on it, and need not."),
    click.option("--timeout", default="2m", show_default=True, metavar="DURATION",
                 help="How long the answer may take."),
    click.option("--limit", type=click.IntRange(0, 1_000_000), default=0, metavar="N",
                 help="Most series or names in the answer; 0: all."),
)
_ANSWER = _options(*_SOURCE, click.option(
    "--format", "form", type=click.Choice(FORMATS), default="table", show_default=True,
    help="json is the API's document."))
_NAMES = _options(
    click.option("--match", "matches", multiple=True, metavar="SELECTOR",
                 help="Only of series that satisfy it; repeatable."),
    click.option("--start", default="-1h", show_default=True, metavar="TIME", help="With samples at or after this."),
    click.option("--end", default="now", show_default=True, metavar="TIME", help="With samples at or before this."),
    *_SOURCE, click.option("--format", "form", type=click.Choice(FORMATS[:3]), default="table", show_default=True),
)
_EXPLAIN = click.option("--explain", is_flag=True, help="Show what the query did, instead of its answer: each part "
                        "with what it read, gave and took.")

_RESOLUTION = click.option("--max-source-resolution", "resolution", default="auto", show_default=True,
                           metavar="DURATION", help="Read the coarsest downsampling tier of at most this resolution; "
                           "0s: samples alone.")


@click.group()
def query() -> None:
    """Asks a server, or a data directory, and shows the answer.

    \b
      tsdb query instant 'sum by (job) (up)'
      tsdb query range 'rate(requests_total[5m])' --start -6h --format chart
      tsdb query range up --start 2026-11-23T12:00:00Z --end 2026-11-23T13:00:00Z --step 1m --format csv
      tsdb query series '{job="api"}'
      tsdb query labels
      tsdb query values job --data /var/lib/tsdb

    Times are now, -1h (an hour ago), unix seconds, or RFC 3339. docs/queries.md says more.
    """


@query.command()
@click.argument("expr")
@click.option("--time", default="now", show_default=True, metavar="TIME", help="When.")
@_RESOLUTION
@_EXPLAIN
@_ANSWER
def instant(expr: str, time: str, resolution: str, explain: bool, url: str | None, data: Path | None, timeout: str,
            limit: int, form: str) -> None:
    """Evaluates EXPR at one time."""
    at = _moment(time, "--time")
    _show(_source(url, data).instant(expr, at, _seconds(timeout), limit, explain, resolution), form)


@query.command("range")
@click.argument("expr")
@click.option("--start", default="-1h", show_default=True, metavar="TIME", help="The first time.")
@click.option("--end", default="now", show_default=True, metavar="TIME", help="The last time.")
@click.option("--step", metavar="DURATION", help="From one time to the next.  [default: about 120 steps]")
@_RESOLUTION
@_EXPLAIN
@_ANSWER
def range_(expr: str, start: str, end: str, step: str | None, resolution: str, explain: bool, url: str | None,
           data: Path | None, timeout: str, limit: int, form: str) -> None:
    """Evaluates EXPR at start, start + step, … up to end."""
    from tsdb.commands.query_times import step_of

    first, last = _range(start, end)
    width = step_of(step, first, last)
    _show(_source(url, data).range(expr, first, last, width, _seconds(timeout), limit, explain, resolution), form)


@query.command()
@click.argument("selectors", nargs=-1, metavar="SELECTOR...")
@_NAMES
def series(selectors: tuple[str, ...], matches: tuple[str, ...], start: str, end: str, url: str | None,
           data: Path | None, timeout: str, limit: int, form: str) -> None:
    """Lists the label sets of series that one of the SELECTORs finds."""
    every = (*selectors, *matches)
    if not every:
        raise click.UsageError("give a selector, as in '{job=\"api\"}' or up")
    _show(_source(url, data).series(every, *_range(start, end), _seconds(timeout), limit), form)


@query.command()
@_NAMES
def labels(matches: tuple[str, ...], start: str, end: str, url: str | None, data: Path | None, timeout: str,
           limit: int, form: str) -> None:
    """Lists the names of labels."""
    _show(_source(url, data).labels(matches, *_range(start, end), _seconds(timeout), limit), form)


@query.command()
@click.argument("label")
@_NAMES
def values(label: str, matches: tuple[str, ...], start: str, end: str, url: str | None, data: Path | None,
           timeout: str, limit: int, form: str) -> None:
    """Lists the values of LABEL. Those of __name__ are the metrics."""
    _show(_source(url, data).values(label, matches, *_range(start, end), _seconds(timeout), limit), form)


def _source(url: str | None, data: Path | None) -> Server | Directory:
    from tsdb.commands.query_sources import Directory, Server

    if url is not None and data is not None:
        raise click.UsageError("give --url of a server, or --data, a data directory")
    return Server(url or DEFAULT_URL) if data is None else Directory(data)


def _moment(text: str, option: str) -> int:
    from tsdb.commands.query_times import moment

    return moment(text, int(clock.time()) * 1000, option)


def _range(start: str, end: str) -> tuple[int, int]:
    """ms. Both are seen from the same now."""
    from tsdb.commands.query_times import moment
    from tsdb.model.errors import ConfigError

    now = int(clock.time()) * 1000
    first, last = moment(start, now, "--start"), moment(end, now, "--end")
    if first > last:
        raise ConfigError(f"--start {start} is after --end {end}")
    return first, last


def _seconds(timeout: str) -> float:
    from tsdb.commands.query_times import duration

    return duration(timeout, "--timeout") / 1000


def _show(answer: Document, form: str) -> None:
    """Warnings and infos go to standard error, so that what is piped on is the answer alone."""
    from tsdb.commands.query_chart import chart
    from tsdb.commands.query_text import as_csv, as_json, as_table
    from tsdb.commands.tables import print_lines

    width = shutil.get_terminal_size((100, 24)).columns
    if form == "json":
        click.echo(as_json(answer))
        return
    explanation = answer["data"].get("explain") if isinstance(answer["data"], dict) else None
    if explanation is not None:
        from tsdb.commands.query_explain import lines

        click.echo("\n".join(lines(explanation)))
    elif form == "csv":
        click.echo(as_csv(answer))
    else:
        print_lines(chart(answer, width) if form == "chart" else as_table(answer, width))
    for text in (*(answer.get("warnings") or ()), *(answer.get("infos") or ())):
        click.echo(f"tsdb: {text}", err=True)
