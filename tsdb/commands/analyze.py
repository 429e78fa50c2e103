"""``tsdb analyze``: which metrics and labels make the most series, and which come and go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tsdb.model.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from tsdb.model.matchers import Matcher
    from tsdb.storage.reading.analysis import Analysis

WAIT_S = 60.0
"""How long a server may take."""

TITLES = {
    "churnByLabelPair": "Label pairs most involved in churning",
    "churnByLabelName": "Label names most involved in churning",
    "seriesCountByLabelValuePair": "Most common label pairs",
    "valueBytesByLabelName": "Label names with highest cumulative label value length",
    "labelValueCountByLabelName": "Highest cardinality labels",
    "seriesCountByMetricName": "Highest cardinality metric names",
    "memoryInBytesByLabelName": "Label names that take the most memory",
    "lastHour": "Metric names with the most series created and removed in the last hour",
    "lastDay": "Metric names with the most series created and removed in the last day",
}
"""Tables, in the order in which they are shown."""
UNITS = {"churnByLabelPair": "SERIES", "churnByLabelName": "SERIES", "valueBytesByLabelName": "BYTES",
         "memoryInBytesByLabelName": "BYTES", "labelValueCountByLabelName": "VALUES"}

Rows = Sequence[Mapping[str, Any]]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
              help="Data directory: its head and all blocks. A server may run on it.  [default: data]")
@click.option("--url", metavar="URL", help="The head of a server that runs, as in http://127.0.0.1:9090; name and "
              "password may stand in it.")
@click.option("--block", metavar="ULID", help="Only this block of the data directory.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N",
              help="Rows of each table.")
@click.option("--match", "matches", multiple=True, metavar="SELECTOR",
              help="Only series that satisfy it, as in '{job=\"api\"}'; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def analyze(data: Path | None, url: str | None, block: str | None, limit: int, matches: tuple[str, ...],
            as_json: bool) -> None:
    """Shows which metrics and labels make the most series, and which come and go.

    As promtool tsdb analyze, and over all that is stored: nothing is changed. Churn is counted in series that are
    missing: ten series that were there for a tenth of the time make 9.

    \b
      tsdb analyze --data /var/lib/tsdb
      tsdb analyze --data /var/lib/tsdb --block 01JD3V3Q5WJ3ZV0X9T6M8N2K4B --match '{job="api"}'
      tsdb analyze --url http://127.0.0.1:9090 --limit 5

    docs/cardinality.md says what to do about it.
    """
    if url is not None and (data is not None or block is not None):
        raise click.UsageError("give --url of a server, or --data and --block of a data directory")
    if url is not None:
        found = _of_server(url, limit, matches)
    else:
        found = document(_of_directory(data or Path("data"), block, limit, matches))
    click.echo(json.dumps(found, indent=2) if as_json else text(found))


def document(found: Analysis) -> dict[str, Any]:
    """As JSON has it; names are those of /api/v1/status/tsdb where they mean the same."""
    tables = {
        "churnByLabelPair": found.churn_by_pair, "churnByLabelName": found.churn_by_name,
        "seriesCountByLabelValuePair": found.series_by_pair, "valueBytesByLabelName": found.value_bytes_by_name,
        "labelValueCountByLabelName": found.values_by_name, "seriesCountByMetricName": found.series_by_metric,
    }
    return {
        "minTime": found.mint, "maxTime": found.maxt, "numSeries": found.series, "numLabelNames": found.label_names,
        "numLabelPairs": found.label_pairs, "numLabels": found.labels,
        **{name: [{"name": text, "value": count} for text, count in rows] for name, rows in tables.items()},
    }


def text(found: Mapping[str, Any]) -> str:
    """Tables."""
    from tsdb.commands.tables import amount, table
    from tsdb.model.durations import format_duration
    from tsdb.model.times import time_text

    lines = []
    if found["numSeries"]:
        mint, maxt = found["minTime"], found["maxTime"]
        lines.append(f"Time: {time_text(mint)} to {time_text(maxt)}, {format_duration(maxt - mint) or '0s'}")
    for name, title in (("numSeries", "Series"), ("numLabelNames", "Label names"), ("numLabelPairs", "Label pairs"),
                        ("numLabels", "Labels of all series")):
        if name in found:
            lines.append(f"{title}: {amount(found[name])}")
    for name, title in TITLES.items():
        if name not in found:
            continue
        rows: Rows = found[name]
        lines += ["", f"{title}:"]
        if not rows:
            lines.append("  none")
        elif "created" in rows[0]:
            cells = [[amount(row["created"]), amount(row["removed"]), row["name"]] for row in rows]
            lines.append(table(["CREATED", "REMOVED", "METRIC"], cells, "rrl"))
        else:
            cells = [[amount(row["value"]), row["name"]] for row in rows]
            lines.append(table([UNITS.get(name, "SERIES"), "NAME"], cells, "rl"))
    return "\n".join(lines)


def _of_directory(data: Path, block: str | None, limit: int, matches: Sequence[str]) -> Analysis:
    from tsdb.storage import Storage
    from tsdb.storage.directory import FORMAT_NAME

    matcher_sets = _matcher_sets(matches)
    if not (data / FORMAT_NAME).exists():
        raise StorageError(f"{data} is not a data directory of tsdb: it has no file {FORMAT_NAME}")
    if block is not None:
        return _of_block(data, block, limit, matcher_sets)
    storage = Storage.open(data, read_only=True)
    try:
        return storage.analyze(limit, matcher_sets)
    finally:
        storage.close()


def _of_block(data: Path, ulid: str, limit: int, matcher_sets: Sequence[Sequence[Matcher]]) -> Analysis:
    from tsdb.storage.block import Block
    from tsdb.storage.reading.analysis import analyze_block
    from tsdb.wal.files import LocalFileSystem

    path = data / "blocks" / ulid
    if not (path / "index").exists():
        raise ConfigError(f"{path} is no block: --block is its ULID, the name of its folder in {data / 'blocks'}")
    opened = Block.open(LocalFileSystem(), path)
    try:
        return analyze_block(opened, matcher_sets, limit)
    finally:
        opened.release()


def _of_server(url: str, limit: int, matches: Sequence[str]) -> dict[str, Any]:
    from tsdb.commands.ask import ask

    found = ask(url, "/api/v1/status/tsdb", {"limit": [str(limit)], "match[]": list(matches)}, WAIT_S)
    churn = found.pop("tsdbSeriesChurnByMetricName", {})
    lately = {name: churn[name] for name in ("lastHour", "lastDay") if name in churn}
    return {**found.pop("headStats"), **found, **lately}


def _matcher_sets(matches: Sequence[str]) -> list[Sequence[Matcher]]:
    from tsdb.model.errors import ParseError
    from tsdb.promql.syntax.parser import parse_selector

    try:
        return [parse_selector(match) for match in matches]
    except ParseError as problem:
        raise ConfigError(f"--match: {problem}") from None
