"""Prometheus' protobuf exposition, beside a slow reading of the same messages."""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.exposition_twin import bound_text, merge
from tests.ingest.head import Head, read, target
from tests.ingest.sender import message, varint
from tests.ingest.test_remote_write import bits, hashes, rows_of
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import Scrape
from tsdb.model.batch import STALE_NAN, Batch, Metadata
from tsdb.model.errors import ScrapeRefused
from tsdb.model.labels import labels_of_key

NOW = 1_790_000_000_000
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
VALUE_FIELD = {COUNTER: 3, GAUGE: 2, SUMMARY: 4, UNTYPED: 5, HISTOGRAM: 7, GAUGE_HISTOGRAM: 7}
Labels = tuple[tuple[str, str], ...]


def double(number: int, value: float | int) -> bytes:
    """An int `value` is the bits."""
    raw = struct.pack("<Q", value) if isinstance(value, int) else struct.pack("<d", value)
    return varint(number << 3 | 1) + raw


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def pairs(labels: Labels) -> bytes:
    return b"".join(message(1, message(1, name.encode()) + message(2, value.encode())) for name, value in labels)


@dataclass(frozen=True)
class Exemplar:
    labels: Labels
    value: float
    ts: tuple[int, int] | None = None
    """Seconds, nanoseconds."""

    def encode(self) -> bytes:
        ts = b"" if self.ts is None else message(3, integer(1, self.ts[0]) + integer(2, self.ts[1]))
        return pairs(self.labels) + double(2, self.value) + ts

    def ms(self) -> int:
        return NOW if self.ts is None else self.ts[0] * 1000 + self.ts[1] // 1_000_000


@dataclass(frozen=True)
class Bucket:
    """Of a histogram, or a quantile of a summary."""

    bound: float
    count: int = 0
    float_count: float = 0.0
    value: float = 0.0
    exemplar: Exemplar | None = None


@dataclass(frozen=True)
class Metric:
    labels: Labels = ()
    ts: int = 0
    value: float = 0.0
    count: int = 0
    float_count: float = 0.0
    buckets: tuple[Bucket, ...] = ()
    exemplar: Exemplar | None = None
    native: bool = False
    created: tuple[int, int] | None = None
    """Seconds, nanoseconds; none for gauges."""

    def start(self) -> int:
        """ms; 0: not known"""
        seconds, nanos = self.created or (0, 0)
        invalid = not -62_135_596_800 <= seconds < 253_402_300_800 or not 0 <= nanos < 1_000_000_000
        return 0 if invalid else seconds * 1000 + nanos // 1_000_000


@dataclass(frozen=True)
class Family:
    name: str
    type: int
    metrics: tuple[Metric, ...] = field(default_factory=tuple)
    help: str = ""
    unit: str = ""

    def encode(self) -> bytes:
        body = message(1, self.name.encode()) + message(2, self.help.encode()) + integer(3, self.type)
        body += b"".join(message(4, self.metric(metric)) for metric in self.metrics)
        body += message(5, self.unit.encode()) if self.unit else b""
        return varint(len(body)) + body

    def metric(self, metric: Metric) -> bytes:
        if self.type in (COUNTER, GAUGE, UNTYPED):
            inner = double(1, metric.value)
            inner += message(2, metric.exemplar.encode()) if metric.exemplar is not None else b""
        elif self.type == SUMMARY:
            inner = integer(1, metric.count) + double(2, metric.value)
            inner += b"".join(message(3, double(1, each.bound) + double(2, each.value)) for each in metric.buckets)
        else:
            inner = integer(1, metric.count) + double(2, metric.value)
            inner += double(4, metric.float_count) if metric.float_count else b""
            for each in metric.buckets:
                bucket = integer(1, each.count) + double(2, each.bound)
                bucket += message(3, each.exemplar.encode()) if each.exemplar is not None else b""
                inner += message(3, bucket + (double(4, each.float_count) if each.float_count else b""))
            if metric.native:
                inner += integer(5, 6) + double(6, 1e-128) + integer(7, 1) + message(12, integer(1, 2) + integer(2, 1))
                inner += message(13, varint(2))
        if metric.created is not None and self.type not in (GAUGE, UNTYPED):
            seconds, nanos = metric.created
            inner += message({COUNTER: 3, SUMMARY: 4}.get(self.type, 15), integer(1, seconds) + integer(2, nanos))
        ts = integer(6, metric.ts) if metric.ts else b""
        return pairs(metric.labels) + message(VALUE_FIELD.get(self.type, 7), inner) + ts


