"""/api/v1/search: parameters, lines and errors as Prometheus' newest has them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Running
from tsdb.config import Config
from tsdb.model.batch import Metadata
from tsdb.server.completion.known import metadata_of
from tsdb.server.server import open_storage


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(Config())
    running.open(open_storage(Path(tmp_path_factory.mktemp("data")), None))
    now = time.time_ns() // 1_000_000
    names = ("go_gc_duration_seconds", "go_gc_heap_goal_bytes", "go_goroutines", "process_cpu_seconds_total")
    series = [({"__name__": name, "instance": "localhost:9090", "job": "prometheus"}, [(now, 1.0)]) for name in names]
    series += [({"__name__": "up", "instance": "localhost:9091", "job": "Node"}, [(now, 1.0)])]
    assert running.client.write(series).status == 204
    yield running
    running.stop()


def search(server: Running, what: str, parameters: dict[str, Any]) -> tuple[list[list[dict[str, Any]]], bool]:
    """The batches, and whether there is more."""
    answer = server.client.get(f"/api/v1/search/{what}", parameters)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    *batches, trailer = map(json.loads, answer.body.splitlines())
    assert trailer["status"] == "success"
    return [batch["results"] for batch in batches], trailer["has_more"]


ALL = ["go_gc_duration_seconds", "go_gc_heap_goal_bytes", "go_goroutines", "process_cpu_seconds_total", "up"]


@pytest.mark.parametrize(("what", "parameters", "names"), [
    ("metric_names", {}, ALL),
    ("metric_names", {"search[]": ""}, ALL),
    ("metric_names", {"search[]": "go_gc"}, ALL[:2]),
    ("metric_names", {"search[]": ["up", "gor"]}, [ALL[0], ALL[2], "up"]),
    ("metric_names", {"search[]": "GOR"}, []),
    ("metric_names", {"search[]": "GOR", "case_sensitive": "false"}, [ALL[0], ALL[2]]),
    ("metric_names", {"search[]": "seconds", "fuzz_alg": "jarowinkler"}, [ALL[0], ALL[3]]),
    ("metric_names", {"search[]": "go_gorotines", "fuzz_alg": "jarowinkler", "fuzz_threshold": 95}, [ALL[2]]),
    ("metric_names", {"search[]": "gb", "fuzz_threshold": 60}, []),
    ("metric_names", {"search[]": "go", "sort_by": "alpha", "sort_dir": "dsc"}, ALL[2::-1]),
    ("metric_names", {"search[]": "go_gor", "sort_by": "score"}, ["go_goroutines"]),
    ("metric_names", {"search[]": "goal", "sort_by": "score"}, [ALL[1]]),
    ("metric_names", {"match[]": '{job="Node"}'}, ["up"]),
    ("metric_names", {"match[]": ['{job="Node"}', "go_goroutines"]}, ["go_goroutines", "up"]),
    ("metric_names", {"start": 100, "end": 200}, []),
    ("label_names", {}, ["__name__", "instance", "job"]),
    ("label_names", {"search[]": "j"}, ["job"]),
    ("label_values", {"label": "job"}, ["Node", "prometheus"]),
    ("label_values", {"label": "job", "match[]": "up"}, ["Node"]),
    ("label_values", {"label": "nothing"}, []),
])
def test_search(server: Running, what: str, parameters: dict[str, Any], names: list[str]) -> None:
    (found,), more = search(server, what, parameters)
    assert [each["name"] for each in found] == names and not more


def test_batches_and_scores(server: Running) -> None:
    batches, more = search(server, "metric_names", {"limit": 3, "batch_size": 2})
    assert [[each["name"] for each in batch] for batch in batches] == [ALL[:2], ALL[2:3]] and more
    (found,), _ = search(server, "metric_names", {"search[]": "seconds", "fuzz_alg": "jarowinkler",
                                                  "include_score": "true", "limit": 1})
    assert found == [{"name": ALL[0], "score": 0.9}]
    body = server.client.get("/api/v1/search/metric_names", {"search[]": "up", "include_score": "1"}).body
    assert body == b'{"results":[{"name":"up","score":1}]}\n{"status":"success","has_more":false}\n'


@pytest.mark.parametrize(("what", "parameters", "error"), [
    ("metric_names", {"fuzz_threshold": "101"}, 'invalid fuzz_threshold "101": must be 0-100'),
    ("metric_names", {"fuzz_alg": "x"}, 'unsupported fuzz_alg "x": must be one of [subsequence jarowinkler]'),
    ("metric_names", {"case_sensitive": "x"}, 'invalid case_sensitive "x": must be boolean'),
    ("metric_names", {"include_metadata": "x"}, 'invalid include_metadata "x": must be boolean'),
    ("metric_names", {"sort_dir": "asc"}, "sort_dir is only valid when sort_by is set"),
    ("metric_names", {"sort_dir": "asc", "sort_by": "score"}, "sort_dir is not supported for sort_by=score"),
    ("metric_names", {"sort_dir": "x", "sort_by": "alpha"}, 'invalid sort_dir "x": must be "asc" or "dsc"'),
    ("metric_names", {"sort_by": "score"}, "sort_by=score requires search[] to be set"),
    ("label_names", {"sort_by": "x"}, 'invalid sort_by "x" for label_names: must be "alpha" or "score"'),
    ("metric_names", {"limit": "-1"}, 'invalid limit "-1": must be non-negative integer'),
    ("metric_names", {"batch_size": "x"}, 'invalid batch_size "x": must be non-negative integer'),
    ("label_values", {}, 'missing required parameter "label"'),
    ("metric_names", {"search[]": ["x"] * 21}, "search[]: at most 20 terms of at most 200 characters"),
])
def test_errors(server: Running, what: str, parameters: dict[str, Any], error: str) -> None:
    answer = server.client.get(f"/api/v1/search/{what}", parameters)
    assert (answer.status, answer.json()) == (400, {"status": "error", "errorType": "bad_data", "error": error})


@pytest.mark.parametrize(("family", "type", "matching", "missing"), [
    ("go_goroutines", "gauge", ("",), ("_total", "_count", "_bucket", "_info")),
    ("process_cpu_seconds", "counter", ("_total",), ("_created", "_sum", "_bucket", "_total_total")),
    ("process_cpu_seconds_total", "counter", ("",), ("_sum",)),
    ("request_seconds", "histogram", ("", "_bucket", "_sum", "_count"), ("_created", "_total", "_gsum", "_gcount")),
    ("gc_seconds", "summary", ("", "_sum", "_count"), ("_created", "_bucket", "_total")),
    ("queue", "gaugehistogram", ("", "_bucket", "_gsum", "_gcount", "_sum", "_count"), ("_total", "_created")),
    ("target", "info", ("_info",), ("_total", "_created")),
    ("custom", "unknown", ("",), ("_total", "_sum", "_count")),
])
def test_whose_metadata_a_metric_has(family: str, type: str, matching: tuple[str, ...], missing: tuple[str, ...],
                                     ) -> None:
    entry = Metadata(family, type, "Help.", "")
    assert [metadata_of(family + end, {family: [entry]}) for end in matching] == [entry] * len(matching)
    assert [metadata_of(family + end, {family: [entry]}) for end in missing] == [None] * len(missing)


def test_of_different_metadata_the_one_that_fits() -> None:
    counter, gauge = Metadata("requests", "counter", "Requests.", ""), Metadata("requests", "gauge", "In flight.", "")
    assert metadata_of("requests_total", {"requests": [gauge, counter]}) is counter
    own = Metadata("seconds_count", "gauge", "Independent.", "")
    whole = Metadata("seconds", "histogram", "", "")
    assert metadata_of("seconds_count", {"seconds": [whole], "seconds_count": [own]}) is own
