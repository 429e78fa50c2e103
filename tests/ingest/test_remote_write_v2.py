"""remote_write 2.0 beside a slow decoder: requests made by the protobuf library, and ones with bytes changed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest import twin_v2
from tests.ingest.messages import V2, Request, histogram_message
from tests.ingest.sender import compress, encode, message, sample, varint
from tests.ingest.test_remote_write import NOW, SECRET, bits, key_of, rows_of
from tests.ingest.test_remote_write_fuzz import agree, mutate
from tests.ingest.wire import WireError
from tests.native_histograms import histograms
from tsdb.ingest.decoded import Decoded, IngestLimits
from tsdb.ingest.remote_write import MESSAGE_2
from tsdb.ingest.remote_write import decode as decode_any
from tsdb.ingest.remote_write_columns import METADATA_TYPES
from tsdb.model.batch import Exemplar, Metadata
from tsdb.model.errors import BadRequest, IngestError, TooLarge
from tsdb.model.labels import canonical_key
from tsdb.model.native_histograms import NativeHistogram, is_boxed

SUFFIXES = ("_bucket", "_count", "_sum", "_gcount", "_gsum")


def decode(body: bytes, limits: IngestLimits | None = None) -> Decoded:
    return decode_any(body, SECRET, limits, MESSAGE_2)


def decode_raw(raw: bytes, limits: IngestLimits | None = None) -> Decoded:
    return decode(compress(raw), limits)


def compare(raw: bytes) -> bool:
    """Checks that kernels and twin agree on an uncompressed request; whether it is one."""
    try:
        expected = twin_v2.decode(raw)
    except WireError:
        with pytest.raises(BadRequest):
            decode_raw(raw)
        return False
    got = decode_raw(raw)
    described, got.batch.metadata = got.batch.metadata, []
    agree(got, expected)
    assert got.rejected_metadata == expected.rejected_metadata
    told = {name: [Metadata(name, METADATA_TYPES[number], *texts) for number, *texts in all_]
            for name, all_ in expected.described.items()}
    for each in described:
        assert any(each in [Metadata(each.family, one.type, one.help, one.unit) for one in told.get(name, [])]
                   for name in (each.family, *(each.family + suffix for suffix in SUFFIXES)))
    assert bool(described) == bool(told)
    return True


texts = st.one_of(st.sampled_from(["", "a", "b", "job", "__name__", "__name_", "x" * 127, "x" * 128]),
                  st.text(max_size=20))
usual = st.dictionaries(texts.filter(bool), texts.filter(bool), max_size=5).map(lambda one: one | {"__name__": "up"})
odd = st.lists(st.tuples(texts, texts), max_size=5)
times = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(NOW - 1000, NOW + 1000)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    request = Request()
    if not draw(st.integers(0, 9)):
        del request.message.symbols[0]
    for _ in range(draw(st.integers(0, 4))):
        pairs = draw(usual.map(lambda one: sorted(one.items())) | odd)
        series = request.message.timeseries.add(labels_refs=request.refs(*pairs))
        if not draw(st.integers(0, 9)):
            series.labels_refs.append(draw(st.integers(0, 1 << 32 - 1)))
        for _ in range(draw(st.integers(0, 3))):
            series.samples.add(value=draw(st.floats()), timestamp=draw(times), start_timestamp=draw(times | st.just(0)))
        for _ in range(draw(st.integers(0, 1))):
            made = histogram_message(draw(histograms()), draw(times), V2)
            made.start_timestamp = draw(times | st.just(0))
            made.count_int = made.count_int + draw(st.integers(0, 1))
            series.histograms.append(made)
        for _ in range(draw(st.integers(0, 2))):
            series.exemplars.add(labels_refs=request.refs(*draw(odd)), value=draw(st.floats()), timestamp=draw(times))
        if draw(st.booleans()):
            series.metadata.type = draw(st.integers(0, 9))
            series.metadata.help_ref = request.ref(draw(texts))
            series.metadata.unit_ref = draw(st.integers(0, 3))
        if draw(st.booleans()):
            series.created_timestamp = draw(times)
    return request.raw


@settings(max_examples=50, deadline=None)
@given(requests())
def test_generated_requests(raw: bytes) -> None:
    compare(raw)


def cut_or_changed(rounds: int, seed: int) -> None:
    """Requests whose bytes are changed, most of them still requests."""
    chance = random.Random(seed)
    seeds = [real().raw, *(raw for raw in ODD.values())]
    valid = sum(compare(mutate(chance.choice(seeds), chance)) for _ in range(rounds))
    assert valid > rounds // 20


def real() -> Request:
    """As Prometheus sends it."""
    request = Request()
    for i in range(4):
        series = request.add({"__name__": f"http_requests_{i % 3}_total", "instance": f"host-{i}:9100", "job": "node",
                              "path": "/äpfel/" + "p" * 60 * i}, (NOW + i, i * 0.5))
        series.metadata.type, series.metadata.help_ref = 1, request.ref("Requests.")
    histogram = NativeHistogram(3, 5.5, 7, 0.001, 1, ((-2, 2), (3, 1)), (), (1, 2, 3))
    series = request.add({"__name__": "rpc_seconds", "job": "node"})
    series.histograms.append(histogram_message(histogram, NOW, V2))
    series.metadata.type, series.metadata.unit_ref = 3, request.ref("seconds")
    series = request.add({"__name__": "rpc_seconds", "job": "node"})
    series.exemplars.add(labels_refs=request.refs(("trace_id", "abc")), value=0.5, timestamp=NOW)
    return request


def with_labels(*pairs: tuple[str, str]) -> bytes:
    request = Request()
    request.message.timeseries.add(labels_refs=request.refs(*pairs)).samples.add(value=1.0, timestamp=NOW)
    return request.raw


def with_start_times() -> bytes:
    request = Request()
    series = request.add({"__name__": "odd"}, (NOW, 1.0))
    series.samples[0].start_timestamp, series.created_timestamp = NOW - 60_000, NOW - 90_000
    return request.raw


UNPACKED = message(4, b"") + message(4, b"__name__") + message(4, b"odd") + message(
    5, b"\x08\x01" + sample(NOW, 1.0) + b"\x08\x02")
ODD = {
    "unsorted": with_labels(("b", "1"), ("__name__", "odd"), ("a", "1")),
    "empty value": with_labels(("__name__", "odd"), ("a", "")),
    "refs one by one": UNPACKED,
    "start times": with_start_times(),
    "a long value": with_labels(("__name__", "odd"), ("a", "é" * 10_000)),
}


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD.keys())
def test_odd_yet_taken(raw: bytes) -> None:
    assert compare(raw)
    [(labels, samples)] = rows_of(decode_raw(raw).batch)
    assert labels["__name__"] == "odd" and samples == [(NOW, bits(1.0))]


def test_start_times_are_kept() -> None:
    assert decode(real().body).batch.start_ts is None
    request = Request()
    request.add({"__name__": "none"}, (NOW, 1.0))
    for samples in ([(NOW, 1.0), (NOW + 1, 0.0), (NOW + 2, 2.0)], [(NOW, 1.0)]):
        series = request.add({"__name__": "some"}, *samples)
        series.samples[0].start_timestamp = NOW - 60_000
    for value, start in ((0.0, NOW - 5), (3.0, -1), (0.0, 1 << 60)):
        request.add({"__name__": "odd"}, (NOW, value)).samples[0].start_timestamp = start
    series.created_timestamp = NOW - 7
    series = request.add({"__name__": "of all"}, (NOW, 1.0), (NOW + 1, 0.0))
    series.created_timestamp = NOW - 9
    series.histograms.extend(histogram_message(NativeHistogram(0, 0.0, 0), NOW, V2) for _ in range(2))
    series.histograms[1].start_timestamp = NOW - 8
    request.add({"__name__": "only described"}).created_timestamp = NOW
    starts = decode(request.body).batch.start_ts
    assert starts is not None and starts.tolist() == [
        0, NOW - 60_000, 0, 0, NOW - 60_000, NOW - 5, -1, 1 << 60, NOW - 9, NOW - 9, NOW - 9, NOW - 8]
    assert compare(request.raw)


def test_what_prometheus_sends() -> None:
    request = real()
    got = decode(request.body)
    assert (got.series, got.samples, got.rejected, got.rejected_exemplars) == (6, 5, [], 0)
    rows = rows_of(got.batch)
    assert [labels["__name__"] for labels, _ in rows] == [
        "http_requests_0_total", "http_requests_1_total", "http_requests_2_total", "http_requests_0_total",
        "rpc_seconds"], "exemplars have the row of the samples"
    assert rows[3] == ({"__name__": "http_requests_0_total", "instance": "host-3:9100", "job": "node",
                        "path": "/äpfel/" + "p" * 180}, [(NOW + 3, bits(1.5))])
    assert key_of(got.batch, 3) == canonical_key(rows[3][0])
    assert is_boxed(got.batch.values).tolist() == [False] * 4 + [True]
    assert got.batch.exemplars == [Exemplar(4, (("trace_id", "abc"),), 0.5, NOW)]
    assert got.batch.metadata == [
        *(Metadata(f"http_requests_{i}_total", "counter", "Requests.", "") for i in range(3)),
        Metadata("rpc_seconds", "histogram", "", "seconds")]


def test_metadata_is_of_families() -> None:
    request = Request()
    for name, kind in [("h_bucket", 3), ("h_sum", 3), ("h_count", 3), ("s", 5), ("s_sum", 5), ("g_gsum", 4),
                       ("x_count", 2), ("c_total", 1), ("_sum", 3), ("i_info", 6), ("odd", 77), ("none", 0)]:
        series = request.add({"__name__": name}, (NOW, 1.0))
        series.metadata.type, series.metadata.help_ref = kind, request.ref("Help." if kind else "")
    assert [(each.family, each.type) for each in decode(request.body).batch.metadata] == [
        ("h", "histogram"), ("s", "summary"), ("g", "gaugehistogram"), ("x_count", "gauge"), ("c_total", "counter"),
        ("_sum", "histogram"), ("i_info", "info"), ("odd", "unknown")]


def test_histograms_are_behind_samples_and_in_order() -> None:
    one, two = (NativeHistogram(0, value, 0) for value in (1.0, 2.0))
    raw = b"".join(message(3, histogram_message(each, NOW, V2).SerializeToString()) + sample(NOW, i)
                   for i, each in enumerate((one, two), 1))
    symbols = b"".join(message(4, text) for text in (b"", b"__name__", b"m"))
    [(_, samples)] = rows_of(decode_raw(symbols + message(5, b"\x0a\x02\x01\x02" + raw)).batch)
    assert [ts for ts, _ in samples] == [NOW] * 4
    assert [value for _, value in samples][:2] == [1, 2]
    assert samples[2][1] & 0xFFFFFF < samples[3][1] & 0xFFFFFF


def test_floats_whose_bits_would_be_a_box() -> None:
    symbols = b"".join(message(4, text) for text in (b"", b"__name__", b"m"))
    raw = symbols + message(5, b"\x0a\x02\x01\x02" + sample(NOW, 0xFFFC << 48) + sample(NOW, 0xFFFB << 48))
    assert decode_raw(raw).batch.values.tolist() == [0x7FF8000000000001, 0xFFFB << 48]
    assert decode_any(encode([({"__name__": "m"}, [(NOW, 0xFFFF << 48)])]), SECRET).batch.values.tolist() == [
        0x7FF8000000000001]


def test_labels_of_series_that_are_not_taken_are_those_of_others() -> None:
    request = Request()
    labels = {"__name__": "m", "a": "x" * 50, "b": "short"}
    request.add(labels)
    refs = request.refs(("b", "short"), ("a", "y" * 20), ("__name__", "m"))
    request.message.timeseries.add(labels_refs=refs).samples.add(timestamp=NOW)
    request.add({**labels, "c": "short"}, (NOW, 1.0))
    request.add(labels, (NOW, 1.0)).samples[0].start_timestamp = 1
    request.add({**labels, "a": "short"}, (NOW, 1.0))
    assert compare(request.raw)


def test_more_of_everything_than_expected() -> None:
    request = Request()
    names = [request.ref(f"a_metric_of_some_length_{i}") for i in range(300)]
    name_ref, other = request.ref("__name__"), request.ref("another_label_with_a_long_name")
    value = request.ref("v" * 1000)
    for i in range(3000):
        series = request.message.timeseries.add(labels_refs=[name_ref, names[i % 300], other, value])
        series.metadata.type = 1
        for ts in range(i % 3):
            series.samples.add(timestamp=NOW + ts, value=1.0, start_timestamp=i // 1000)
        if i % 10 == 0:
            series.exemplars.add(value=1.0, timestamp=NOW)
            series.histograms.add(timestamp=NOW)
    assert compare(request.raw)
    got = decode(request.body)
    assert (got.series, got.samples, len(got.batch.exemplars)) == (3000, 3300, 300)
    assert len(got.batch.metadata) == 300


Limits = Callable[[], IngestLimits]


@pytest.mark.parametrize(("limits", "text"), [
    (lambda: IngestLimits(max_samples=4), "more than 4 (symbols|series or samples) in one request"),
    (lambda: IngestLimits(max_exemplars=0), "more than 0 exemplars in one request"),
    (lambda: IngestLimits(max_metadata=3), "more than 3 metadata entries"),
    (lambda: IngestLimits(max_body_bytes=100), "limit is 100"),
])
def test_limits(limits: Limits, text: str) -> None:
    with pytest.raises(TooLarge, match=text):
        decode(real().body, limits())


def test_a_small_body_does_not_become_large_keys() -> None:
    request = Request()
    refs = request.refs(("__name__", "m" * 20_000))
    for _ in range(100):
        request.message.timeseries.add(labels_refs=refs).samples.add(value=1.0)
    assert decode(request.body).batch.keys.size > 2_000_000
    with pytest.raises(TooLarge, match="labels of the request take more than 240000 bytes"):
        decode(request.body, IngestLimits(max_body_bytes=30_000))
    assert len(str(decode(request.body, IngestLimits(max_key_bytes=10_000)).rejected[0])) < 600


def test_changed_bytes() -> None:
    cut_or_changed(2500, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_changed_bytes_for_long(seed: int) -> None:
    cut_or_changed(40_000, seed)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_body(raw: bytes) -> None:
    for body in (raw, compress(raw)):
        try:
            decoded = decode(body)
        except IngestError:
            continue
        assert decoded.batch.samples <= len(raw) * 22
        assert np.all(decoded.batch.row_offset.astype(np.int64) + decoded.batch.row_length <= decoded.batch.keys.size)


def test_a_timestamp_of_every_size() -> None:
    request: Any = Request()
    times_ = [0, 1, -1, 127, 128, 1 << 35, (1 << 42) - 1, 1 << 42, -(1 << 63), (1 << 63) - 1]
    request.add({"__name__": "m"}, *((ts, 0.0) for ts in times_))
    [(_, samples)] = rows_of(decode(request.body).batch)
    assert samples == [(ts, 0) for ts in times_]
    assert varint(300) == b"\xac\x02" and struct.calcsize("<d") == 8
