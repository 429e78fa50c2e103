"""Recording rules over the past, beside what promtool makes of the same rules and data."""

from __future__ import annotations

import math
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.processes import Process, free_port
from tsdb.imports import rules as module
from tsdb.imports.rules import EngineSource, Recording, evaluate, passes, recordings
from tsdb.model.errors import ExecutionError, LimitExceeded
from tsdb.model.labels import labels_of_key
from tsdb.promql import Engine
from tsdb.rules import evaluation_times, load_text
from tsdb.storage import Storage

HOUR = 3_600_000
START = 490_000 * HOUR
HOURS = 5

Series = tuple[tuple[str, str], ...]
Samples = dict[Series, dict[int, float]]

RULES = """
groups:
- name: first
  interval: 1m
  labels: {team: a, job: replaced}
  rules:
  - record: instance:requests:rate5m
    expr: sum by (instance, job) (rate(requests_total[5m]))
  - record: plain
    expr: gauge
    labels: {team: b, path: ""}
  - alert: NotLookedAt
    expr: gauge > 3
- name: second
  rules:
  - record: everything:sum
    expr: sum(gauge)
  - record: scalar
    expr: "1"
  - record: sometimes
    expr: gauge > 25
  - record: histogram:p99
    expr: histogram_quantile(0.9, sum by (le) (rate(requests_total[10m]))) or gauge{path="/a"} * NaN
"""


def requests(instance: int, minute: float) -> float:
    return (minute * (instance + 3)) % 900


def gauge(instance: int, minute: float) -> float:
    return 20 + 10 * math.sin(minute / 30 + instance)


def exposed() -> str:
    """OpenMetrics text with all samples, every half a minute; between two and three o'clock there are none."""
    lines = ["# TYPE requests counter"]
    every = [minute / 2 for minute in range(HOURS * 120) if not 120 <= minute / 2 < 180]
    lines += [f'requests_total{{instance="{i}",job="j"}} {requests(i, m)!r} {START / 1000 + m * 60}'
              for i in range(3) for m in every]
    lines.append("# TYPE gauge gauge")
    lines += [f'gauge{{instance="{i}",path="/{p}"}} {gauge(i, m)!r} {START / 1000 + m * 60}'
              for i, p in ((0, "a"), (1, "b")) for m in every]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """Ours, with the same samples."""
    from tests.storage.batches import bits, make_batch

    opened = Storage.open(tmp_path_factory.mktemp("ours") / "data")
    series = [{"__name__": "requests_total", "instance": str(i), "job": "j"} for i in range(3)]
    series += [{"__name__": "gauge", "instance": str(i), "path": f"/{p}"} for i, p in ((0, "a"), (1, "b"))]
    samples = []
    for minute in (minute / 2 for minute in range(HOURS * 120) if not 120 <= minute / 2 < 180):
        ts = START + int(minute * 60_000)
        samples += [(i, ts, bits(requests(i, minute))) for i in range(3)]
        samples += [(3 + i, ts, bits(gauge(i, minute))) for i in range(2)]
    opened.submit(make_batch(opened.secret, series, samples)).result(30)
    yield opened
    opened.close()


@pytest.fixture
def source(storage: Storage) -> Iterator[EngineSource]:
    with Engine(storage) as engine:
        yield EngineSource(engine)


def results(source: module.Source, rules: list[Recording], start: int, end: int) -> Samples:
    found: Samples = {}
    secret = np.array([1, 2], np.uint64)
    for rule in rules:
        for batch in evaluate(source, rule, start, end, secret):
            keys = [tuple(labels_of_key(batch.keys[at : at + size].tobytes()).items())
                    for at, size in zip(batch.row_offset.tolist(), batch.row_length.tolist(), strict=True)]
            floats = batch.values.view(np.float64).tolist()
            for row, ts, value in zip(batch.sample_row.tolist(), batch.ts.tolist(), floats, strict=True):
                assert ts not in found.setdefault(keys[row], {})
                found[keys[row]][ts] = value
    return found


