"""A real Prometheus scrapes histograms and exemplars, and sends them by remote_write 1.0 and 2.0: what arrives is what
it stored."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours import Answer
from tests.client import Client
from tests.conftest import Start
from tests.ingest.messages import message_types
from tests.ingest.sender import varint
from tests.processes import free_port, wait_until
from tests.server.conftest import Begin
from tests.targets import TargetServer
from tsdb.server.server import open_storage

pytestmark = pytest.mark.peer

MESSAGES = ("prometheus.WriteRequest", "io.prometheus.write.v2.Request")
EXEMPLARS = """# HELP rpcs Calls.
# TYPE rpcs counter
rpcs_total{{path="/ä"}} {n} # {{trace_id="t{n}"}} {n}
# HELP took_seconds How long.
# TYPE took_seconds histogram
# UNIT took_seconds seconds
took_seconds_bucket{{le="1.0"}} {n} # {{trace_id="b{n}",span="s"}} 0.5
took_seconds_bucket{{le="+Inf"}} {n}
took_seconds_sum {n}
took_seconds_count {n}
# EOF
"""
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
CLIENT = message_types("io.prometheus.client", {
    "MetricFamily": "name=1:string help=2:string type=3:int32 metric=4:[Metric] unit=5:string",
    "Metric": "label=1:[LabelPair] histogram=7:Histogram",
    "LabelPair": "name=1:string value=2:string",
    "Histogram": "sample_count=1:uint64 sample_sum=2:double schema=5:sint32 zero_threshold=6:double zero_count=7:uint64"
                 " negative_span=9:[BucketSpan] negative_delta=10:[sint64] positive_span=12:[BucketSpan]"
                 " positive_delta=13:[sint64] sample_count_float=4:double positive_count=14:[double]",
    "BucketSpan": "offset=1:sint32 length=2:uint32",
})


def families(numbers: Iterator[int]) -> bytes:
    """Native histograms that grow, one of which loses its counts now and then, one that goes, and one of floats."""
    n = next(numbers)
    out = b""
    for name, count in (("grows", n), ("resets", n % 5), ("goes", n), ("floats", n)):
        family = CLIENT["MetricFamily"](name=name, help="A histogram.", type=4)
        metric = family.metric.add()
        metric.label.add(name="path", value="/")
        one = metric.histogram
        one.sample_sum, one.schema, one.zero_threshold, one.zero_count = n / 2, 3, 1e-128, 1
        one.positive_span.add(offset=-3, length=2)
        one.positive_span.add(offset=2, length=1 + n // 4)
        if name == "floats":
            one.sample_count_float = 4.5
            one.positive_count.extend([0.5] * (3 + n // 4))
        else:
            one.negative_span.add(offset=1, length=1)
            one.negative_delta.append(2)
            one.positive_delta.extend([count, *[0] * (2 + n // 4)])
            one.sample_count = 1 + 2 + count * (3 + n // 4)
        if name != "goes" or n < 6:
            raw = family.SerializeToString()
            out += varint(len(raw)) + raw
    return out


CONFIG = """
global: {{scrape_interval: 200ms}}
scrape_configs:
  - job_name: histograms
    scrape_protocols: [PrometheusProto]
    metrics_path: /histograms
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
  - job_name: exemplars
    scrape_protocols: [OpenMetricsText1.0.0]
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
remote_write:
"""
REMOTE = """
  - url: http://127.0.0.1:{port}/api/v1/write
    protobuf_message: {message}
    send_exemplars: true
    send_native_histograms: true
    metadata_config: {{send_interval: 200ms}}
    queue_config: {{batch_send_deadline: 100ms, min_shards: 1, max_shards: 1}}
"""


def stored(client: Client, end: float) -> Any:
    """Every sample of the run."""
    rows = client.query('{job=~".+"}[1m]', end)
    return {json.dumps(row["metric"], sort_keys=True): row for row in rows}


def exemplars(client: Client, begin: float, end: float) -> Any:
    found = client.data("query_exemplars", {"query": '{job=~".+"}', "start": begin, "end": end})
    return sorted(found, key=lambda each: json.dumps(each["seriesLabels"], sort_keys=True))


@pytest.fixture
def targets() -> Any:
    with TargetServer() as server:
        numbers = itertools.count(1)
        scrapes = itertools.count(1)
        server.behave("/histograms", Answer(lambda: families(scrapes), content_type=PROTOBUF))
        server.behave("/metrics", Answer(lambda: EXEMPLARS.format(n=next(numbers)), content_type=OPEN_METRICS))
        yield server


def test_both_versions(peer: Callable[[str], Path], start: Start, begin: Begin, tmp_path: Path,
                       targets: TargetServer) -> None:
    receivers = []
    for message in MESSAGES:
        running = begin()
        running.open(open_storage(tmp_path / message, None))
        receivers.append(running.client)
    own = free_port()
    text = CONFIG.format(target=targets.port)
    for receiver, message in zip(receivers, MESSAGES, strict=True):
        text += REMOTE.format(port=receiver.port, message=message)
    (tmp_path / "prometheus.yml").write_text(text)
    began = time.time()
    prometheus = start(
        [peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/prometheus",
         f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn",
         "--enable-feature=native-histograms,exemplar-storage,metadata-wal-records"], own).wait_ready().client
    wait_until(lambda: len(targets.requests("/histograms")) > 12, "twelve scrapes", timeout=30)
    end = time.time() - 0.5
    theirs = stored(prometheus, end)
    assert sum("histograms" in row for row in theirs.values()) == 4
    for receiver, message in zip(receivers, MESSAGES, strict=True):
        wait_until(lambda receiver=receiver: stored(receiver, end).keys() >= theirs.keys(),  # type: ignore[misc]
                   "all series have arrived", timeout=20)
        wait_until(lambda receiver=receiver: stored(receiver, end) == theirs,  # type: ignore[misc]
                   f"what was sent by {message} is equal", timeout=20)
        assert exemplars(receiver, began, end) == exemplars(prometheus, began, end)
        metadata = receiver.data("metadata")
        assert metadata["grows"] == [{"type": "histogram", "unit": "", "help": "A histogram."}]
        assert metadata["took_seconds"] == [{"type": "histogram", "unit": "seconds", "help": "How long."}]
    assert len(exemplars(prometheus, began, end)) == 2
