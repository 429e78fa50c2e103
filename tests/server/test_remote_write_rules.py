"""Rules of the remote_write specifications for receivers, each with a request and its answer; ours, and a real
Prometheus' where it is another.

https://prometheus.io/docs/specs/prw/remote_write_spec/ and …/remote_write_spec_2_0/
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cramjam
import pytest

from tests.client import Answer, Client
from tests.ingest.messages import V1, V2, Message, Request, histogram_message
from tests.ingest.sender import compress, label, message, sample
from tests.ingest.sender import series as series_1
from tests.processes import Process, free_port
from tests.server.conftest import Running
from tsdb.config import Config
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import NativeHistogram
from tsdb.server.server import open_storage

NOW = time.time_ns() // 1_000_000
PROTOBUF = "application/x-protobuf"
ONE = f"{PROTOBUF};proto=prometheus.WriteRequest"
TWO = f"{PROTOBUF};proto=io.prometheus.write.v2.Request"
Counts = tuple[int, int, int] | None
"""Samples, histograms and exemplars written, as headers say; None: no such headers."""
NONE: Counts = (0, 0, 0)


@dataclass(frozen=True)
class Rule:
    words: str
    """The rule; in brackets what the request is."""
    status: int
    counts: Counts
    body: bytes
    content_type: str | None = TWO
    encoding: str | None = "snappy"
    message: str = ""
    """A regular expression that the error matches."""
    theirs: tuple[int, Counts] | None = None
    """Prometheus' status and counts where they are others. Status 0: it closes the connection."""

    @property
    def headers(self) -> Mapping[str, str]:
        named = {"Content-Type": self.content_type, "Content-Encoding": self.encoding}
        return {name: value for name, value in named.items() if value is not None}


GOOD = NativeHistogram(3, 5.5, 7, 0.001, 1, ((-2, 2), (3, 1)), (), (1, 2, 3))
CUSTOM = NativeHistogram(-53, 5.5, 3, positive_spans=((0, 2),), positive=(1, 2), custom_values=(0.5, 1.0))
FLOATS = NativeHistogram(0, 5.5, 3.5, 0.0, 0.5, ((0, 2),), (), (1.0, 2.0), floats=True)


