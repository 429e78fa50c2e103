"""``tsdb import rules``: recording rules over the past."""

from __future__ import annotations

import sys
import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tsdb.commands.query_times import duration, moment
from tsdb.model.errors import (
    ConfigError,
    DirectoryLocked,
    ExecutionError,
    LimitExceeded,
    StorageError,
    TsdbError,
)

if TYPE_CHECKING:
    from tsdb.imports.rules import Recording, Results, Source
    from tsdb.storage import Storage

TOO_MUCH = ("too many samples", "query timed out", "exceeded maximum resolution")
"""What servers say where a query of fewer steps may go."""
COMPACT_SAMPLES = 4_000_000
"""So many go into blocks at once."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", required=True,
              help="The data directory of a server that does not run: results go there.")
@click.option("--url", metavar="URL", help="A server that answers the queries, ours or a Prometheus.  [default: the "
              "data in DIR]")
@click.option("--start", required=True, metavar="TIME", help="As in 2026-11-23T12:00:00Z, 1795392000 or -30d.")
@click.option("--end", default="-3h", show_default=True, metavar="TIME", help="What is newer, a server records.")
@click.option("--eval-interval", default="60s", show_default=True, metavar="DURATION",
              help="For groups that say none.")
@click.option("--timeout", default="2m", show_default=True, metavar="DURATION", help="How long one query may take.")
def rules(files: Sequence[Path], data: Path, url: str | None, start: str, end: str, eval_interval: str, timeout: str,
          ) -> None:
    """Evaluates the recording rules of rule files over data that are there, so that new rules have a past.

    As promtool's create-blocks-from rules, at the moments at which a server evaluates the groups. Rules that read what
    other rules record see it, unless the queries go to --url. Alerting rules are left out. Samples that are there
    already stay: it can be run again, also after it was interrupted.

    \b
      tsdb import rules rules.yml --data /var/lib/tsdb --start -90d
      tsdb import rules rules.yml --url http://prometheus:9090 --data /var/lib/tsdb --start 2026-01-01T00:00:00Z
    """
    from tsdb import kernels
    from tsdb.imports.rules import load_all, passes, recordings
    from tsdb.storage.directory import FORMAT_NAME

    now = round(clock.time() * 1000)
    first, last = moment(start, now, "--start"), moment(end, now, "--end")
    if last < first:
        raise ConfigError(f'--end "{end}" is before --start "{start}"')
    limit_s = duration(timeout, "--timeout") / 1000
    found, alerts = recordings(load_all(files), duration(eval_interval, "--eval-interval"))
    if alerts:
        click.echo(f"{alerts} alerting rules are left out", err=True)
    if not found:
        raise ConfigError("there are no recording rules in these files")
    in_order, circular = passes(found)
    for rule in circular:
        click.echo(f"{rule}: reads what it records itself, or in a circle with others: it sees of that what is there "
                   "already", err=True)
    if url is not None and len(in_order) > 1:
        click.echo(f"some rules read what others record, and {url} may not have that yet: they see what it has",
                   err=True)
    if not (data / FORMAT_NAME).exists():
        raise StorageError(f"{data} is not a data directory of tsdb: it has no file {FORMAT_NAME}")
    kernels.warm_up(data)
    with _opened(data) as storage, _source(storage, url, limit_s) as source:
        samples, series = _record(storage, source, in_order, first, last)
    click.echo(f"{data}: {samples} samples of {series} series were recorded by {len(found)} rules")


@contextmanager
def _opened(data: Path) -> Iterator[Storage]:
    from tsdb.storage import Storage, StorageOptions

    try:
        storage = Storage.open(data, StorageOptions(wal_sync="os"))
    except DirectoryLocked as problem:
        raise DirectoryLocked(f"{problem}: results go to a directory that no server has open") from None
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def _source(storage: Storage, url: str | None, timeout_s: float) -> Iterator[Source]:
    from tsdb.imports.rules import EngineSource
    from tsdb.promql import Engine

    if url is not None:
        yield ServerSource(url, timeout_s)
        return
    with Engine(storage) as engine:
        yield EngineSource(engine, timeout_s=timeout_s)


def _record(storage: Storage, source: Source, in_order: Sequence[Sequence[Recording]], first: int, last: int,
            ) -> tuple[int, int]:
    """How many samples there are now of how many series that were not there before."""
    from tsdb.imports.rules import evaluate

    rules = [rule for every in in_order for rule in every]
    span = max(last - first, 1)
    samples, waiting, keys = 0, 0, set[bytes]()
    with _bar("evaluating") as (told, said):
        for number, rule in enumerate(rules):
            told(number / len(rules))
            for batch in evaluate(source, rule, first, last, storage.secret, said):
                told((number + (int(batch.ts.max()) - first) / span) / len(rules))
                samples += storage.submit(batch).result().accepted
                waiting += batch.samples
                keys.update(batch.keys[at : at + size].tobytes() for at, size in
                            zip(batch.row_offset.tolist(), batch.row_length.tolist(), strict=True))
                if waiting > COMPACT_SAMPLES:
                    storage.compact()
                    waiting = 0
        storage.compact()
    return samples, len(keys)


class ServerSource:
    """A server's HTTP API. Of its answers the floats are taken."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s

    def range(self, expr: str, start: int, end: int, step: int) -> Results:
        """See `Source`."""
        from tsdb.commands.ask import document

        wanted = {"query": [expr], "start": [f"{start / 1000:.3f}"], "end": [f"{end / 1000:.3f}"],
                  "step": [f"{step / 1000:.3f}"], "timeout": [f"{self._timeout_s:g}s"]}
        try:
            found = document(self._url, "/api/v1/query_range", wanted, self._timeout_s + 10)
        except TsdbError as problem:
            kind = LimitExceeded if any(words in str(problem) for words in TOO_MUCH) else ExecutionError
            raise kind(str(problem)) from None
        return matrix(found, start, end, step)


def matrix(document: dict[str, Any], start: int, end: int, step: int) -> Results:
    """A matrix as the HTTP API answers it, by steps."""
    import numpy as np

    from tsdb.imports.rules import Results

    series = document["data"]["result"]
    times = np.arange(start, end + 1, step, dtype=np.int64)
    values, present = np.zeros((len(series), times.size)), np.zeros((len(series), times.size), np.bool_)
    histograms = 0
    for row, each in enumerate(series):
        histograms += len(each.get("histograms", ()))
        pairs = each.get("values", ())
        at = np.array([round(ts * 1000) - start for ts, _ in pairs], np.int64) // step
        values[row, at] = [float(value) for _, value in pairs]
        present[row, at] = True
    warnings = list(document.get("warnings", ()))
    if histograms:
        warnings.append("native histograms are left out: the HTTP API does not give them as they are")
    return Results([each["metric"] for each in series], times, values.view(np.uint64), present, None, warnings)


@contextmanager
def _bar(what: str) -> Iterator[tuple[Callable[[float], None], Callable[[str], None]]]:
    """(progress, say): how much is done, 0 to 1, and lines of text."""
    if not sys.stderr.isatty():
        yield lambda _: None, lambda line: click.echo(line, err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=console,
                  transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield (lambda done: shown.update(task, completed=done)), (lambda line: console.print(line, markup=False))
