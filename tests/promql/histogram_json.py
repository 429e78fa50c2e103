"""Native histograms as Prometheus' API shows them, in plain Python: slow and obvious, for tests."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tests.server.test_json_values import value_twin
from tsdb.histograms.payload_kernels import BOUNDS
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, Spans

Bucket = tuple[int, float, float, float]


def histogram_json(histogram: NativeHistogram) -> dict[str, object]:
    """As `json.loads` gives it."""
    shown: dict[str, object] = {"count": value_twin(float(histogram.count)), "sum": value_twin(histogram.sum)}
    buckets = [[number, *map(value_twin, rest)] for number, *rest in _buckets(histogram) if rest[-1] != 0]
    return shown | ({"buckets": buckets} if buckets else {})


def bound(index: int, histogram: NativeHistogram) -> float:
    """The upper bound of a positive bucket."""
    if histogram.schema == CUSTOM_SCHEMA:
        return [-math.inf, *histogram.custom_values, math.inf][index + 1]
    if histogram.schema < 0:
        fraction, exponent = 0.5, (index << -histogram.schema) + 1
    else:
        fraction = float(BOUNDS[index % (1 << histogram.schema) << (8 - histogram.schema)])
        exponent = (index >> histogram.schema) + 1
    if fraction == 0.5 and exponent == 1025:
        return 1.7976931348623157e308
    try:
        return math.ldexp(fraction, exponent)
    except OverflowError:
        return math.inf


def _buckets(histogram: NativeHistogram) -> Iterator[Bucket]:
    edge = histogram.zero_threshold
    for index, count in reversed(list(_indexed(histogram.negative_spans, histogram.negative))):
        lower, upper = -bound(index, histogram), -bound(index - 1, histogram)
        yield 1 if lower < 0 else 2, lower, -edge if 0 > upper > -edge else upper, count
    if histogram.zero_count > 0:
        yield 3, -edge, edge, float(histogram.zero_count)
    for index, count in _indexed(histogram.positive_spans, histogram.positive):
        lower, upper = bound(index - 1, histogram), bound(index, histogram)
        if histogram.schema == CUSTOM_SCHEMA:
            yield 3 if index == 0 else 0, lower, upper, count
        elif upper > 0:
            yield 0, edge if 0 < lower < edge else lower, upper, count


def _indexed(spans: Spans, counts: tuple[float, ...]) -> Iterator[tuple[int, float]]:
    index, at = 0, 0
    for offset, length in spans:
        index += offset
        for _ in range(length):
            yield index, float(counts[at])
            index, at = index + 1, at + 1
