"""The same samples sent to a real Prometheus and to us: status, envelope and body of the answers are equal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.client import Client
from tests.processes import TSDB, Process, free_port

pytestmark = pytest.mark.peer

STEPS = 40
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

VALUES = [
    0.0, -0.0, 1.0, -1.5, 0.1, 1e20, 1e21, 1.5e300, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, 2.0**53, 1 / 3,
    float("inf"), float("-inf"), float("nan"), 123456789.125, 1e22, 9.5367431640625e-07,
]


def samples(base: int) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    """Series for every kind of answer, from `base` (ms) on, 15 s apart."""
    times = [base + step * 15_000 for step in range(STEPS)]
    series: list[tuple[dict[str, str], list[tuple[int, float]]]] = []
    for number in range(5):
        labels = {"__name__": "http_requests_total", "job": f"j{number % 2}", "instance": f"i{number}"}
        series.append((labels, [(at, float(step * (number + 1))) for step, at in enumerate(times)]))
    for number, value in enumerate(VALUES):
        series.append(({"__name__": "odd", "number": f"{number:02d}"}, [(at, value) for at in times]))
    series.append(({"__name__": "text", "quote": 'a"b\\c\n<>&', "euro": "€ \u2028\u0001"}, [(times[-1], 1.0)]))
    series.append(({"__name__": "ms"}, [(at + number * 7, float(number)) for number, at in enumerate(times)]))
    for le, count in (("0.1", 1.0), ("1", 3.0), ("+Inf", 4.0)):
        labels = {"__name__": "latency_seconds_bucket", "le": le}
        series.append((labels, [(at, count * step) for step, at in enumerate(times)]))
    return series


@dataclass
class Both:
    prometheus: Client
    tsdb: Client
    base: int


@pytest.fixture(scope="module")
def both(
    peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    (folder / "prometheus.yml").write_text("")
    ports = free_port(), free_port()
    processes = [
        Process(
            [peer("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus",
             f"--web.listen-address=127.0.0.1:{ports[0]}", "--web.enable-remote-write-receiver", "--log.level=warn"],
            folder / "prometheus.log", ports[0],
        ),
        Process([TSDB, "serve", "--listen", f"127.0.0.1:{ports[1]}", "--data", folder / "data"], folder / "tsdb.log",
                ports[1]),
    ]
    try:
        clients = [process.wait_ready().client for process in processes]
        base = (int(time.time()) - STEPS * 15) * 1000
        for client in clients:
            answer = client.write(samples(base))
            assert answer.status == 204, answer
        yield Both(clients[0], clients[1], base)
    finally:
        for process in processes:
            process.kill()


def fill(path: str, both: Both) -> str:
    """Puts times in: {start}, {mid}, {end} and {rfc}, within the samples."""
    start = both.base / 1000
    end = start + STEPS * 15 - 15
    rfc = time.strftime("%Y-%m-%dT%H:%M:%S.25Z", time.gmtime(int(start + 60)))
    filled = path.format(start=f"{start:.3f}", mid=f"{start + 201.5:.3f}", end=f"{end:.3f}", rfc=rfc)
    head, _, query = filled.partition("?")
    return f"{head}?{quote(query, safe='=&%[]+')}" if query else head


SAME = [
    # instant queries
    "query?query=http_requests_total&time={mid}",
    "query?query=http_requests_total&time={rfc}",
    "query?query=odd&time={mid}",
    "query?query=text&time={end}",
    "query?query=ms&time={end}",
    "query?query=ms[1m]&time={end}",
    "query?query=odd[31s]&time={mid}",
    "query?query=nothere&time={mid}",
    "query?query=nothere[5m]&time={mid}",
    "query?query=1&time={mid}",
    "query?query=1e21&time={mid}",
    "query?query=-0&time=5",
    "query?query=NaN&time=-5.25",
    "query?query=-Inf&time=0",
    "query?query=vector(1e-7)&time=5.5",
    'query?query="a\\"<b>"&time=5',
    "query?query=sum(http_requests_total)by(job)&time={mid}",
    "query?query=sort_desc(http_requests_total)&time={mid}",
    "query?query=topk(2,http_requests_total)&time={mid}",
    "query?query=increase(http_requests_total[1m])&time={start}",
    "query?query=histogram_quantile(0.9,latency_seconds_bucket)&time={mid}",
    "query?query=histogram_quantile(9,latency_seconds_bucket)&time={mid}",
    "query?query=http_requests_total&time={mid}&limit=2",
    "query?query=http_requests_total&time={mid}&limit=5",
    "query?query=http_requests_total&time={mid}&limit=0",
    "query?query=ms[1m]&time={end}&limit=1",
    "query?query=http_requests_total&time={end}&lookback_delta=1s",
    "query?query=http_requests_total&time={mid}&lookback_delta=1",
    "query?query=up&time=5&time=x",
    # range queries
    "query_range?query=http_requests_total&start={start}&end={end}&step=15",
    "query_range?query=ms&start={start}&end={end}&step=7s",
    "query_range?query=odd&start={mid}&end={end}&step=1m",
    "query_range?query=sum(http_requests_total)&start={rfc}&end={end}&step=0.5m",
    "query_range?query=sum(http_requests_total)&start={rfc}&end={end}&step=10.5",
    "query_range?query=1&start={start}&end={start}&step=1",
    "query_range?query=nothere&start={start}&end={end}&step=15",
    "query_range?query=http_requests_total&start={start}&end={end}&step=60&limit=2",
    "query_range?query=http_requests_total>100&start={start}&end={end}&step=15",
    "query_range?query=time()&start=-5.25&end=5&step=1.5",
    # names and series
    "labels",
    "labels?match[]=http_requests_total",
    "labels?match[]=http_requests_total&match[]=text",
    "labels?limit=2",
    "labels?start={start}&end={end}",
    "labels?end=5",
    "label/__name__/values",
    "label/job/values",
    "label/job/values?match[]={{instance='i1'}}",
    "label/nothere/values",
    "label/U__job/values",
    "label/a.b/values",
    "label/quote/values",
    "series?match[]=http_requests_total",
    "series?match[]=http_requests_total&match[]=odd",
    "series?match[]={{job=~'j.*'}}&match[]={{instance='i0'}}",
    "series?match[]=http_requests_total&limit=2",
    "series?match[]=text",
    "series?match[]=http_requests_total&start=0&end=5",
    "metadata",
    "metadata?metric=nothere",
    # what is wrong
    "query",
    "query?query=",
    "query?query=sum(",
    "query?query=up&time=x",
    "query?query=up&timeout=x",
    "query?query=up&timeout=1e300",
    "query?query=up&limit=x",
    "query?query=up&limit=-1",
    "query?query=up&lookback_delta=x",
    "query?query=http_requests_total+on(job)+group_left+up+foo(",
    "query?query=rate(up)",
    "query_range?query=up",
    "query_range?query=up&start=5",
    "query_range?query=up&start=5&end=6",
    "query_range?query=up&start=5&end=4",
    "query_range?query=up&start=5&end=4&step=x",
    "query_range?query=up&start=5&end=6&step=0",
    "query_range?query=up&start=5&end=6&step=-5s",
    "query_range?query=up&start=0&end=11001&step=1",
    "query_range?query=up[5m]&start=5&end=60&step=1",
    'query_range?query="a"&start=5&end=60&step=1',
    "query_range?query=foo(&start=5&end=60&step=1",
    "labels?start=x",
    "labels?end=x",
    "labels?limit=x",
    "labels?match[]=x{{",
    "labels?match[]={{a=''}}",
    "labels?match[]={{a=~'.*'}}",
    "label/%FF/values",
    "label/U__/values",
    "label/job/values?limit=-1",
    "label/job/values?match[]=x{{",
    "series",
    "series?match[]=x{{",
    "series?match[]={{a=~'.*'}}",
    "series?match[]=up&start=x",
    "metadata?limit=x",
    "nothere",
    "query_range/nothere",
]


CLOSE = [
    "query?query=rate(http_requests_total[1m])&time={mid}",
    "query?query=rate(ms[1m])&time={mid}",
    "query_range?query=rate(http_requests_total[1m])&start={start}&end={end}&step=30",
]
"""Equal but for the last bit."""

SAME_STATUS = [
    "label/__name__/values?limit=3",  # which ones depends on the order of the index
    "query?query=http_requests_total%2Bon(job)http_requests_total&time={mid}",  # names any two of the series
]


@pytest.mark.parametrize("path", SAME)
def test_same_answer(both: Both, path: str) -> None:
    target = "/api/v1/" + fill(path, both)
    theirs, ours = (client.get(target) for client in (both.prometheus, both.tsdb))
    assert ours.status == theirs.status, (ours, theirs)
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert comparable(ours.body) == comparable(theirs.body)
    assert sorted(ours.body) == sorted(theirs.body), "the same bytes, whatever the order of series"


@pytest.mark.parametrize("path", CLOSE)
def test_close_answer(both: Both, path: str) -> None:
    target = "/api/v1/" + fill(path, both)
    theirs, ours = (flat(comparable(client.get(target).body)) for client in (both.prometheus, both.tsdb))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], rel=1e-14)


def flat(answer: Any) -> list[tuple[str, float]]:
    """(labels and time, value) of every cell."""
    return [
        (f"{row['metric']} {at}", float(value))
        for row in answer["data"]["result"] for at, value in row.get("values") or [row["value"]]
    ]


@pytest.mark.parametrize("path", SAME_STATUS)
def test_same_status(both: Both, path: str) -> None:
    target = "/api/v1/" + fill(path, both)
    theirs, ours = (client.get(target) for client in (both.prometheus, both.tsdb))
    assert ours.status == theirs.status
    assert set(ours.json()) == set(theirs.json())


def comparable(body: bytes) -> Any:
    """The JSON as Python has it, numbers as they are written, series in the order of their labels: Prometheus gives
    vectors in the order of its storage, unless the query sorts."""
    try:
        loaded = json.loads(body, parse_float=str, parse_int=str)
    except ValueError:
        return body
    data = loaded.get("data")
    if isinstance(data, dict) and data.get("resultType") == "vector":
        data["result"].sort(key=json.dumps)
    return loaded


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("query", "query=1&time=5", FORM),
        ("query?time=7", "query=1&time=5", FORM),
        ("query?time=7", "query=1", FORM),
        ("query", "query=1&time=5", {"Content-Type": "text/plain"}),
        ("query", "query=%zz", FORM),
        ("query_range", "query=http_requests_total&start={start}&end={end}&step=60", FORM),
        ("labels", "match[]=odd", FORM),
        ("series", "match[]=odd", FORM),
        ("series", "match[]=%zz", FORM),
        ("series", "a;b", FORM),
    ],
)
def test_same_answer_to_forms(both: Both, path: str, body: str, headers: dict[str, str]) -> None:
    filled = fill("?" + body, both)[1:].encode() if "{" in body else body.encode()
    theirs, ours = (
        client.request("POST", "/api/v1/" + path, filled, headers) for client in (both.prometheus, both.tsdb)
    )
    assert (ours.status, comparable(ours.body)) == (theirs.status, comparable(theirs.body))


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("OPTIONS", "/api/v1/query", {"Origin": "http://x.y"}),
        ("OPTIONS", "/api/v1/query", {}),
        ("GET", "/api/v1/labels", {"Origin": "http://x.y"}),
        ("DELETE", "/api/v1/query", {}),
        ("HEAD", "/api/v1/query", {}),
        ("GET", "/api/v1/write", {}),
        ("POST", "/-/ready", {}),
        ("HEAD", "/-/ready", {}),
        ("GET", "/nothere", {}),
    ],
)
def test_same_headers(both: Both, method: str, path: str, headers: dict[str, str]) -> None:
    theirs, ours = (client.request(method, path, headers=headers) for client in (both.prometheus, both.tsdb))
    assert ours.status == theirs.status
    for name in ("allow", "vary", "access-control-allow-origin", "access-control-allow-methods",
                 "access-control-allow-headers", "access-control-expose-headers"):
        assert ours.headers.get(name) == theirs.headers.get(name), name


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"", {"Content-Type": "text/plain"}),
        (b"", {"Content-Encoding": "gzip"}),
        (b"nonsense", {}),
        (b"\x00", {}),
    ],
)
def test_same_status_of_writes(both: Both, body: bytes, headers: dict[str, str]) -> None:
    theirs, ours = (
        client.request("POST", "/api/v1/write", body, headers).status for client in (both.prometheus, both.tsdb)
    )
    assert ours == theirs


def test_build_info_has_what_prometheus_has(both: Both) -> None:
    theirs, ours = (client.data("status/buildinfo") for client in (both.prometheus, both.tsdb))
    assert set(theirs) <= set(ours)
    assert theirs["version"].split(".")[:2] == ours["version"].split(".")[:2]