@dataclass
class Sample:
    labels: dict[str, str]
    ts: int
    bits: int
    exemplar: Exemplar | None = None
    start: int = 0


def samples_of(families: list[Family]) -> list[Sample]:
    """What Prometheus makes of them (with native histograms off, as from 3.6 on: their classic parts are taken)."""
    samples = []
    for family in families:
        for metric in family.metrics:
            ts = metric.ts or NOW
            start = 0 if family.type in (GAUGE, UNTYPED) else metric.start()

            def add(suffix: str, value: float, bound: tuple[str, float] | None = None, exemplar: Exemplar | None = None,
                    own: Metric = metric, name: str = family.name, ts: int = ts, start: int = start) -> None:
                magic = {} if bound is None else {bound[0]: bound_text(repr(bound[1]).encode()).decode()}
                labels = {"__name__": name + suffix, **dict(own.labels), **magic}
                samples.append(Sample(labels, ts, bits(value), exemplar, start))

            count = metric.float_count if metric.float_count and family.type != SUMMARY else float(metric.count)
            if family.type in (COUNTER, GAUGE, UNTYPED):
                add("", metric.value, exemplar=metric.exemplar if family.type == COUNTER else None)
                continue
            add("_count", count)
            add("_sum", metric.value)
            if family.type == SUMMARY:
                for each in metric.buckets:
                    add("", each.value, ("quantile", each.bound))
                continue
            for each in metric.buckets:
                add("_bucket", each.float_count or float(each.count), ("le", each.bound), each.exemplar)
                if each.bound == math.inf:
                    break
            else:
                add("_bucket", count, ("le", math.inf))
    return samples


def parsed(families: list[Family] | bytes) -> tuple[Scrape, Batch]:
    body = families if isinstance(families, bytes) else b"".join(family.encode() for family in families)
    return read(target(), body, Format.PROTOBUF, NOW)


def check(families: list[Family]) -> Scrape:
    scrape, batch = parsed(families)
    expected = samples_of(families)
    found = rows_of(batch)
    seen: set[tuple[tuple[str, str], ...]] = set()
    taken = []
    for sample in expected:
        key = tuple(sample.labels.items())
        if sample.ts != NOW or key not in seen:
            taken.append(sample)
        seen.add(key)
    columns = batch.sample_row.tolist(), batch.ts.tolist(), batch.values.tolist()
    assert [(found[row][0], ts, value) for row, ts, value in zip(*columns, strict=True)] == [
        (dict(sorted(merge(sample.labels, {}, False).items(), key=lambda pair: pair[0].encode())), sample.ts,
         sample.bits)
        for sample in taken
    ]
    starts = [0] * batch.samples if batch.start_ts is None else batch.start_ts.tolist()
    assert starts == [sample.start for sample in taken]
    assert batch.row_hash.tolist() == hashes(batch).tolist()
    assert (scrape.scraped, scrape.repeated) == (len(expected), len(expected) - len(taken))
    body = b"".join(family.encode() for family in families)
    exemplars = scrape.exemplars
    got = []
    if exemplars is not None:
        places = zip(exemplars.begin.tolist(), exemplars.length.tolist(), strict=True)
        got = list(zip(exemplars.sample.tolist(), exemplars.ts.tolist(), exemplars.value.tolist(),
                       [body[at : at + length] for at, length in places], strict=True))
    assert got == [(place, sample.exemplar.ms(), bits(sample.exemplar.value), sample.exemplar.encode())
                   for place, sample in enumerate(taken) if sample.exemplar is not None]
    return scrape


TRACE = Exemplar((("trace", "ab"),), 0.5, (1_520_879_607, 789_999_999))


