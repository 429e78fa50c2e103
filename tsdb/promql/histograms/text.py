"""Native histograms as Prometheus' FloatHistogram.String writes them; one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tsdb.histograms.payload_kernels import BOUNDS, LARGEST
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, Spans
from tsdb.promql.number_text import go_g


def histogram_text(histogram: NativeHistogram) -> str:
    """``{count:12, sum:18.4, [-0.001,0.001]:2, (0.5,1]:3}``, empty buckets left out."""
    parts = [f"count:{go_g(histogram.count)}, sum:{go_g(histogram.sum)}"]
    for index, count in reversed(list(_buckets(histogram.negative_spans, histogram.negative))):
        parts.append(f"[{go_g(-_bound(histogram, index))},{go_g(-_bound(histogram, index - 1))}):{go_g(count)}")
    if histogram.zero_count != 0:
        edge = go_g(histogram.zero_threshold)
        parts.append(f"[{go_g(-histogram.zero_threshold)},{edge}]:{go_g(histogram.zero_count)}")
    for index, count in _buckets(histogram.positive_spans, histogram.positive):
        opening = "[" if histogram.schema == CUSTOM_SCHEMA and index == 0 else "("
        bounds = f"{go_g(_bound(histogram, index - 1))},{go_g(_bound(histogram, index))}"
        parts.append(f"{opening}{bounds}]:{go_g(count)}")
    return "{" + ", ".join(parts) + "}"


def _bound(histogram: NativeHistogram, index: int) -> float:
    """The upper bound of bucket `index` of the positive side."""
    if histogram.schema == CUSTOM_SCHEMA:
        return (-math.inf, *histogram.custom_values, math.inf)[index + 1]
    if histogram.schema < 0:
        fraction, power = 0.5, (index << -histogram.schema) + 1
    else:
        fraction = float(BOUNDS[index % (1 << histogram.schema) << (8 - histogram.schema)])
        power = (index >> histogram.schema) + 1
    if fraction == 0.5 and power == 1025:
        return float(LARGEST)
    return math.ldexp(fraction, power) if power <= 1024 else math.inf


def _buckets(spans: Spans, counts: tuple[float, ...]) -> Iterator[tuple[int, float]]:
    """Index and count of those that are not empty."""
    index, at = 0, 0
    for offset, length in spans:
        index += offset
        for _ in range(length):
            if counts[at] != 0:
                yield index, float(counts[at])
            index, at = index + 1, at + 1
