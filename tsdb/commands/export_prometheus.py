"""``tsdb export prometheus``: blocks that Prometheus and Thanos open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tsdb.commands.export_options import SELECTION, times


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False), metavar="TARGET_DIR")
@SELECTION
def prometheus(target: Path, data: Path | None, matches: tuple[str, ...], start: str | None, end: str | None) -> None:
    """Blocks in Prometheus' own format, in TARGET_DIR, which Prometheus and Thanos open.

    Floats keep their bits and native histograms their counts; start times get lost, and are counted. A block appears
    when it is whole. TARGET_DIR may be the data directory of a Prometheus that does not run.

    \b
      tsdb export prometheus /var/lib/prometheus --data /var/lib/tsdb
      prometheus --storage.tsdb.path=/var/lib/prometheus --storage.tsdb.retention.time=10y
    """
    from tsdb.commands.export_sources import opened, selected
    from tsdb.exports.extent import within
    from tsdb.exports.prometheus import export
    from tsdb.model.errors import ConfigError

    first, last = times(start, end)
    sets = selected(matches)
    if len(sets) > 1:
        raise ConfigError("give --match once: blocks of several selectors would overlap; {__name__=~\"a|b\"} selects "
                          "several metrics")
    source = data or Path("data")
    with opened(source) as storage:
        mint, maxt = within(storage, first, last)
        with _bar() as progress:
            done = export(storage, target, sets[0], mint, maxt, progress=progress)
    click.echo(f"{target}: {len(done.blocks)} blocks with {done.samples} samples", err=True)
    if done.start_times:
        click.echo(f"tsdb: {done.start_times} samples lost their start times: this format has none", err=True)
    for text in done.warnings:
        click.echo(f"tsdb: {text}", err=True)


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    with Progress(TextColumn("exporting"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
