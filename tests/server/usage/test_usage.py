"""Which metrics are queried, by whom, and which never."""

from __future__ import annotations

import contextlib
import time
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Begin, Running
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.config import Config
from tsdb.model.errors import QueryTimeout
from tsdb.model.matchers import Matcher
from tsdb.model.settings import Bytes
from tsdb.server.config import QueryConfig
from tsdb.server.server import open_storage
from tsdb.server.usage.file import MAGIC, NAME, decode, encode, load, save
from tsdb.server.usage.records import METRIC_BYTES, MOST_SOURCES, SOURCE_BYTES, Records
from tsdb.server.usage.source import Source, source_of
from tsdb.server.usage.usage import MOST_WAITING, Usage
from tsdb.wal.files import LocalFileSystem

STATS = "/api/v1/status/metric_names_stats"
A, B = Source("dashboard", "home", "2"), Source("client", "curl/8")


def ask(running: Running, expr: str, **headers: str) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = running.client.request("GET", "/api/v1/query?" + urllib.parse.urlencode({"query": expr}), headers=names)
    assert answer.status == 200, answer.body


def stats(running: Running, **parameters: Any) -> dict[str, tuple[int, list[tuple[str, str, int]]]]:
    shape = running.client.get(STATS, parameters).json()
    assert shape["status"] == "success"
    return {row["metricName"]: (row["queryRequestsCount"],
                                [(each["kind"], each["name"], each["queryRequestsCount"]) for each in row["sources"]])
            for row in shape["records"]}


def write(running: Running, *names: str) -> None:
    now = time.time_ns() // 1_000_000
    series = [({"__name__": name, "job": "a", "n": str(n)}, [(now, 1.0)]) for name in names for n in range(len(name))]
    assert running.client.write(series).status == 204


def test_who_asks_for_what(running: Running) -> None:
    write(running, "hits", "misses", "up", "never")
    ask(running, "rate(hits[5m]) / (hits + misses)", X_Dashboard_Uid="home", X_Panel_Id="2", User_Agent="Grafana/12")
    ask(running, "hits", User_Agent="curl/8")
    ask(running, "hits", User_Agent="curl/8")
    ask(running, '{__name__=~"up|hits"} > 0', X_Rule_Name="TooMany", X_Rule_Folder="ops")
    ask(running, "nowhere + up", User_Agent="curl/8")
    assert running.client.get("/api/v1/query", {"query": "never +"}).status == 400
    assert running.client.get("/federate", {"match[]": 'misses{job="a"}'}).status == 200
    found = stats(running)
    assert list(found) == ["never", "misses", "up", "hits"]
    assert found["never"] == (0, [])
    assert found["hits"] == (4, [("rule", "TooMany", 1), ("client", "curl/8", 2), ("dashboard", "home", 1)])
    assert found["misses"] == (2, [("federation", "", 1), ("dashboard", "home", 1)])
    assert found["up"] == (2, [("client", "curl/8", 1), ("rule", "TooMany", 1)])


def test_parameters_as_in_victoriametrics(running: Running) -> None:
    write(running, "bar", "longer_bar", "foo")
    ask(running, "foo")
    assert list(stats(running)) == ["longer_bar", "bar", "foo"]  # of those with as many queries, most series first
    assert list(stats(running, le=0)) == ["longer_bar", "bar"]
    assert list(stats(running, le=0, limit=1)) == ["longer_bar"]
    assert list(stats(running, match_pattern="^(b|f)")) == ["bar", "foo"]
    assert list(stats(running, limit=-1, le=-1)) == ["longer_bar", "bar", "foo"]
    whole = running.client.get(STATS).json()
    assert set(whole) >= {"statsCollectedSince", "statsCollectedRecordsTotal", "trackerMemoryMaxSizeBytes",
                          "trackerCurrentMemoryUsageBytes"}
    assert whole["statsCollectedRecordsTotal"] == 3
    assert {row["metricName"]: row["seriesCount"] for row in whole["records"]} == {"longer_bar": 10, "bar": 3, "foo": 3}
    assert abs(whole["records"][-1]["lastQueryRequestTimestamp"] - time.time()) < 60
    for wrong in ({"limit": "x"}, {"le": "x"}, {"match_pattern": "b("}):
        assert running.client.get(STATS, wrong).status == 400
    assert running.client.request("POST", "/api/v1/admin/status/metric_names_stats/reset").status == 204
    assert stats(running)["foo"] == (0, [])


def test_kept_over_a_restart_and_switched_off(begin: Begin, tmp_path: Path) -> None:
    first = begin()
    first.open(open_storage(tmp_path, None))
    write(first, "hits", "never")
    ask(first, "hits", User_Agent="x")
    first.stop()
    second = begin()
    second.open(open_storage(tmp_path, None))
    assert stats(second) == {"never": (0, []), "hits": (1, [("client", "x", 1)])}
    second.stop()
    third = begin(Config(query=QueryConfig(usage_memory=Bytes(0))))
    third.open(open_storage(tmp_path, None))
    ask(third, "hits")
    answer = third.client.get(STATS)
    assert answer.status == 503 and "query.usage_memory is 0" in answer.json()["error"]