def test_all_types() -> None:
    scrape = check([
        Family("c_total", COUNTER, (Metric((("a", "1"),), value=5.5, exemplar=TRACE), Metric(ts=123, value=-0.0)),
               "He\nlp"),
        Family("g.ü", GAUGE, (Metric((("größe", 'x"\\\n'), ("empty", "")), value=math.inf),)),
        Family("u", UNTYPED, (Metric(value=1e300),)),
        Family("s", SUMMARY, (
            Metric(count=1 << 60, value=2.5, buckets=(Bucket(0.5, value=1.0), Bucket(1.0, value=2.0))),
            Metric((("b", "2"),)),
        )),
        Family("h_seconds", HISTOGRAM, (
            Metric(count=7, value=1.5, buckets=(Bucket(0.005, 1), Bucket(1e6, 2, exemplar=TRACE), Bucket(2e6, 3))),
            Metric((("b", "2"),), count=7,
                   buckets=(Bucket(1.0, 1), Bucket(math.inf, 6, exemplar=TRACE), Bucket(3.0, 1))),
        ), unit="seconds"),
        Family("gh", GAUGE_HISTOGRAM, (Metric(count=7, float_count=7.5, buckets=(Bucket(-1.0, 1, float_count=0.5),)),)),
        Family("native", HISTOGRAM, (Metric(count=3, value=1.0, native=True),)),
        Family("nothing", 77, ()),
    ])
    assert scrape.metadata == [
        Metadata("c_total", "counter", "He\nlp", ""), Metadata("g.ü", "gauge", "", ""),
        Metadata("u", "unknown", "", ""), Metadata("s", "summary", "", ""),
        Metadata("h_seconds", "histogram", "", "seconds"), Metadata("gh", "gaugehistogram", "", ""),
        Metadata("native", "histogram", "", ""),
    ]


def test_since_when_samples_count() -> None:
    times = [(1_700_000_000, 123_456_789), None, (1_700_000_000, 123_999_999), (-5, 0), (1 << 40, 0), (5, -1), (7, 0)]
    labels = [(("n", str(number)),) for number in range(len(times))]
    check([
        Family("c_total", COUNTER, tuple(Metric(each, created=time) for each, time in zip(labels, times, strict=True))),
        Family("g", GAUGE, (Metric(),)),
        Family("s", SUMMARY, (Metric(buckets=(Bucket(0.5),), created=times[0]),)),
        Family("h", HISTOGRAM, (Metric(buckets=(Bucket(1.0), Bucket(2.0)), created=times[0]), Metric(labels[1]))),
        Family("gh", GAUGE_HISTOGRAM, (Metric(created=times[0]),)),
        Family("other_total", COUNTER, (Metric(),)),
    ])
    assert parsed([Family("c_total", COUNTER, (Metric(),))])[1].start_ts is None


def test_values_are_taken_to_the_bit() -> None:
    body = message(1, b"g") + integer(3, GAUGE) + message(4, message(2, double(1, STALE_NAN)))
    _, batch = parsed(varint(len(body)) + body)
    assert batch.values.tolist() == [STALE_NAN]


def test_what_is_known_needs_no_key() -> None:
    families = [Family("h", HISTOGRAM, (Metric(buckets=(Bucket(1.0),)),)), Family("g", GAUGE, (Metric(),))]
    series, head = target(), Head()
    for number, body in enumerate([families, families, families[1:]]):
        raw = b"".join(family.encode() for family in body)
        batch = series.batch(series.parse(raw, Format.PROTOBUF, NOW + number), NOW + number, [])
        written, appended = head.append(batch)
        series.appended(appended)
        assert head.keyed == (5 if number == 0 else 0)
        assert [value for _, _, value in written].count("stale") == (4 if number == 2 else 0)


@pytest.mark.parametrize(
    ("family", "message_"),
    [
        (Family("", GAUGE, (Metric(),)), "invalid metric name"),
        (Family("a", 6, (Metric(),)), "metric family 1 at byte 0: unknown metric type"),
        (Family("a", GAUGE, (Metric((("", "x"),)),)), "label with an empty name"),
        (Family("a", GAUGE, (Metric((("b", "x"), ("b", "y"))),)), "not unique"),
        (Family("a", HISTOGRAM, (Metric((("le", "x"),)),)), "not unique"),
        (Family("a", GAUGE, (Metric(),), unit="seconds"), 'unit "seconds" not a suffix of metric "a"'),
        (Family("a_seconds_total", COUNTER, (Metric(),), unit="seconds"), ""),
        (Family("a_seconds_total", GAUGE, (Metric(),), unit="seconds"), "not a suffix"),
    ],
)
def test_what_is_refused(family: Family, message_: str) -> None:
    if not message_:
        parsed([family])
        return
    with pytest.raises(ScrapeRefused, match=message_):
        parsed([family])


