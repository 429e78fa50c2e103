"""convert_classic_histograms_to_nhcb: a real Prometheus and we scrape the same targets and store the same."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours import PROTOBUF, Answer
from tests.client import Client
from tests.ingest.native_families import family, native_fields
from tests.ingest.sender import message, varint
from tests.ingest.test_metric_families import GAUGE_HISTOGRAM, HISTOGRAM, Exemplar, double, integer, pairs
from tests.processes import wait_until
from tests.server.beside_prometheus import both_servers
from tests.targets import TargetServer
from tsdb.model.native_histograms import NativeHistogram

pytestmark = pytest.mark.peer

TEXT, OPENMETRICS = "text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0"
JOBS = {
    "converted": "",
    "both": "always_scrape_classic_histograms: true",
    "few": "native_histogram_bucket_limit: 4",
    "relabeled": "always_scrape_classic_histograms: true, metric_relabel_configs: "
                 "[{source_labels: [__name__], regex: '.*_(bucket|sum)', action: drop}, "
                 "{regex: pod, action: labeldrop}]",
    "honored": "honor_labels: true, sample_limit: 5000",
}

ODD = """# HELP plain Of a usual client.
# TYPE plain histogram
plain_bucket{path="/",le="0.1"} 3
plain_bucket{path="/",le="1"} 5
plain_bucket{path="/",le="2.5"} 5
plain_bucket{path="/",le="+Inf"} 9
plain_sum{path="/"} 12.25
plain_count{path="/"} 9
plain_bucket{path="/a b\\"\\\\\\n",le="0.1"} 0
plain_bucket{path="/a b\\"\\\\\\n",le="+Inf"} 0
plain_sum{path="/a b\\"\\\\\\n"} 0
plain_count{path="/a b\\"\\\\\\n"} 0
gauge_without_type 1
# TYPE first histogram
first_count{z="1",a="2"} 4
first_sum{a="2",z="1"} 1e3
first_bucket{le="1",a="2",z="1"} 1
first_bucket{a="2",le="5",z="1"} 4
first_bucket{a="2",z="1",le="+Inf"} 4
# TYPE floats histogram
floats_bucket{le="1"} 0.5
floats_bucket{le="2"} 0.5
floats_bucket{le="+Inf"} 2.75
floats_sum 1.5
floats_count 2.75
# TYPE gaps histogram
gaps_bucket{le="1"} 0
gaps_bucket{le="2"} 1
gaps_bucket{le="3"} 1
gaps_bucket{le="4"} 1
gaps_bucket{le="5"} 2
gaps_bucket{le="6"} 2
gaps_bucket{le="7"} 2
gaps_bucket{le="8"} 2
gaps_bucket{le="9"} 3
gaps_bucket{le="+Inf"} 3
gaps_sum 1.5
gaps_count 3
# TYPE unordered histogram
unordered_bucket{le="+Inf"} 6
unordered_bucket{le="1"} 2
unordered_bucket{le="-5"} 1
unordered_bucket{le="1.0"} 99
unordered_bucket{le="1e1"} 6
unordered_sum -3
unordered_count 6
# TYPE bare histogram
bare_count 8
bare_sum 2
# TYPE sumless histogram
sumless_bucket{le="1"} 2
sumless_bucket{le="4"} 3
# TYPE countless histogram
countless_bucket{le="1"} 2
countless_bucket{le="+Inf"} 3
countless_sum 3
# TYPE only_sum histogram
only_sum_sum 3
# TYPE shrinking histogram
shrinking_bucket{le="1"} 5
shrinking_bucket{le="+Inf"} 3
shrinking_sum 3
shrinking_count 3
# TYPE negative histogram
negative_bucket{le="1"} -5
negative_bucket{le="+Inf"} 3
negative_sum 3
negative_count 3
# TYPE mismatch histogram
mismatch_bucket{le="1"} 2
mismatch_bucket{le="+Inf"} 3
mismatch_sum 3
mismatch_count 4
# TYPE infinite histogram
infinite_bucket{le="1"} 2
infinite_bucket{le="+Inf"} +Inf
infinite_sum NaN
infinite_count +Inf
# TYPE wrong_bounds histogram
wrong_bounds_bucket{le="x"} 2
wrong_bounds_bucket{le="NaN"} 2
wrong_bounds_bucket 2
wrong_bounds_bucket{le="+Inf"} 3
wrong_bounds{x="1"} 3
wrong_bounds_sum 3
wrong_bounds_max 3
wrong_bounds_count 3
# TYPE interleaved histogram
interleaved_bucket{a="1",le="1"} 1
interleaved_bucket{a="2",le="1"} 2
interleaved_bucket{a="1",le="+Inf"} 2
interleaved_bucket{a="2",le="+Inf"} 3
# TYPE commented histogram
commented_bucket{le="1"} 1
# a comment
commented_bucket{le="+Inf"} 2
commented_count 2

# TYPE blank histogram
blank_bucket{le="1"} 1

blank_bucket{le="+Inf"} 2
# TYPE other counter
blank_sum 5
# TYPE endings_count histogram
endings_count_bucket{le="+Inf"} 2
endings_count_sum 2
endings_count_count 2
# TYPE summary summary
summary{quantile="0.5"} 1
summary_sum 2
summary_count 3
# TYPE gauge gauge
gauge_bucket{le="1"} 1
gauge_count 1
# TYPE twice histogram
twice_bucket{le="+Inf"} 2
twice_count 2
# TYPE twice histogram
twice_bucket{le="+Inf"} 3
twice_count 3
# TYPE exact histogram
exact_bucket{le="0.10000000000000000000001"} 1
exact_bucket{le="+Inf"} 9007199254740993.0000000001
exact_sum 123456789012345678901234567890
exact_count 9007199254740993.0000000001
# TYPE large histogram
large_bucket{le="1"} 9.3e18
large_bucket{le="+Inf"} 1.9e19
large_sum 1
large_count 1.9e19
# TYPE labelled histogram
labelled_bucket{job="mine",pod="1",instance="x",le="1"} 1
labelled_bucket{job="mine",pod="1",instance="x",le="+Inf"} 2
labelled_sum{job="mine",pod="1",instance="x"} 1
labelled_count{job="mine",pod="1",instance="x"} 2
# TYPE "quoted.name" histogram
{"quoted.name_bucket",le="1"} 1
{"quoted.name_bucket",le="+Inf"} 2
{"quoted.name_sum"} 2
{"quoted.name_count"} 2
# TYPE last histogram
last_bucket{le="1"} 1
last_bucket{le="+Inf"} 2
last_sum 7
last_count 2
"""


def timed(now: int) -> str:
    """Times of their own: a histogram has that of the series behind it."""
    return f"""# TYPE timed histogram
timed_bucket{{le="1"}} 1 {now - 3000}
timed_bucket{{le="+Inf"}} 2 {now - 3000}
timed_count 2 {now - 3000}
next 5 {now - 2000}
# TYPE behind histogram
behind_bucket{{le="+Inf"}} 2 {now - 3000}
# TYPE untimed histogram
untimed_bucket{{le="+Inf"}} 2
"""


def openmetrics(now: float) -> str:
    return f"""# TYPE early counter
early_total 5
early_created {now - 100}
# HELP seen With exemplars.
# TYPE seen histogram
# UNIT seen_seconds seconds
# TYPE seen_seconds histogram
seen_seconds_bucket{{le="0.5"}} 1 # {{trace="a"}} 0.25 {now - 5:.3f}
seen_seconds_bucket{{le="1.0"}} 3 # {{trace="late"}} 0.75 {now - 9:.3f}
seen_seconds_bucket{{le="2.0"}} 3 # {{trace="untimed"}} 1.5
seen_seconds_bucket{{le="+Inf"}} 4 # {{trace="q"}} 9 {now - 1:.3f}
seen_seconds_count 4
seen_seconds_sum 12.5
seen_seconds_created {now - 100}
# TYPE x unknown
x_created 1
# TYPE early counter
early_total{{a="b"}} 5
early_created{{a="b"}} {now - 100}
# TYPE inside histogram
inside_created {now - 100}
inside_bucket{{le="1"}} 1
inside_created {now - 100}
inside_bucket{{le="+Inf"}} 2
{{"inside_created",le="1"}} {now - 100}
# TYPE sum summary
sum_created{{a="b"}} {now - 100}
{{"sum_created",a="c"}} {now - 100}
# TYPE gauges gaugehistogram
gauges_created 1
gauges_bucket{{le="1"}} 1
gauges_bucket{{le="+Inf"}} 2
gauges_gcount 2
gauges_gsum 3
# TYPE b histogram
b_bucket{{le="1"}} 1 {now - 2:.3f} # {{trace="b"}} 0.25 {now - 5:.3f}
b_bucket{{le="+Inf"}} 1 {now - 2:.3f}
# TYPE c counter
c_total 5 # {{trace="c"}} 1 {now - 5:.3f}
# TYPE e histogram
e_bucket{{le="1"}} 1 # {{trace="e"}} 0.25 {now - 5:.3f}
# EOF
"""


def messages(now: int, natives: bool) -> bytes:
    def bucket(count: int | float, bound: float, exemplar: Exemplar | None = None) -> bytes:
        number = double(4, count) if isinstance(count, float) else integer(1, count)
        return message(3, number + double(2, bound) + (message(3, exemplar.encode()) if exemplar else b""))

    first, second = (Exemplar((("trace", name),), 0.25, (now - age, 0)) for name, age in (("m", 4), ("n", 3)))
    plain = integer(1, 9) + double(2, 12.25) + bucket(3, 0.1, first) + bucket(5, 1.0) + bucket(9, math.inf, second)
    native = NativeHistogram(0, 2.5, 3, positive_spans=((0, 2),), positive=(1, 2))
    families = [
        family("plain", HISTOGRAM, [plain]), family("gauges", GAUGE_HISTOGRAM, [plain]),
        family("endless", HISTOGRAM, [integer(1, 9) + double(2, 1) + bucket(4, 1.0)]),
        family("floats", HISTOGRAM, [double(4, 2.5) + double(2, 1) + bucket(0.5, 1.0) + bucket(2.5, math.inf)]),
        family("falling", HISTOGRAM, [integer(1, 3) + double(2, 1) + bucket(5, 1.0) + bucket(3, math.inf)]),
    ]
    if natives:
        families += [family("native", HISTOGRAM, [native_fields(native) + bucket(3, math.inf)])]
    return b"".join([*families, family("last", HISTOGRAM, [plain])])


def random_body(chance: random.Random) -> str:
    """Histograms of any order of series, some of which are none."""
    lines = []
    for number in range(60):
        name = f"r{number}"
        lines.append(f"# TYPE {name} {chance.choice(['histogram'] * 9 + ['gauge'])}")
        for copy in range(chance.randrange(1, 4)):
            labels = [f'{key}="{copy}"' for key in "abxy"[: chance.randrange(1, 5)]]
            bounds = sorted({round(chance.uniform(-2, 20), chance.randrange(3)) for _ in range(chance.randrange(9))})
            count = 0.0
            series = []
            for bound in [*bounds, "+Inf"] if chance.random() < 0.9 else bounds:
                count += chance.choice([0, 0, 0, 1, chance.randrange(1000), chance.random() * (number % 7 == 0)])
                if chance.random() < 0.01:
                    count -= 1
                series.append(("_bucket", [f'le="{bound}"'], count))
            series += [("_sum", [], chance.uniform(-1, 99)), ("_count", [], count)]
            if chance.random() < 0.3:
                chance.shuffle(series)
            for ending, more, value in series:
                if chance.random() < 0.98:
                    own = chance.sample(labels, len(labels)) if chance.random() < 0.2 else labels
                    lines.append(f"{name}{ending}{{{','.join(own + more)}}} {value!r}")
    return "\n".join(lines) + "\n"


def bodies() -> dict[str, Answer]:
    now = time.time()
    found = {"odd": Answer(ODD, TEXT), "timed": Answer(timed(int(now * 1000)), TEXT),
             "openmetrics": Answer(openmetrics(now), OPENMETRICS),
             "messages": Answer(messages(int(now), False), PROTOBUF),
             "natives": Answer(messages(int(now), True), PROTOBUF),
             "labels": Answer(label_messages(), PROTOBUF)}
    return found | {f"random{seed}": Answer(random_body(random.Random(seed)), TEXT) for seed in range(3)}


def label_messages() -> bytes:
    metrics = b""
    for value in (1, 2):
        buckets = message(3, integer(1, 2) + double(2, 1)) + message(3, integer(1, 2 + value) + double(2, math.inf))
        metrics += message(4, pairs((("b", str(value)), ("a", "x")))
                           + message(7, integer(1, 2 + value) + double(2, 3.5) + buckets))
    body = message(1, b"labelled") + integer(3, HISTOGRAM) + metrics
    return varint(len(body)) + body


@pytest.fixture(scope="module")
def both(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    """Prometheus, and us; both scrape each body as each of the JOBS says."""
    folder = tmp_path_factory.mktemp("converted")
    with TargetServer() as targets:
        answers = bodies()
        for path, answer in answers.items():
            targets.behave(f"/{path}", answer)
        file = folder / "prometheus.yml"
        file.write_text("global: {scrape_interval: 1s, scrape_timeout: 1s, convert_classic_histograms_to_nhcb: true}\n"
                        "scrape_configs:\n" + "".join(
            f"- {{job_name: {job}-{path}, metrics_path: /{path}, static_configs: [{{targets: ['{targets.address}']}}]"
            f"{', ' if more else ''}{more}}}\n" for job, more in JOBS.items() for path in answers))
        flags = ["--enable-feature=native-histograms,exemplar-storage"]
        with both_servers(peer("prometheus"), folder, flags) as clients:
            wait_until(lambda: all(len(result(client, "count_over_time(up[1m]) > 1")) == len(JOBS) * len(answers)
                                   for client in clients), "both have scraped twice")
            yield clients


def result(client: Client, expr: str) -> Any:
    return client.data("query", {"query": expr})["result"]


def stored(client: Client, expr: str) -> dict[str, Any]:
    return {str(sorted(row["metric"].items())): row.get("histogram", row.get("value"))[1]
            for row in result(client, expr)}


@pytest.mark.parametrize("job", list(JOBS))
def test_the_same_is_stored(both: tuple[Client, Client], job: str) -> None:
    reports = "up|scrape_(samples_scraped|samples_post_metric_relabeling)"
    asked = [f'{{job=~"{job}-.*", __name__!~"scrape_.*"}}', f'{{job=~"{job}-.*", __name__=~"{reports}"}}',
             '{__name__=~"labelled.*", job="mine"}',
             f'label_replace(timestamp({{job=~"{job}-.*",__name__=~"timed|b"}}), "x", "$1", "__name__", "(.*)")']
    if job != "few":  # what a scrape that is refused would have added, depends on the order
        asked.append(f'max_over_time(scrape_series_added{{job=~"{job}-.*"}}[1m])')
    for expr in asked:
        theirs, ours = (stored(client, expr) for client in both)
        assert set(ours) == set(theirs), expr
        assert ours == theirs, expr


@pytest.mark.parametrize("job", list(JOBS))
def test_exemplars(both: tuple[Client, Client], job: str) -> None:
    now = time.time()
    asked = {"query": f'{{job=~"{job}-.*"}}', "start": now - 600, "end": now + 60}
    theirs, ours = ({str(sorted(each["seriesLabels"].items())): each["exemplars"]
                     for each in client.data("query_exemplars", asked)} for client in both)
    assert theirs and ours == theirs