@pytest.mark.parametrize(("headers", "source"), [
    ({"User-Agent": "curl/8"}, ("client", "curl/8", "")),
    ({}, ("client", "", "")),
    ({"X-Dashboard-Uid": "d", "X-Panel-Id": "4", "User-Agent": "Grafana"}, ("dashboard", "d", "4")),
    ({"X-Dashboard-Uid": "d"}, ("dashboard", "d", "")),
    ({"X-Rule-Uid": "r", "X-Dashboard-Uid": "d"}, ("rule", "r", "")),
    ({"User-Agent": "x" * 1000}, ("client", "x" * 100, "")),
])
def test_sources(headers: dict[str, str], source: tuple[str, str, str]) -> None:
    assert source_of(headers) == source


def nothing(matchers: Sequence[Matcher] | None, start: int, end: int) -> list[str]:
    return []


def made(folder: Path, most_bytes: int = 1 << 20, find: Callable[..., list[str]] = nothing) -> Usage:
    return Usage(LocalFileSystem(), folder, most_bytes, find, lambda: 1000.0)


def test_memory_is_bounded_and_metrics_that_are_gone_make_room(tmp_path: Path) -> None:
    stored = ["a0", "a1"]
    usage = made(tmp_path, 20 * (METRIC_BYTES + SOURCE_BYTES), lambda *_: stored)
    for number in range(100):
        usage.note(f"a{number} + {number}", A, 0, 0)
        usage.note("a0", Source("client", str(number)), 0, 0)
    report = usage.report()
    assert report.bytes <= report.most_bytes and report.metrics.keys() == set(stored)
    assert len(report.metrics["a0"].sources) <= MOST_SOURCES and report.metrics["a0"].total.queries == 101
    usage.note("b", A, 0, 0)
    assert "b" in usage.report().metrics
    for number in range(1000):
        usage.note("x" * (MOST_WAITING // 10) + str(number), A, 0, 0)
    assert usage._characters <= MOST_WAITING


def test_selectors_without_a_name_are_looked_up_once_a_minute(tmp_path: Path) -> None:
    asked = []

    def find(matchers: Sequence[Matcher] | None, start: int, end: int) -> list[str]:
        asked.append((start, end))
        if len(asked) > 1:
            raise QueryTimeout("too long")
        return ["x", "y"]

    usage = made(tmp_path, find=find)
    for _ in range(3):
        usage.note('count({job="a"}) + z', A, 7_200_000, 7_300_000)
        counts = {name: metric.total.queries for name, metric in usage.report().metrics.items()}
    assert counts == {"x": 3, "y": 3, "z": 3} and asked == [(3_600_000, 7_300_000)]
    usage.note('{job="b"}', A, 0, 0)
    assert usage.report().metrics.keys() == {"x", "y", "z"}


def filled() -> Records:
    records = Records(5, 1 << 20)
    records.add(["hits", "été"], A, 2, 70)
    records.add(["hits"], B, 1, 80)
    return records


def test_file() -> None:
    records = filled()
    again = decode(encode(records), 1 << 20)
    assert (again.since, again.metrics, again.bytes) == (5, records.metrics, records.bytes)
    assert list(again.metrics["hits"].sources) == [A, B]
    content = encode(records)
    for wrong in (b"", content[:7], b"x" + content[1:], content[:-1], content[:-1] + b"\0",
                  MAGIC + b"\2" + content[9:]):
        with pytest.raises(ValueError, match=r"no such file|version|checksum"):
            decode(wrong, 1 << 20)


def test_a_file_that_cannot_be_read_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_bytes(b"something else")
    usage = made(tmp_path)
    assert "counted from now on" in caplog.text and usage.report().since == 1000
    usage.note("a", A, 0, 0)
    usage.close()
    assert made(tmp_path).report().metrics["a"].total.queries == 1


def test_a_released_file_is_read(tmp_path: Path) -> None:
    sample = Path(__file__).parent / "samples" / "usage-1"
    assert decode(sample.read_bytes(), 1 << 20).metrics == filled().metrics


@pytest.mark.parametrize("operation", range(8))
def test_a_power_cut_leaves_the_old_file_or_the_new_one(operation: int) -> None:
    folder, before = Path("/data"), SimulatedFileSystem()
    before.mkdir(folder)
    save(before, folder, filled())
    fs = before.power_cut()
    fs.kill_at = len(fs.operations) + operation
    more = filled()
    more.add(["hits"], B, 7, 90)
    with contextlib.suppress(Killed):
        save(fs, folder, more)
    found = load(fs.power_cut(), folder, 0, 1 << 20)
    assert found.metrics in (filled().metrics, more.metrics)