def rules_of(text: str, name: str = "rules.yml") -> list[Recording]:
    return recordings({name: load_text(text, name)}, 60_000)[0]


@pytest.mark.peer
def test_as_promtool(peer: Callable[[str], Path], tmp_path: Path, source: EngineSource) -> None:
    promtool, data, file = peer("promtool"), tmp_path / "prometheus", tmp_path / "rules.yml"
    (tmp_path / "samples").write_text(exposed())
    (tmp_path / "prometheus.yml").write_text("")
    call(promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "samples", data)
    port = free_port()
    prometheus = Process([peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml",
                          f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=100y",
                          f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "log", port)
    start, end = START // 1000 + 600, START // 1000 + HOURS * 3600 - 30
    text = without_halves(RULES, file)
    file.write_text(text)
    try:
        prometheus.wait_ready()
        call(promtool, "tsdb", "create-blocks-from", "rules", f"--start={start}", f"--end={end}",
             f"--output-dir={tmp_path}/out", f"--url=http://127.0.0.1:{port}", file)
    finally:
        prometheus.kill()
    (tmp_path / "out" / "wal").mkdir()
    theirs = dumped(call(promtool, "tsdb", "dump", tmp_path / "out"))
    ours = results(source, rules_of(text, str(file)), start * 1000, end * 1000)
    assert {dict(labels)["__name__"] for labels in ours} >= {"plain", "everything:sum", "scalar", "sometimes"}
    # it evaluates alerting rules, too, though it says that it does not, and records what their expressions give
    theirs = {labels: samples for labels, samples in theirs.items() if ("__name__", "NotLookedAt") not in labels}
    assert set(ours) == set(theirs)
    for labels, samples in ours.items():
        assert list(samples) == sorted(theirs[labels]), labels
        for ts, value in samples.items():
            assert same(value, theirs[labels][ts]), (labels, ts, value, theirs[labels][ts])


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= 1e-12 * abs(other)


def without_halves(text: str, file: Path) -> str:
    """With names of groups such that promtool, which rounds the moment of evaluation to milliseconds where a server
    cuts it off, has the same."""
    from tsdb.rules import offset_ms

    for name in ("first", "second"):
        fit = next(f"{name}{i}" for i in range(100) if offset_ms(str(file), f"{name}{i}", 60_000) % 1 < 0.4)
        text = text.replace(f"name: {name}\n", f"name: {fit}\n")
    return text


def call(*argv: str | Path) -> str:
    done = subprocess.run([str(each) for each in argv], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dumped(text: str) -> Samples:
    """What `promtool tsdb dump` prints: ``{__name__="x", a="b"} value ms``."""
    import re

    found: Samples = {}
    for line in text.splitlines():
        labels, value, ts = line.rsplit(" ", 2)
        pairs = tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))
        found.setdefault(pairs, {})[int(ts)] = float(value)
    return found


def test_a_group_is_evaluated_at_moments_of_its_own() -> None:
    times = evaluation_times("rules.yml", "jobs", 60_000, START, START + HOUR)
    assert times.size in (60, 61) and (np.diff(times) == 60_000).all()
    assert START <= times[0] < START + 60_000 and times[-1] <= START + HOUR
    other = evaluation_times("rules.yml", "others", 60_000, START, START + HOUR)
    assert times[0] % 60_000 != other[0] % 60_000
    assert evaluation_times("rules.yml", "jobs", 60_000, int(times[3]), int(times[3])).tolist() == [times[3]]
    assert evaluation_times("rules.yml", "jobs", 60_000, int(times[3]) + 1, int(times[4]) - 1).size == 0


class Narrow:
    """A source that refuses more than a few steps at once, and counts what it is asked."""

    def __init__(self, source: EngineSource, most: int) -> None:
        self.source, self.most, self.asked = source, most, 0

    def range(self, expr: str, start: int, end: int, step: int) -> module.Results:
        self.asked += 1
        if (end - start) // step + 1 > self.most:
            raise LimitExceeded("query processing would load too many samples into memory in query execution")
        return self.source.range(expr, start, end, step)