@pytest.mark.parametrize(
    ("body", "message_"),
    [
        (b"\x05abc", "insufficient length"),
        (b"\xff\xff\xff\xff\xff\xff", "a field is cut off"),
        (b"\x02\x0a\x05", "insufficient length|larger than what is left"),
        (b"\x02\x08\x05", "wrong wire type"),
        (b"\x01\x00", "illegal tag"),
        (b"\x01\x0b", "groups"),
        (Family("a", GAUGE, (Metric((("b", "x"),)),)).encode().replace(b"x", b"\xff"), "not valid UTF-8"),
        (Family("a", GAUGE, (Metric((("b", "xy"),)),)).encode().replace(b"xy", b"\xc3("), "not valid UTF-8"),
        (Family("a", GAUGE, (Metric(),), "xy").encode().replace(b"xy", b"\xc3("), "not valid UTF-8"),
        (Family("a", GAUGE, (Metric((("b", "x" * 17),)),)).encode().replace(b"x" * 17, b"\xfe" + b"0" * 16), "UTF-8"),
    ],
)
def test_malformed_messages(body: bytes, message_: str) -> None:
    with pytest.raises(ScrapeRefused, match=message_):
        parsed(body)


floats = st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0, math.inf])
label_sets = st.dictionaries(
    st.sampled_from(["a", "b", "größe", "x y"]), st.sampled_from(["", "v", 'ü"\\']), max_size=3
).map(lambda labels: tuple(labels.items()))
exemplars = st.none() | st.builds(
    Exemplar, label_sets, floats, st.none() | st.tuples(st.integers(0, 1 << 34), st.integers(0, 999_999_999))
)
buckets = st.lists(st.builds(
    Bucket, floats, st.integers(0, (1 << 64) - 1), st.sampled_from([0.0, 0.0, 2.5]), floats, exemplars,
), max_size=4).map(tuple)
metrics = st.builds(Metric, label_sets, st.sampled_from([0, 0, 5, -7]), floats, st.integers(0, (1 << 64) - 1),
                    st.sampled_from([0.0, 0.0, 1.5]), buckets, exemplars, st.booleans(),
                    st.none() | st.tuples(st.integers(0, 1 << 34), st.integers(0, 999_999_999)))
families = st.builds(Family, st.sampled_from(["m", "n.ü", "o_total"]), st.integers(0, 5),
                     st.lists(metrics, max_size=3).map(tuple), st.text(max_size=5))


def unique_bounds(family: Family) -> bool:
    """Whether no label set comes twice: which of two is left out is the business of another test."""
    for metric in family.metrics:
        bounds = [bound_text(repr(each.bound).encode()) for each in metric.buckets]
        if len(set(bounds)) < len(bounds):
            return False
    labels = [(metric.labels, metric.ts) for metric in family.metrics]
    return len(set(labels)) == len(labels)


@settings(max_examples=80, deadline=None)
@given(st.lists(families.filter(unique_bounds), max_size=3, unique_by=lambda family: family.name))
def test_generated_families(generated: list[Family]) -> None:
    check(generated)


def test_changed_and_cut_bytes() -> None:
    """Nothing is read outside, and what is taken has names and labels."""
    source = b"".join(family.encode() for family in [
        Family("c_total", COUNTER, (Metric((("a", "1"),), exemplar=TRACE, created=(9, 9)),), "help"),
        Family("h_seconds", HISTOGRAM, (Metric((("b", "2"),), 99, buckets=(Bucket(1.0, 1, exemplar=TRACE),)),),
               unit="seconds"),
        Family("s", SUMMARY, (Metric(buckets=(Bucket(0.5),)), Metric((("x", "y"),)))),
    ])
    chance = random.Random(4)
    taken = 0
    for number in range(2500):
        raw = bytearray(source[: number] if number < len(source) else source)
        for _ in range(chance.randint(0, 2) if raw else 0):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        try:
            scrape, batch = parsed(bytes(raw))
        except ScrapeRefused:
            continue
        taken += 1
        assert batch.row_hash.tolist() == hashes(batch).tolist()
        for row in range(batch.row_hash.size):
            begin = int(batch.row_offset[row])
            assert labels_of_key(batch.keys[begin : begin + int(batch.row_length[row])].tobytes())["__name__"]
        if scrape.exemplars is not None:
            assert (scrape.exemplars.begin + scrape.exemplars.length <= len(raw)).all()
    assert 200 < taken < 2400
