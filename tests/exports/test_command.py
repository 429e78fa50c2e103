"""``tsdb export``: from a data directory, and from a server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner, Result

import tsdb
from tests.exports.stored import Stored, labels_of
from tests.exports.test_jsonl import parsed
from tests.storage.batches import bits
from tsdb.cli import cli

BEGIN = 1_795_435_200_000
"""ms"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "data"
    with tsdb.open(folder) as db:
        for labels, column in series().items():
            db.append(dict(labels), [ts / 1000 for ts in column], [float(ts % 7) for ts in column])
    return folder


def series() -> Stored:
    return {labels_of({"__name__": name, "job": job}): {BEGIN + 15_000 * step: (bits((BEGIN + 15_000 * step) % 7), 0)
                                                         for step in range(300)}
            for name in ("a_total", "b.c") for job in ("api", 'q"')}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=False)


def test_everything_by_default(data: Path, tmp_path: Path) -> None:
    done = run("jsonl", "--data", data)
    assert done.exit_code == 0 and done.stderr == "" and parsed(done.stdout_bytes) == series()
    for name, opened in (("a.jsonl", bytes), ("a.jsonl.gz", gzip.decompress),
                         ("a.jsonl.zst", lambda read: zstandard.ZstdDecompressor().decompressobj().decompress(read))):
        written = run("jsonl", "--data", data, "-o", tmp_path / name)
        assert written.stdout == "" and written.stderr.startswith(f"{tmp_path / name}: ")
        assert opened((tmp_path / name).read_bytes()) == done.stdout_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"]


def test_some_series_and_times(data: Path) -> None:
    done = run("jsonl", "--data", data, "--match", 'a_total{job="api"}', "--match", '{job="api"}', "--start",
               str(BEGIN // 1000 + 30), "--end", "2026-11-23T12:01:00Z", "--max-rows-per-line", "2")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["metric"]["__name__"] for line in lines] == ["a_total", "a_total", "b.c", "b.c"]
    assert [line["timestamps"] for line in lines[:2]] == [[BEGIN + 30_000, BEGIN + 45_000], [BEGIN + 60_000]]
    assert run("jsonl", "--data", data, "--match", "nothing").stdout == ""


def test_other_formats(data: Path) -> None:
    chosen = ("--data", data, "--match", 'a_total{job="api"}', "--end", str(BEGIN // 1000))
    value = BEGIN % 7
    assert run("csv", *chosen, "--time-format", "rfc3339").stdout == (
        f"timestamp,value,__name__,job\n2026-11-23T12:00:00.000Z,{value},a_total,api\n")
    assert run("openmetrics", *chosen).stdout == f'a_total{{job="api"}} {value} {BEGIN // 1000}\n# EOF\n'


@pytest.mark.parametrize("arguments, problem", [
    (("--data", "nowhere"), "nowhere is not a data directory"),
    (("--match", "{"), "not a selector"),
    (("--start", "2h"), '--start: "2h" is no time'),
    (("--start", "10", "--end", "5"), "--start 10 is after --end 5"),
    (("--url", "http://127.0.0.1:1", "--data", "x"), "give --url of a server, or --data"),
    (("--url", "http://127.0.0.1:1"), "is it the address of a server?"),
    (("--output", "."), "is a folder"),
])
def test_what_is_wrong_is_said(data: Path, arguments: tuple[str, ...], problem: str) -> None:
    given = arguments if "--data" in arguments or "--url" in arguments else ("--data", str(data), *arguments)
    done = CliRunner().invoke(cli, ["export", "jsonl", *given])
    assert done.exit_code != 0 and problem in done.output + str(done.exception)
