"""Native histograms, sent to a real Prometheus and to us and scraped by both: what queries answer is the same."""

from __future__ import annotations

import math
import random
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours import PROTOBUF, Answer
from tests.client import Client
from tests.ingest.messages import V1, histogram_message
from tests.ingest.native_families import family, native_fields
from tests.ingest.sender import compress, message
from tests.ingest.test_metric_families import GAUGE_HISTOGRAM, HISTOGRAM, Exemplar, double, integer
from tests.processes import wait_until
from tests.server.beside_prometheus import both_servers
from tests.targets import TargetServer
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, Spans

pytestmark = pytest.mark.peer

STEP = 15_000
STALE = NativeHistogram(0, struct.unpack("<d", struct.pack("<Q", STALE_NAN))[0], 0)
HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
           "X-Prometheus-Remote-Write-Version": "0.1.0"}
JOBS = {
    "plain": "",
    "both": "always_scrape_classic_histograms: true",
    "coarse": "native_histogram_min_bucket_factor: 1.3",
    "few": "native_histogram_bucket_limit: 9",
    "too_few": "native_histogram_bucket_limit: 1",
    "text_first": "scrape_protocols: [PrometheusText0.0.4, PrometheusProto]",
}


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Prometheus, and us; both scrape one target as each of the JOBS says."""
    folder = tmp_path_factory.mktemp("native")
    with TargetServer() as targets:
        targets.behave("/metrics", Answer(exposed(), PROTOBUF))
        file = folder / "prometheus.yml"
        file.write_text("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n" + "".join(
            f"- job_name: {name}\n  static_configs: [{{targets: ['{targets.address}']}}]\n  {more}\n"
            for name, more in JOBS.items()))
        flags = ["--web.enable-remote-write-receiver", "--web.enable-admin-api",
                 "--enable-feature=native-histograms,exemplar-storage"]
        with both_servers(peer("prometheus"), folder, flags) as clients:
            yield clients


def made(chance: random.Random, floats: bool, custom: bool) -> NativeHistogram:
    count: Callable[[], float] = (lambda: chance.random() * 10 ** chance.randrange(9)) if floats else (
        lambda: chance.choice((0, 1, chance.randrange(1 << 40))))
    if custom:
        bounds = tuple(sorted({round(chance.uniform(-5, 50), 3) for _ in range(6)}))
        spans: Spans = ((chance.randrange(3), 2), (0, 1))
        counts = tuple(count() for _ in range(3))
        return NativeHistogram(CUSTOM_SCHEMA, chance.uniform(-9, 9), sum(counts), positive_spans=spans,
                               positive=counts, custom_values=bounds, floats=floats)
    sides: list[tuple[Spans, tuple[float, ...]]] = []
    for _ in range(2):
        spans = tuple((chance.randrange(-40, 40) if i == 0 else chance.randrange(4), chance.randrange(4))
                      for i in range(chance.randrange(4)))
        sides.append((spans, tuple(count() for _ in range(sum(length for _, length in spans)))))
    zero = count()
    return NativeHistogram(
        chance.randrange(-4, 9), chance.choice((0.0, -0.0, math.inf, 1e22, 1.5e-7, chance.uniform(-1e6, 1e6))),
        zero + sum(sides[0][1]) + sum(sides[1][1]), chance.choice((0.0, 1e-128, 0.3)), zero, sides[0][0], sides[1][0],
        sides[0][1], sides[1][1], floats=floats, hint=chance.choice((ResetHint.UNKNOWN, ResetHint.GAUGE)))


def result(client: Client, expr: str, **more: str) -> Any:
    what = "query_range" if "step" in more else "query"
    return client.data(what, {"query": expr, **more})["result"]


def test_remote_written_histograms(both: tuple[Client, Client]) -> None:
    chance = random.Random(11)
    start = int(time.time()) * 1000 // STEP * STEP - 40 * STEP
    kinds: dict[str, Callable[[], NativeHistogram | float | None]] = {
        "integers": lambda: made(chance, False, False), "floats": lambda: made(chance, True, False),
        "custom": lambda: made(chance, False, True), "custom floats": lambda: made(chance, True, True),
    }
    any_kind: list[Callable[[], NativeHistogram | float | None]] = [*kinds.values(), lambda: 1.5, lambda: None]
    kinds["mixed"] = lambda: chance.choice(any_kind)()
    for at in range(start, start + 40 * STEP, STEP):
        request = V1["WriteRequest"]()
        for name, sample in kinds.items():
            series = request.timeseries.add()
            series.labels.add(name="__name__", value="sent")
            series.labels.add(name="kind", value=name)
            one = sample()
            if isinstance(one, float):
                series.samples.add(value=one, timestamp=at)
            else:
                series.histograms.append(histogram_message(one or STALE, at))
        for client in both:
            answer = client.request("POST", "/api/v1/write", compress(request.SerializeToString()), HEADERS)
            assert answer.status == 204, answer.body
    end = start + 39 * STEP
    asked: list[tuple[str, dict[str, str]]] = [
        ("sent", {"time": f"{end / 1000}"}), ("sent", {"time": f"{(end - 17 * STEP) / 1000}"}),
        ("sent[20m]", {"time": f"{end / 1000}"}),
        ("sent", {"start": f"{start / 1000}", "end": f"{end / 1000 + 400}", "step": "7"}),
        ("count(sent)", {"start": f"{start / 1000}", "end": f"{end / 1000}", "step": "15"}),
        ("count_over_time(sent[1m])", {"start": f"{start / 1000}", "end": f"{end / 1000}", "step": "15"}),
        ("timestamp(sent)", {"time": f"{end / 1000}"}), ('sent{kind="floats"} or sent', {"time": f"{end / 1000}"}),
        ("sent[2m:30s]", {"time": f"{end / 1000}"}), ("absent(sent)", {"time": f"{start / 1000 - 1000}"}),
        ("group by (kind) (sent)", {"time": f"{end / 1000}"}),
    ]
    for stored in ("head", "block"):
        for expr, more in asked:
            theirs, ours = (result(client, expr, **more) for client in both)
            assert theirs and ordered(ours) == ordered(theirs), (expr, more, stored)
        if stored == "head":
            assert both[1].request("POST", "/api/v1/admin/tsdb/compact").status == 204

    theirs, ours = (client.get("/federate", {"match[]": 'sent{kind=~"mixed|floats"}'}).body for client in both)
    assert ours == theirs


def ordered(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: sorted(row["metric"].items()))


def exposed() -> bytes:
    chance = random.Random(5)
    buckets = message(3, integer(1, 4) + double(2, 0.5)) + message(3, integer(1, 9) + double(2, math.inf))
    families = []
    for number in range(30):
        histogram = made(chance, number % 3 == 0, False)
        if histogram.count == 0 or math.isinf(histogram.sum):
            continue
        body = native_fields(histogram) + (buckets if number % 2 else b"")
        families.append(family(f"scraped_{number}", GAUGE_HISTOGRAM if number % 5 == 0 else HISTOGRAM, [body]))
    now = int(time.time())
    own, of_bucket, untimed = (Exemplar((("trace", name),), value, at) for name, value, at in (
        ("own", 0.25, (now, 5_000_000)), ("bucket", 0.5, (now - 1, 0)), ("untimed", 0.75, None)))
    classic = message(3, integer(1, 9) + double(2, math.inf) + message(3, of_bucket.encode()))
    plain = NativeHistogram(0, 2.5, 3, positive_spans=((0, 2),), positive=(1, 2))
    for name, metric in (("own", native_fields(plain, [untimed, own, own]) + classic),
                         ("bucket", native_fields(plain) + classic), ("untimed", native_fields(plain, [untimed]))):
        families.append(family(f"scraped_with_{name}", HISTOGRAM, [metric]))
    families.append(family("scraped_classic", HISTOGRAM, [integer(1, 9) + double(2, 3.5) + buckets]))
    return b"".join(families)


def test_scraped_histograms(both: tuple[Client, Client]) -> None:
    wait_until(lambda: all(len(result(client, "up")) == len(JOBS) for client in both),
               "both have scraped")
    for job in JOBS:
        for expr in (f'{{__name__=~"scraped_.*", job="{job}"}}', f'up{{job="{job}"}}',
                     f'scrape_samples_scraped{{job="{job}"}}',
                     f'scrape_samples_post_metric_relabeling{{job="{job}"}}'):
            theirs, ours = ({str(sorted(row["metric"].items())): row.get("histogram", row.get("value"))[1]
                             for row in result(client, expr)} for client in both)
            assert ours == theirs, (job, expr)
            assert theirs or job == "too_few", job
    now = time.time()
    asked = {"query": '{__name__=~"scraped_with_.*"}', "start": now - 60, "end": now + 60}
    found = [client.data("query_exemplars", asked) for client in both]
    theirs, ours = ({str(each["seriesLabels"]): each["exemplars"] for each in one} for one in found)
    assert theirs and ours == theirs