class Names:
    """Series of its own for each rule."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> str:
        self.count += 1
        return f"rule_{self.count}"


def rules() -> list[Rule]:
    names = Names()
    return [*both_versions(names), *version_1(names), *symbols(names), *labels(names), *samples(names),
            *histograms(names), *exemplars(names), *compatibility(names)]


def two(names: Names, *values: float, ts: int = NOW, **labels: str) -> Request:
    """A request with a series."""
    request = Request()
    request.add({"__name__": names.next(), **labels}, *((ts, value) for value in values))
    return request


def with_series(names: Names, fill: Callable[[Request, Message], None], *values: float) -> bytes:
    request = two(names, *values)
    fill(request, request.message.timeseries[0])
    return request.body


def beside_good(names: Names, refs: Callable[[Request], list[int]]) -> bytes:
    """A series with these labels_refs, and a good one."""
    request = two(names, 1.0)
    request.message.timeseries.add(labels_refs=refs(request)).samples.add(value=1.0, timestamp=NOW)
    return request.body


def both_versions(names: Names) -> list[Rule]:
    good = two(names, 1.0)
    good_1 = series_1([("__name__", names.next())], [(NOW, 1.0)])
    return [
        Rule("Receivers MUST support io.prometheus.write.v2.Request", 204, (1, 0, 0), good.body),
        Rule("Receivers MUST use the content type to identify the message [none]", 204, None, compress(good_1), None),
        Rule("Receivers MUST use the content type to identify the message [no proto]", 204, None, compress(good_1),
             PROTOBUF),
        Rule("Receivers MUST use the content type to identify the message [1.0]", 204, None, compress(good_1), ONE),
        Rule("A request of 1.0 under the name of 2.0 is an empty one", 204, NONE, compress(good_1)),
        Rule("A request of 2.0 under the name of 1.0 is an empty one", 204, None, good.body, ONE),
        Rule("An empty request", 204, NONE, compress(b"")),
        Rule("MUST return 415 for a content type that is not supported", 415, None, good.body, "application/json",
             message=TWO),
        Rule("MUST return 415 for a message that is not supported", 415, None, good.body, f"{PROTOBUF};proto=x.Y",
             message=f"x.Y protobuf message is not accepted.*{ONE}, .*{TWO}"),
        Rule("MUST return 415 for an encoding that is not supported", 415, None, good.body, encoding="zstd",
             message="zstd"),
        Rule("Receivers MUST support snappy [no Content-Encoding]", 204, (1, 0, 0), good.body, encoding=None),
        Rule("The framed format MUST NOT be used", 400, None, bytes(cramjam.snappy.compress(good.raw)),
             message="framed format"),
        Rule("MUST be compressed", 400, None, good.raw, message="not snappy"),
        Rule("MUST use the binary wire format", 400, None, compress(b'{"symbols": []}'), message="is not an? "),
        Rule("Receivers MUST support idempotency [again]", 204, (1, 0, 0), good.body),
    ]


def version_1(names: Names) -> list[Rule]:
    def one(*parts: bytes) -> bytes:
        return compress(b"".join(parts))

    at = [(NOW, 1.0)]
    good = series_1([("__name__", names.next())], at)
    name = names.next()
    bad_histogram = V1["Histogram"](count_int=5, timestamp=NOW).SerializeToString()
    return [
        Rule("1.0: MUST respond with 2xx when the write is successful", 204, None, one(good), ONE),
        # Prometheus drops such series and says nothing
        Rule("1.0: MUST return 400 for requests with any invalid samples [no name]", 400, None,
             one(series_1([("job", "x")], at), good), ONE,
             message="1 of 2 samples rejected, 1 kept: .*without a metric name", theirs=(204, None)),
        Rule("1.0: MUST return 400 for requests with any invalid samples [repeated label]", 400, None,
             one(series_1([("__name__", name), ("a", "1"), ("a", "2")], at), good), ONE, message="not unique",
             theirs=(204, None)),
        Rule("1.0: MUST return 400 for requests with any invalid samples [histogram]", 400, None,
             one(message(1, label("__name__", name) + message(4, bad_histogram)), good), ONE,
             message="the Count field is 5", theirs=(500, None)),
        Rule("1.0: MUST return 400 for requests with any invalid samples [too old]", 400, None,
             one(series_1([("__name__", name)], [(NOW - 86_400_000, 1.0)]), good), ONE,
             message="too old|out of bounds"),
        Rule("1.0: MUST respond with 4xx when the request is invalid", 400, None, one(b"\x0a\xff"), ONE),
        Rule("1.0: labels MUST be sorted [they are not]", 204, None,
             one(series_1([("b", "1"), ("__name__", names.next())], at)), ONE),
        Rule("1.0: MUST NOT contain empty label values [one is]", 204, None,
             one(series_1([("__name__", names.next()), ("a", "")], at)), ONE),
        Rule("1.0: stale markers are 0x7ff0000000000002", 204, None,
             one(series_1([("__name__", names.next())], [(NOW, STALE_NAN)])), ONE),
        Rule("1.0: histograms", 204, None, one(message(
            1, label("__name__", names.next()) + message(4, histogram_message(GOOD, NOW).SerializeToString()))), ONE),
        Rule("1.0: fields that are not known", 204, None,
             one(message(1, label("__name__", names.next()) + message(9, b"x") + sample(NOW, 1.0))), ONE),
    ]


def symbols(names: Names) -> list[Rule]:
    not_empty = two(names, 1.0)
    not_empty.message.symbols[0] = "x"
    none = two(names, 1.0)
    del none.message.symbols[:]
    doubled = two(names, 1.0)
    doubled.message.symbols.extend(["__name__", names.next()])
    doubled.message.timeseries.add(labels_refs=[3, 4]).samples.add(value=1.0, timestamp=NOW)
    behind = two(names, 1.0).message
    parts = [V2["Request"](timeseries=behind.timeseries), V2["Request"](symbols=behind.symbols)]

    def unit(request: Request, series: Message) -> None:
        series.metadata.unit_ref = 99

    return [
        Rule("The first symbol MUST be an empty string", 400, None, not_empty.body, message="empty string",
             theirs=(204, (1, 0, 0))),
        Rule("The symbols MUST be provided", 400, None, none.body, message="empty string", theirs=(0, None)),
        Rule("References MUST point to an existing symbol", 400, (1, 0, 0), beside_good(names, lambda request: [1, 99]),
             message="1 of 2 samples rejected, 1 kept: labels_refs point beyond the symbols: .*symbol 99 of 3",
             theirs=(0, None)),
        Rule("References MUST point to an existing symbol [metadata]", 400, (1, 0, 0), with_series(names, unit, 1.0),
             message=r"metadata point beyond the symbols \(1 series", theirs=(0, None)),
        Rule("The length of labels_refs is a multiple of two", 400, (1, 0, 0),
             beside_good(names, lambda request: [1, 2, 1]), message="odd number of labels_refs", theirs=(0, None)),
        Rule("The symbols MUST be deduplicated [they are not]", 204, (2, 0, 0), doubled.body),
        Rule("The order of fields is not fixed [symbols behind the series]", 204, (1, 0, 0),
             compress(b"".join(each.SerializeToString() for each in parts))),
    ]


def labels(names: Names) -> list[Rule]:
    def with_labels(*pairs: tuple[str, str]) -> bytes:
        name = names.next()
        return beside_good(names, lambda request: request.refs(*((key, value or name) for key, value in pairs)))

    def not_utf8() -> bytes:
        name = names.next()
        parts = [b"", b"__name__", name.encode(), b"a", b"\xff", b"b"]
        raw = b"".join(message(4, text) for text in parts)
        value = sample(NOW, 1.0)
        return compress(raw + message(5, message(1, bytes([1, 2, 3, 4])) + value)
                        + message(5, message(1, bytes([1, 2, 3, 5])) + value))

    empty = two(names, 1.0)
    empty.message.timeseries.add(labels_refs=[1, 2, 0, 0]).samples.add(value=1.0, timestamp=NOW)
    return [
        Rule("labels_refs MUST be provided", 400, (1, 0, 0), beside_good(names, lambda request: []),
             message="without a metric name: {}"),
        Rule("SHOULD contain a __name__ label", 400, (1, 0, 0), with_labels(("job", "x")), message="metric name"),
        Rule("MUST NOT contain repeated label names", 400, (1, 0, 0),
             with_labels(("__name__", ""), ("a", "1"), ("a", "2")), message="not unique"),
        Rule("MUST have label names sorted [they are not]", 204, (2, 0, 0), with_labels(("b", "1"), ("__name__", ""))),
        Rule("MUST NOT contain any empty label names", 400, (1, 0, 0), empty.body, message="empty name"),
        Rule("MUST be any sequence of UTF-8 characters", 204, (2, 0, 0),
             with_labels(("__name__", ""), ("größe in €", "🙂"))),
        Rule("MUST be any sequence of UTF-8 characters [they are not]", 400, (1, 0, 0), not_utf8(),
             message="not valid UTF-8"),
    ]


def samples(names: Names) -> list[Rule]:
    def mixed(request: Request, series: Message) -> None:
        series.histograms.append(histogram_message(GOOD, NOW + 1, V2))

    def start(request: Request, series: Message) -> None:
        series.samples[0].start_timestamp = NOW - 60_000
        series.created_timestamp = NOW - 60_000

    def created(request: Request, series: Message) -> None:
        series.created_timestamp = NOW - 60_000

    def started_histogram(request: Request, series: Message) -> None:
        series.histograms.append(histogram_message(GOOD, NOW, V2))
        series.histograms[0].start_timestamp = NOW - 60_000

    def described(request: Request, series: Message) -> None:
        series.metadata.type, series.metadata.help_ref = 1, request.ref("Help.")

    partial = two(names, 1.0)
    partial.add({"__name__": names.next()}, (NOW - 86_400_000, 1.0))
    partial.add({"__name__": names.next()}, (NOW + 3_600_000, 1.0))
    stale = V2["Request"](symbols=["", "__name__", names.next()]).SerializeToString()
    return [
        Rule("MUST return 400 for any invalid samples, MAY write the valid ones [too old, too new]", 400, (1, 0, 0),
             partial.body, message="2 of 3 samples rejected, 1 kept: too far in the future.*too old sample|"
                                   "2 of 3 samples rejected, 1 kept: out of bounds.*too far in the future"),
        Rule("Stale markers MUST be 0x7ff0000000000002", 204, (1, 0, 0),
             compress(stale + message(5, message(1, b"\x01\x02") + sample(NOW, STALE_NAN)))),
        Rule("MUST NOT include both samples and histograms [it does]", 204, (1, 1, 0), with_series(names, mixed, 1.0)),
        Rule("At least one sample or histogram MUST be provided [none is]", 204, NONE, two(names).body),
        Rule("start_timestamp SHOULD be provided", 204, (1, 0, 0), with_series(names, start, 1.0)),
        Rule("start_timestamp SHOULD be provided [of a histogram]", 204, (0, 1, 0),
             with_series(names, started_histogram)),
        Rule("start_timestamp SHOULD be provided [created_timestamp of older senders]", 204, (1, 0, 0),
             with_series(names, created, 1.0)),
        Rule("metadata SHOULD be provided", 204, (1, 0, 0), with_series(names, described, 1.0)),
        Rule("Several samples of a series in the order of time", 204, (2, 0, 0), with_series(
            names, lambda request, series: series.samples.add(value=2.0, timestamp=NOW + 1), 1.0)),
    ]


def histograms(names: Names) -> list[Rule]:
    def add(*all_: NativeHistogram) -> bytes:
        return with_series(names, lambda request, series: series.histograms.extend(
            histogram_message(one, NOW + i, V2) for i, one in enumerate(all_)))

    def wrong(**fields: object) -> bytes:
        def fill(request: Request, series: Message) -> None:
            series.histograms.append(V2["Histogram"](timestamp=NOW + 1, **fields))
            series.histograms.append(histogram_message(GOOD, NOW + 2, V2))

        return with_series(names, fill)

    return [
        Rule("Histograms", 204, (0, 1, 0), add(GOOD)),
        Rule("Histograms of floats", 204, (0, 2, 0), add(FLOATS, FLOATS)),
        Rule("Histograms with custom buckets", 204, (0, 1, 0), add(CUSTOM)),
        # Prometheus asks to send it again, for ever, and writes nothing
        Rule("MUST return 400 for any invalid samples [a histogram's count]", 400, (0, 1, 0), wrong(count_int=5),
             message="the Count field is 5", theirs=(500, NONE)),
        Rule("MUST return 400 for any invalid samples [a histogram's buckets]", 400, (0, 1, 0),
             wrong(positive_deltas=[1]), message="have 1 buckets", theirs=(500, NONE)),
        # Prometheus stores it, and crashes on queries
        Rule("MUST return 400 for any invalid samples [a histogram's schema]", 400, (0, 1, 0), wrong(schema=9),
             message="invalid schema", theirs=(204, (0, 2, 0))),
    ]


def exemplars(names: Names) -> list[Rule]:
    def add(*pairs: tuple[str, str], ts: int = NOW, refs: tuple[int, ...] = ()) -> bytes:
        def fill(request: Request, series: Message) -> None:
            series.exemplars.add(labels_refs=[*request.refs(*pairs), *refs], value=0.5, timestamp=ts)

        return with_series(names, fill, 1.0)

    def not_utf8() -> bytes:
        raw = V2["Request"](symbols=["", "__name__", names.next()]).SerializeToString() + message(4, b"\xff")
        return compress(raw + message(5, message(1, b"\x01\x02") + sample(NOW, 1.0) + message(4, b"\x0a\x02\x03\x03")))

    def several(request: Request, series: Message) -> None:
        for ts in (NOW, NOW - 1000):
            series.exemplars.add(labels_refs=request.refs(("trace_id", str(ts))), value=0.5, timestamp=ts)

    out_of_order = with_series(names, several, 1.0)
    apart = two(names, 1.0)
    apart.message.timeseries.add(labels_refs=[1, 2]).exemplars.add(value=0.5, timestamp=NOW)
    alone = two(names)
    alone.message.timeseries[0].exemplars.add(value=0.5, timestamp=NOW)
    return [
        Rule("Exemplars", 204, (1, 0, 1), add(("trace_id", "abc"))),
        Rule("Exemplars MAY contain labels [they have none]", 204, (1, 0, 1), add()),
        # Prometheus drops it and says nothing
        Rule("MUST NOT return 2xx if any pieces of data were not written [long labels]", 400, (1, 0, 0),
             add(("trace_id", "x" * 130)), theirs=(204, (1, 0, 0)),
             message=r"label length for exemplar exceeds maximum .*: rule_.* \(1 exemplars rejected\)"),
        Rule("MUST NOT return 2xx if any pieces of data were not written [not UTF-8]", 400, (1, 0, 0), not_utf8(),
             message="not valid UTF-8 .*1 exemplars rejected", theirs=(204, (1, 0, 1))),
        Rule("MUST NOT return 2xx if any pieces of data were not written [exemplars out of order]", 400, (1, 0, 1),
             out_of_order, message="out of order exemplar: rule_.*1 exemplars rejected", theirs=(204, (1, 0, 2))),
        Rule("Exemplars may come in a TimeSeries of their own", 204, (1, 0, 1), apart.body),
        Rule("MUST NOT return 2xx if any pieces of data were not written [no such series]", 400, NONE,
             alone.body, message="unknown series for exemplar: .*1 exemplars rejected", theirs=(204, NONE)),
        Rule("References MUST point to an existing symbol [exemplar]", 400, (1, 0, 0), add(refs=(1, 99)),
             message="1 exemplars rejected", theirs=(0, None)),
    ]


def compatibility(names: Names) -> list[Rule]:
    unknown = b"\xf8\x7f\x05" + b"\xf9\x7f" + bytes(8) + b"\xfa\x7f\x03abc" + b"\xfd\x7f" + bytes(4)
    good = two(names, 1.0).raw
    symbols_ = V2["Request"](symbols=["", "__name__", names.next()]).SerializeToString()
    return [
        Rule("MUST be able to read any 2.x sender: fields that are not known", 204, (1, 0, 0),
             compress(good + unknown)),
        Rule("MUST be able to read any 2.x sender: fields that are not known [inside]", 204, (1, 0, 0), compress(
            symbols_ + message(5, message(1, b"\x01\x02") + unknown + message(
                2, b"\x09" + bytes(8) + unknown + sample(NOW, 1.0)[2:])))),
        Rule("labels_refs may come one by one", 204, (1, 0, 0),
             compress(symbols_ + message(5, b"\x08\x01\x08\x02" + sample(NOW + 1, 2.0)))),
        Rule("A message cut short", 400, None, compress(good[:-3]), message="reaches beyond|ends within"),
    ]


RULES = rules()


def test_names_are_unique() -> None:
    assert len({rule.words for rule in RULES}) == len(RULES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    running = Running(Config())
    running.open(open_storage(tmp_path_factory.mktemp("rules") / "data", None))
    yield running.client
    running.stop()


def counts_of(answer: Answer) -> Counts:
    names = [f"x-prometheus-remote-write-{what}-written" for what in ("samples", "histograms", "exemplars")]
    if not any(name in answer.headers for name in names):
        return None
    samples, histograms, exemplars = (int(answer.headers[name]) for name in names)
    return samples, histograms, exemplars


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.words)
def test_rule(server: Client, rule: Rule) -> None:
    answer = server.request("POST", "/api/v1/write", rule.body, rule.headers)
    text = answer.body.decode()
    assert (answer.status, counts_of(answer)) == (rule.status, rule.counts), text
    assert bool(text) == (rule.status != 204), "the body SHOULD be empty, or a message MUST be in it"
    assert re.search(rule.message, text), text


@pytest.mark.peer
def test_prometheus_answers_so(peer: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text("")
    port = free_port()
    process = Process(
        [peer("prometheus"), f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver",
         "--enable-feature=native-histograms,exemplar-storage"], tmp_path / "prometheus.log", port)
    try:
        client = process.wait_ready().client
        differ = []
        for rule in RULES:
            expected = rule.theirs or (rule.status, rule.counts)
            try:
                answer = client.request("POST", "/api/v1/write", rule.body, rule.headers)
            except OSError:
                found: tuple[int, Counts] = 0, None
            else:
                found = answer.status, counts_of(answer)
            if found != expected:
                differ.append((rule.words, found, expected))
        assert not differ
    finally:
        process.kill()
