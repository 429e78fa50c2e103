"""Native histograms in scrapes of Prometheus' protobuf exposition."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingest.head import read, target
from tests.ingest.native_families import family, native_fields, scraped
from tests.ingest.sender import message
from tests.ingest.test_metric_families import GAUGE_HISTOGRAM, HISTOGRAM, NOW, Exemplar, double, integer
from tests.ingest.test_remote_write import rows_of
from tests.native_histograms import histograms
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.metric_families import HistogramOptions
from tsdb.ingest.exposition.scrape_series import Scrape
from tsdb.model.batch import STALE_NAN, Batch
from tsdb.model.errors import ScrapeRefused
from tsdb.model.native_histograms import BOX, CUSTOM_SCHEMA, NORMAL_NAN, NativeHistogram, decode, is_boxed, offsets

PLAIN = NativeHistogram(1, 12.5, 9, 0.001, 2, ((-2, 2), (3, 1)), ((0, 1),), (1, 2, 3), (1,))
EMPTY = NativeHistogram(3, 0.0, 0, 2.0 ** -128)
BUCKETS = message(3, integer(1, 4) + double(2, 0.5)) + message(3, integer(1, 9) + double(2, math.inf))
NATIVE = HistogramOptions(native=True)
exponential = histograms().filter(lambda each: each.schema != CUSTOM_SCHEMA)


def parsed(body: bytes, options: HistogramOptions) -> tuple[Scrape, Batch]:
    return read(target(histograms=options), body, Format.PROTOBUF, NOW)


def test_since_when_they_count() -> None:
    created = message(15, integer(1, 1_700_000_000) + integer(2, 5_000_000))
    body = family("h", HISTOGRAM, [native_fields(PLAIN) + BUCKETS + created])
    for options, number in ((NATIVE, 1), (HistogramOptions(native=True, classic=True), 5), (HistogramOptions(), 4)):
        starts = parsed(body, options)[1].start_ts
        assert starts is not None and starts.tolist() == [1_700_000_000_005] * number
    assert parsed(family("h", HISTOGRAM, [native_fields(PLAIN)]), NATIVE)[1].start_ts is None


def samples(batch: Batch) -> list[tuple[str, Any]]:
    """(name, NativeHistogram or float)"""
    found: list[tuple[str, Any]] = []
    for row, value in zip(batch.sample_row.tolist(), batch.values, strict=True):
        name = rows_of(batch)[row][0]["__name__"]
        if is_boxed(np.array([value]))[0]:
            assert batch.payload is not None
            found.append((name, decode(batch.payload, int(offsets(np.array([value]))[0]))))
        else:
            found.append((name, float(value.view(np.float64))))
    return found


@pytest.mark.parametrize(("options", "expected"), [
    (HistogramOptions(), [("h_count", 9.0), ("h_sum", 12.5), ("h_bucket", 4.0), ("h_bucket", 9.0)]),
    (NATIVE, [("h", PLAIN)]),
    (HistogramOptions(native=True, classic=True),
     [("h", PLAIN), ("h_count", 9.0), ("h_sum", 12.5), ("h_bucket", 4.0), ("h_bucket", 9.0)]),
])
def test_which_kind_is_taken(options: HistogramOptions, expected: list[tuple[str, Any]]) -> None:
    scrape, batch = parsed(family("h", HISTOGRAM, [native_fields(PLAIN) + BUCKETS]), options)
    assert samples(batch) == expected
    assert scrape.scraped == len(expected)


def test_what_makes_a_histogram_native() -> None:
    no_op = replace(EMPTY, zero_threshold=0.0, positive_spans=((0, 0),))
    metrics = [native_fields(no_op), native_fields(EMPTY), native_fields(replace(EMPTY, zero_threshold=0.0))]
    for body, kinds in zip(metrics, (["h"], ["h"], ["h_count", "h_sum", "h_bucket"]), strict=True):
        assert [name for name, _ in samples(parsed(family("h", HISTOGRAM, [body]), NATIVE)[1])] == kinds


@given(st.lists(exponential, min_size=1, max_size=3), st.booleans(), st.integers(-4, 8))
def test_histograms_come_compact_and_as_coarse_as_wanted(given_: list[NativeHistogram], gauge: bool,
                                                         schema: int) -> None:
    given_ = [replace(each, zero_threshold=each.zero_threshold or 1e-9) for each in given_ if each.count]
    factor = 2.0 ** 2.0 ** -schema * 0.9999999
    bodies = b"".join(family(f"h{i}", GAUGE_HISTOGRAM if gauge else HISTOGRAM, [native_fields(each)])
                      for i, each in enumerate(given_))
    _, batch = parsed(bodies, HistogramOptions(native=True, min_bucket_factor=factor))
    found = [value for _, value in samples(batch)]
    expected = [scraped(each, schema, gauge) for each in given_]
    for one, other in zip(found, expected, strict=True):
        assert replace(one, positive=(), negative=()) == replace(other, positive=(), negative=())
        assert one.positive == pytest.approx(other.positive) and one.negative == pytest.approx(other.negative)


@pytest.mark.parametrize(("factor", "schema"), [
    (0.0, 8), (1.0, 8), (1.0027, 8), (1.003, 7), (1.1, 2), (2.0, 0), (4.0, -1), (1e300, -4), (math.inf, -4), (1.09, 3),
])
def test_finest_schema(factor: float, schema: int) -> None:
    assert HistogramOptions(min_bucket_factor=factor).max_schema == schema


@pytest.mark.parametrize(("limit", "schema"), [(0, 8), (40, 8), (39, 7), (20, 7), (1, -4)])
def test_bucket_limit_makes_coarser(limit: int, schema: int) -> None:
    histogram = NativeHistogram(8, 1.0, 40, 1e-9, positive_spans=((1, 40),), positive=(1,) * 40)
    body = family("h", HISTOGRAM, [native_fields(histogram)])
    (_, found), = samples(parsed(body, HistogramOptions(native=True, bucket_limit=limit))[1])
    assert found == scraped(histogram, schema if limit > 1 else found.schema)
    assert sum(found.positive) == 40 and len(found.positive) <= (limit or 40)


def test_bucket_limit_fails_the_scrape() -> None:
    histogram = NativeHistogram(-4, 1.0, 2, 1e-9, positive_spans=((0, 2),), positive=(1, 1))
    body = family("h", HISTOGRAM, [native_fields(histogram)]) + family("i", HISTOGRAM, [native_fields(PLAIN)])
    with pytest.raises(ScrapeRefused, match=r"^histogram bucket limit exceeded$") as problem:
        parsed(body, HistogramOptions(native=True, bucket_limit=1))
    assert (problem.value.scraped, problem.value.kept) == (2, 2)


def test_invalid_histograms_fail_the_scrape() -> None:
    body = family("i", HISTOGRAM, [native_fields(PLAIN)]) \
        + family("h", HISTOGRAM, [native_fields(replace(PLAIN, positive=(1, 2)))])
    with pytest.raises(ScrapeRefused, match=r"metric family 2 at byte .*: positive side: spans need 3 buckets, have 2"):
        parsed(body, NATIVE)


def test_exemplars_with_times_are_taken() -> None:
    timed = [Exemplar((("trace", str(i)),), float(i), (NOW // 1000, 0)) for i in range(120)]
    untimed = Exemplar((("trace", "x"),), 1.0)
    own = native_fields(PLAIN, [timed[0], untimed, timed[1]])
    bucket = message(3, integer(1, 9) + double(2, math.inf) + message(3, timed[2].encode()))
    other = native_fields(PLAIN) + bucket + message(3, message(3, untimed.encode()))
    many = native_fields(PLAIN, timed)
    for metric, expected in ((own, [0.0, 1.0]), (own + bucket, [0.0, 1.0]), (other, [2.0]),
                             (many, [float(i) for i in range(100)])):
        scrape, _ = parsed(family("a", HISTOGRAM, [native_fields(PLAIN)]) + family("h", HISTOGRAM, [metric]), NATIVE)
        assert scrape.exemplars is not None
        assert scrape.exemplars.value.view(np.float64).tolist() == expected
        assert set(scrape.exemplars.sample.tolist()) == {1}


def test_stale_and_odd_values() -> None:
    stopped = native_fields(replace(PLAIN, sum=0.0)).replace(double(2, 0.0), double(2, STALE_NAN), 1)
    stale = family("h", HISTOGRAM, [stopped])
    odd = family("g", HISTOGRAM, [double(2, BOX + 5)])
    _, batch = parsed(family("a", HISTOGRAM, [native_fields(PLAIN)]) + stale + odd, NATIVE)
    assert batch.values.tolist()[1] == STALE_NAN and NORMAL_NAN in batch.values.tolist()[2:]
    assert int(is_boxed(batch.values).sum()) == 1


def test_many_families_need_more_room() -> None:
    wide = NativeHistogram(8, 1.0, 5000, 1e-9, positive_spans=tuple((1, 1) for _ in range(5000)), positive=(1,) * 5000)
    body = b"".join(family(f"h{i}", HISTOGRAM, [native_fields(wide), native_fields(wide) + BUCKETS]) for i in range(3))
    _, batch = parsed(body, HistogramOptions(native=True))
    assert batch.payload is not None and {value for _, value in samples(batch)} == {scraped(wide)}


def test_series_that_go_on_and_vanish() -> None:
    series = target(histograms=NATIVE)
    for number, count in enumerate((9, 9, 0)):
        body = family("h", HISTOGRAM, [native_fields(PLAIN)]) if count else b""
        batch = series.batch(series.parse(body, Format.PROTOBUF, NOW + number), NOW + number, [])
        assert batch.values.tolist() == ([STALE_NAN] if not count else [BOX])
        assert (batch.payload is None) == (not count)
