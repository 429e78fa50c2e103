"""``tsdb analyze`` against promtool and plain counting."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits, make_batch
from tsdb.cli import cli
from tsdb.commands.analyze import document
from tsdb.storage import Storage, StorageOptions

NOW = 1_700_000_000_000 // 7_200_000 * 7_200_000
MINUTE = 60_000

Sampled = dict[tuple[tuple[str, str], ...], list[int]]
"""Times of samples, ms, by sorted labels."""


def series() -> Sampled:
    """Pods that live for ten minutes each, and a job that stays."""
    found: Sampled = {}
    for number in range(110):
        found[pairs(__name__="steady", job="api", n=str(number % 10))] = [NOW + k * MINUTE for k in range(110)]
        pod = pairs(__name__="requests_total", job="api", pod=f"pod-{number // 10}", path=f"/{number % 3}")
        found.setdefault(pod, []).append(NOW + number * MINUTE)
    return found


def pairs(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def write(storage: Storage, sampled: Sampled) -> None:
    batch = make_batch(storage.secret, [dict(labels) for labels in sampled],
                       [(row, ts, bits(1.0)) for row, times in enumerate(sampled.values()) for ts in times])
    assert storage.submit(batch).result(30).rejected == 0


def run(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["analyze", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def counted(sampled: Sampled, mint: int, maxt: int) -> dict[str, dict[str, int]]:
    """All tables, rows by name."""
    churn: Counter[str] = Counter()
    pair_churn: Counter[str] = Counter()
    count = Counter(f"{name}={value}" for labels in sampled for name, value in labels)
    for labels, times in sampled.items():
        for name, value in labels:
            churn[name] += maxt - mint - (max(times) - min(times))
            pair_churn[f"{name}={value}"] += maxt - mint - (max(times) - min(times))
    values = {pair for labels in sampled for pair in labels}
    bytes_: Counter[str] = Counter()
    for name, value in values:
        bytes_[name] += len(value.encode())
    length = max(maxt - mint, 1)
    return {
        "churnByLabelPair": {name: time // length for name, time in pair_churn.items() if time >= length},
        "churnByLabelName": {name: time // length for name, time in churn.items() if time >= length},
        "seriesCountByLabelValuePair": dict(count),
        "valueBytesByLabelName": dict(bytes_),
        "labelValueCountByLabelName": dict(Counter(name for name, _ in values)),
        "seriesCountByMetricName": {pair.partition("=")[2]: number for pair, number in count.items()
                                    if pair.startswith("__name__=")},
    }


def tables(document: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {name: {row["name"]: row["value"] for row in rows} for name, rows in document.items()
            if isinstance(rows, list)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two blocks that share series, and a head."""
    path = tmp_path_factory.mktemp("analyze") / "data"
    with closing(Storage.open(path)) as storage:
        write(storage, series())
        storage.compact()
        write(storage, {labels: [NOW + 8 * 60 * MINUTE] for labels in list(series())[:3]})
        storage.compact()
        write(storage, {labels: [NOW + 9 * 60 * MINUTE] for labels in [*list(series())[1:5], pairs(__name__="fresh")]})
    yield path


def test_as_promtool(data: Path, peer: Callable[[str], Path], tmp_path: Path) -> None:
    promtool = peer("promtool")
    lines = sorted((ts, labels) for labels, times in series().items() for ts in times)
    text = tmp_path / "samples"
    text.write_text("".join(
        "{" + ",".join(f'"{name}"="{value}"' if name != "__name__" else f'"{value}"' for name, value in labels)
        + f"}} 1 {ts / 1000}\n" for ts, labels in lines) + "# EOF\n")
    theirs_data = tmp_path / "theirs"
    subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", text, theirs_data], check=True, timeout=60,
                   capture_output=True)
    oldest = min((data / "blocks").iterdir())
    for match in ([], ["--match", '{pod=~"pod-.*"}']):
        printed = subprocess.run([promtool, "tsdb", "analyze", "--limit=10000", *match, theirs_data], check=True,
                                 timeout=60, capture_output=True, text=True).stdout
        theirs = {title: {name: int(number) for number, name in
                          (line.split(" ", 1) for line in block.splitlines()) if number != "0"}
                  for title, block in re.findall(r"\n([^\n:]+):\n((?:\d+ .*\n)*)", printed)}
        printed = run("--data", data, "--block", oldest.name, "--limit", 10000, *match)
        ours = {title: {name: int(number.replace(",", "")) for number, name in
                        (line.split(maxsplit=1) for line in block.splitlines())}
                for title, block in re.findall(r"\n([^\n:]+):\n[^\n]*\n((?: *[\d,]+ .*\n)*)", printed + "\n")}
        assert ours == theirs
        assert len(ours) == 6


def test_head_and_blocks_together(data: Path) -> None:
    every = series()
    for labels in list(series())[:3]:
        every[labels].append(NOW + 8 * 60 * MINUTE)
    for labels in [*list(series())[1:5], pairs(__name__="fresh")]:
        every.setdefault(labels, []).append(NOW + 9 * 60 * MINUTE)
    found = json.loads(run("--data", data, "--json", "--limit", 1000))
    assert tables(found) == counted(every, NOW, NOW + 9 * 60 * MINUTE)
    assert (found["numSeries"], found["minTime"], found["maxTime"]) == (len(every), NOW, NOW + 9 * 60 * MINUTE)


@settings(max_examples=8)
@given(st.lists(st.tuples(
    st.dictionaries(st.sampled_from(["__name__", "a", "é"]), st.sampled_from(["x", "y", "été"]), min_size=1),
    st.lists(st.integers(0, 200), min_size=1, max_size=5)), max_size=8), st.integers(0, 9))
def test_as_plain_counting(tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[dict[str, str], list[int]]],
                           cut: int) -> None:
    """Written one after the other, late ones too; blocks are made somewhere in between."""
    sampled: Sampled = {}
    with closing(Storage.open(tmp_path_factory.mktemp("data"), StorageOptions(late_window_ms=1 << 40))) as storage:
        for number, (labels, minutes) in enumerate(writes):
            if number == cut:
                storage.compact()
            times = sorted({NOW + minute * MINUTE for minute in minutes})
            write(storage, {pairs(**labels): times})
            sampled.setdefault(pairs(**labels), []).extend(times)
        found = storage.analyze(100)
    every = [ts for times in sampled.values() for ts in times] or [0]
    assert tables(document(found)) == counted(sampled, min(every), max(every))


def test_wrong_arguments(tmp_path: Path, data: Path) -> None:
    for arguments, message in (
        (("--data", tmp_path), "is not a data directory"),
        (("--data", data, "--block", "nothere"), "is no block"),
        (("--data", data, "--match", "{"), "--match: 1:2: parse error"),
        (("--data", data, "--url", "http://localhost:1"), "give --url of a server, or --data"),
        (("--url", "localhost"), "is no URL of a server"),
        (("--url", "http://127.0.0.1:1"), "Connection refused"),
    ):
        done = CliRunner().invoke(cli, ["analyze", *map(str, arguments)])
        assert done.exit_code != 0
        assert message in f"{done.output} {done.exception}"
