"""Native histograms of remote_write: into a payload, and which are refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.histogram_twin import read_histogram
from tests.ingest.messages import V1, V2, Message, histogram_message
from tests.ingest.wire import WireError
from tests.native_histograms import histograms
from tsdb.ingest.histogram_messages import MalformedHistogram, decode_histograms
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import TooLarge
from tsdb.model.native_histograms import (
    CUSTOM_SCHEMA,
    MAX_BYTES,
    NativeHistogram,
    boxed,
    decode,
    is_boxed,
    offsets,
)

NOW = 1_790_000_000_000
INF, NAN = float("inf"), float("nan")


def read(messages: list[bytes], max_payload: int = 1 << 30) -> tuple[list[tuple[int, bytes | None]], list[str]]:
    """[(ms, bytes in the payload, None where refused)], what is told of the first of each problem."""
    data = np.frombuffer(b"".join(messages) + bytes(8), np.uint8).copy()
    ends = np.cumsum([len(each) for each in messages])
    places = np.array([(end - len(each), end, i) for i, (end, each) in enumerate(zip(ends, messages, strict=True))])
    ts, values = np.zeros(len(messages), np.int64), np.zeros(len(messages), np.uint64)
    payload, wrong, _, problems = decode_histograms(data, places, ts, values, max_payload)
    assert is_boxed(values).tolist() == (wrong == 0).tolist()
    found: list[tuple[int, bytes | None]] = []
    for time, offset, code in zip(ts.tolist(), offsets(values).tolist(), wrong.tolist(), strict=True):
        length = int.from_bytes(payload[offset : offset + 4].tobytes(), "little") if code == 0 else 0
        found.append((time, None if code else payload[offset : offset + length].tobytes()))
    return found, [problem.detail for problem in problems]


@settings(max_examples=50, deadline=None)
@given(st.lists(histograms(), min_size=1, max_size=5), st.sampled_from([V1, V2]))
def test_what_prometheus_sends(given_ones: list[NativeHistogram], types: dict[str, Message]) -> None:
    messages = [histogram_message(one, NOW + i, types).SerializeToString() for i, one in enumerate(given_ones)]
    found, problems = read(messages)
    assert problems == []
    assert found == [(NOW + i, one.encode()) for i, one in enumerate(given_ones)]


def test_a_stale_marker_is_that_of_floats() -> None:
    message = histogram_message(NativeHistogram(0, 0.0, 0), NOW)
    message.sum = float(np.array([STALE_NAN], np.uint64).view(np.float64)[0])
    raw = message.SerializeToString()
    ts, values = np.zeros(1, np.int64), np.zeros(1, np.uint64)
    data, places = np.frombuffer(raw + bytes(8), np.uint8).copy(), np.array([[0, len(raw), 0]])
    payload, wrong, _, _ = decode_histograms(data, places, ts, values, 1 << 20)
    assert (values.tolist(), wrong.tolist(), payload.size) == ([STALE_NAN], [0], 0)


@settings(max_examples=120, deadline=None)
@given(histograms(), st.data())
def test_changed_bytes(one: NativeHistogram, data: st.DataObject) -> None:
    raw = bytearray(histogram_message(one, NOW).SerializeToString())
    raw = raw[: data.draw(st.integers(1, len(raw)))] if data.draw(st.booleans()) else raw
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        ts, expected, _ = read_histogram(bytes(raw))
    except WireError:
        with pytest.raises(MalformedHistogram):
            read([bytes(raw)])
        return
    [(got_ts, got)], problems = read([bytes(raw)])
    assert got_ts == ts
    if isinstance(expected, str):
        assert (got, problems) == (None, [expected])
    else:
        assert got == expected.encode()


def made(spans: tuple[tuple[int, int], ...] = (), negative_spans: tuple[tuple[int, int], ...] = (),
         **fields: Any) -> bytes:
    message = V1["Histogram"](**fields)
    for offset, length in spans:
        message.positive_spans.add(offset=offset, length=length)
    for offset, length in negative_spans:
        message.negative_spans.add(offset=offset, length=length)
    return bytes(message.SerializeToString())


TWO: dict[str, Any] = {"count_int": 3, "spans": ((0, 2),), "positive_deltas": [1, 1], "sum": 1.0}
CUSTOM: dict[str, Any] = {**TWO, "schema": CUSTOM_SCHEMA, "custom_values": [1.0]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**TWO, "spans": ((0, 3),)}, "positive side: spans need 3 buckets, have 2 buckets: histogram spans specify .*"),
    ({"negative_spans": ((0, 1),)}, "negative side: spans need 1 buckets, have 0 buckets: .*"),
    ({**TWO, "spans": ((0, 1), (-1, 1))}, "positive side: span number 2 with offset -1: histogram has a span whose .*"),
    ({**TWO, "positive_deltas": [1, -2]}, "positive side: bucket number 2 has observation count of -1: .*"),
    ({"negative_spans": ((0, 1),), "negative_deltas": [-1]}, "negative side: bucket number 1 has .* of -1: .*"),
    ({"count_float": 1, "spans": ((0, 2),), "positive_counts": [1, -1.5]}, "positive side: .* of -1.5: .*"),
    ({**TWO, "count_int": 4}, "3 observations found in buckets, but the Count field is 4: .* equal .*NaN.*"),
    ({**TWO, "count_int": 2, "sum": NAN}, "3 observations found in buckets, but the Count field is 2: .*at least.*"),
    ({**TWO, "count_float": -4, "positive_counts": [1, 2]}, ".*observation count is negative"),
    ({"count_float": 4, "zero_count_float": -1}, ".* -1: histogram has a bucket whose observation count is negative"),
    ({**TWO, "positive_counts": [1, 2], "positive_deltas": []}, "positive side: spans need 2 buckets, have 0 .*"),
    ({**TWO, "custom_values": [1.0]}, "histogram with exponential schema must not have custom bounds"),
    *(({**TWO, "schema": schema}, f"schema {schema}: histogram has an invalid schema, which must be between .*")
      for schema in (-5, 9, 52, -54, 1 << 20)),
    *(({**CUSTOM, **more}, text) for more, text in list[tuple[dict[str, Any], str]]([
        ({"spans": ((0, 1), (1, 1))}, "custom buckets: only 1 custom bounds defined .* span length of 3: .* too few"),
        ({"spans": ((-1, 2),)}, "custom buckets: span number 1 with offset -1: .*"),
        ({"custom_values": [1.0, 1.0]}, "custom buckets: previous bound is 1.000000 and current is 1.000000: .*"),
        ({"custom_values": [1.0, INF]}, r"custom buckets: last \+Inf bound must not be explicitly defined: .*"),
        ({"custom_values": [1.0, NAN]}, "custom buckets: histogram custom bounds must not be NaN"),
        ({"zero_count_int": 1}, "custom buckets: must have zero count of 0"),
        ({"zero_threshold": 0.1}, "custom buckets: must have zero threshold of 0"),
        ({"negative_spans": ((0, 0),)}, "custom buckets: must not have negative spans"),
        ({"negative_deltas": [1]}, "custom buckets: must not have negative buckets"),
        ({"positive_deltas": [1, -2]}, "positive side: bucket number 2 .*"),
    ])),
]


@pytest.mark.parametrize(("fields", "text"), REFUSED, ids=[text[:40] for _, text in REFUSED])
def test_refused(fields: dict[str, Any], text: str) -> None:
    good = made(**TWO)
    found, [problem] = read([good, made(**fields), good])
    assert re.fullmatch(text, problem), problem
    assert [each is None for _, each in found] == [False, True, False]


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, NativeHistogram(0, 0.0, 0)),
    ({**TWO, "count_int": 5, "sum": NAN}, NativeHistogram(0, NAN, 5, positive_spans=((0, 2),), positive=(1, 2))),
    ({"count_int": 0, "reset_hint": 7, "start_timestamp": NOW}, NativeHistogram(0, 0.0, 0)),
    ({"count_int": 0, "zero_count_float": 3.0}, NativeHistogram(0, 0.0, 0)),
    ({"spans": ((5, 0), (0, 0))}, NativeHistogram(0, 0.0, 0, positive_spans=((5, 0), (0, 0)))),
    ({**TWO, "positive_counts": [7.0, 8.0, 9.0]}, NativeHistogram(0, 1.0, 3, 0, 0, ((0, 2),), positive=(1, 2))),
    ({"count_float": NAN, "spans": ((0, 1),), "positive_counts": [NAN]},
     NativeHistogram(0, 0.0, NAN, positive_spans=((0, 1),), positive=(NAN,), floats=True)),
])
def test_taken(fields: dict[str, Any], expected: NativeHistogram) -> None:
    [(_, got)], _ = read([made(**fields)])
    assert got == expected.encode()


def test_numbers_that_are_not_packed() -> None:
    unpacked = b"\x08\x03\x5a\x02\x10\x02\x60\x02\x60\x02"
    [(_, got)], _ = read([unpacked])
    assert got == NativeHistogram(0, 0.0, 3, positive_spans=((0, 2),), positive=(1, 2)).encode()


def test_bounds_of_size() -> None:
    buckets = MAX_BYTES - 200
    large = made(count_int=0, spans=((0, buckets),), positive_deltas=[0] * buckets)
    [(_, got), (_, none)], [problem] = read([large, large + b"\x98\x06\x00" * 100])
    assert got is not None and len(got) <= MAX_BYTES and none is None
    assert problem == f"{len(large) + 300} bytes: histogram of more than {MAX_BYTES} bytes"
    with pytest.raises(TooLarge, match="native histograms of the request take"):
        read([made(**TWO)] * 10, 100)
    assert decode(np.frombuffer(got, np.uint8), 0).positive == (0,) * buckets
    assert boxed(5) & 7 == 5