def test_pieces_of_any_size_give_the_same(source: EngineSource, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, span = rules_of(RULES), (START, START + HOURS * HOUR)
    whole = results(source, rules, *span)
    narrow = Narrow(source, 7)
    assert bits_of(results(narrow, rules, *span)) == bits_of(whole)
    assert narrow.asked > 100
    monkeypatch.setattr(module, "CELLS", 30)
    assert bits_of(results(source, rules, *span)) == bits_of(whole)
    with pytest.raises(LimitExceeded, match=r'rules.yml: group "first", rule "instance:requests:rate5m": query proc'):
        results(Narrow(source, 0), rules, *span)


def bits_of(samples: Samples) -> Mapping[Any, Any]:
    return {labels: {ts: struct.pack("<d", value) for ts, value in each.items()} for labels, each in samples.items()}


def test_labels(source: EngineSource) -> None:
    found = results(source, rules_of(RULES), START + HOUR, START + HOUR + 60_000)
    names = {dict(labels)["__name__"]: dict(labels) for labels in found}
    assert names["instance:requests:rate5m"] == {"__name__": "instance:requests:rate5m", "instance": "2",
                                                 "job": "replaced", "team": "a"}
    assert {key: value for key, value in names["plain"].items() if key != "instance"} == {
        "__name__": "plain", "job": "replaced", "team": "b"}
    assert names["scalar"] == {"__name__": "scalar"}


def test_results_that_become_one_series_are_refused(source: EngineSource) -> None:
    text = "groups: [{name: g, rules: [{record: x, expr: gauge, labels: {instance: '', path: ''}}]}]"
    with pytest.raises(ExecutionError, match='rule "x": vector contains metrics with the same labelset after applying'):
        results(source, rules_of(text), START, START + HOUR)


def test_native_histograms_are_recorded() -> None:
    """As they are in the answer: the batch has the same payload."""
    box = np.array([[7]], np.uint64)
    payload = np.arange(8, dtype=np.uint8)

    class One:
        def range(self, expr: str, start: int, end: int, step: int) -> module.Results:
            return module.Results([{"a": "b"}], np.array([start], np.int64), box, np.ones((1, 1), np.bool_), payload)

    rule = rules_of("groups: [{name: g, rules: [{record: x, expr: y}]}]")[0]
    at = int(evaluation_times("rules.yml", "g", 60_000, START, START + 60_000)[0])
    (batch,) = evaluate(One(), rule, at, at, np.zeros(2, np.uint64))
    assert batch.payload is payload and batch.values.tolist() == [7] and batch.ts.tolist() == [at] and batch.history


@pytest.mark.parametrize(("rules", "wanted", "circular"), [
    (["a: up", "b: up"], [["a", "b"]], []),
    (["b: a * 2", "a: up", "c: b + a"], [["a"], ["b"], ["c"]], []),
    (["a: up", "b: '{__name__=~\"a|z\"}'", "c: '{job=\"x\"}'"], [["a"], ["b"], ["c"]], ["c"]),
    (["a: b", "b: a", "c: up"], [["c"], ["a", "b"]], ["a", "b"]),
    (["a: a + 1"], [["a"]], ["a"]),
    (["a: rate(b[5m])", "b: sum_over_time(c[5m:1m])", "c: up"], [["c"], ["b"], ["a"]], []),
])
def test_rules_that_read_what_others_record_come_later(rules: list[str], wanted: list[list[str]],
                                                       circular: list[str]) -> None:
    lines = [f"  - record: {each.split(': ', 1)[0]}\n    expr: {each.split(': ', 1)[1]}" for each in rules]
    found, round_about = passes(rules_of("groups:\n- name: g\n  rules:\n" + "\n".join(lines)))
    assert [[each.name for each in one] for one in found] == wanted
    assert [each.name for each in round_about] == circular


def test_alerts_are_counted() -> None:
    found, alerts = recordings({"r": load_text(RULES, "r")}, 30_000)
    assert alerts == 1 and [each.interval_ms for each in found] == [60_000] * 2 + [30_000] * 4
