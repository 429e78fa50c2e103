"""``tsdb export``: samples to files, in the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tsdb.commands.export_options import OUTPUT, SELECTION, URL, options, times
from tsdb.commands.export_prometheus import prometheus

_COMMON = options(SELECTION, URL, OUTPUT)


@click.group()
def export() -> None:
    """Writes samples to files, in the formats of others.

    \b
      tsdb export jsonl --data /var/lib/tsdb --match '{job="api"}' --start -30d -o api.jsonl.zst
      tsdb export jsonl --url http://127.0.0.1:9090 --match up | gzip > up.jsonl.gz

    Memory is bounded whatever the range and however many metrics there are. What a format cannot carry is told at the
    end. docs/export.md says more.
    """


@export.command()
@_COMMON
@click.option("--max-rows-per-line", type=click.IntRange(0), default=0, metavar="N",
              help="Most samples of a line.  [default: as many as make 1 MiB]")
def jsonl(max_rows_per_line: int, **common: Any) -> None:
    """JSON lines, as VictoriaMetrics exports and imports them. Nothing is lost."""
    _run("jsonl", {"max_rows_per_line": max_rows_per_line}, **common)


@export.command()
@_COMMON
@click.option("--time-format", type=click.Choice(["ms", "s", "ns", "rfc3339"]), default="ms", show_default=True,
              help="Unix times, seconds with decimals, or UTC as in 2026-11-23T12:00:00.000Z.")
def csv(time_format: str, **common: Any) -> None:
    """CSV: timestamp, value, and a column for each label. Floats only.

    Stale markers and native histograms are left out, and counted.
    """
    _run("csv", {"time_format": time_format}, **common)


@export.command()
@_COMMON
def openmetrics(**common: Any) -> None:
    """OpenMetrics, as promtool tsdb create-blocks-from takes it. Floats only.

    Stale markers, native histograms and series without a metric name are left out, and counted.
    """
    _run("openmetrics", {}, **common)


@export.command()
@_COMMON
def parquet(**common: Any) -> None:
    """Parquet, as pandas, polars, DuckDB and Spark read it. Nothing is lost.

    Needs pyarrow: pip install 'tsdb-server[arrow]'.
    """
    _run("parquet", {}, **common)


def _run(form: str, given: dict[str, Any], data: Path | None, matches: tuple[str, ...], start: str | None,
         end: str | None, url: str | None, output: Path | None) -> None:
    from tsdb.commands.export_output import written
    from tsdb.commands.export_sources import of_directory, of_server

    if url is not None and data is not None:
        raise click.UsageError("give --url of a server, or --data, a data directory")
    first, last = times(start, end)
    source = (of_directory(data or Path("data"), form, matches, first, last, given) if url is None
              else of_server(url, form, matches, first, last, given))
    with source as exported:
        written(exported, form, output)


export.add_command(prometheus)
