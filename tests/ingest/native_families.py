"""Native histograms in messages of Prometheus' protobuf exposition, and what becomes of them, slow and obvious."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.ingest.sender import message, varint
from tests.ingest.test_metric_families import Exemplar, double, integer
from tsdb.model.native_histograms import NativeHistogram, ResetHint, Spans


def zigzag(number: int) -> int:
    return number << 1 if number >= 0 else -number * 2 - 1


def native_fields(histogram: NativeHistogram, exemplars: Sequence[Exemplar] = ()) -> bytes:
    """Of the Histogram message, besides classic buckets."""
    body = double(2, histogram.sum) + integer(5, zigzag(histogram.schema)) + double(6, histogram.zero_threshold)
    if histogram.floats:
        body += double(4, float(histogram.count)) + double(8, float(histogram.zero_count))
    else:
        body += integer(1, int(histogram.count)) + integer(7, int(histogram.zero_count))
    for spans, counts, first in ((histogram.negative_spans, histogram.negative, 9),
                                 (histogram.positive_spans, histogram.positive, 12)):
        body += b"".join(message(first, integer(1, zigzag(offset)) + integer(2, length)) for offset, length in spans)
        if histogram.floats:
            body += message(first + 2, b"".join(double(0, float(count))[1:] for count in counts))
            continue
        before = 0
        for count in map(int, counts):
            body += integer(first + 1, zigzag(count - before))
            before = count
    return body + b"".join(message(16, each.encode()) for each in exemplars)


def family(name: str, type_: int, metrics: Sequence[bytes]) -> bytes:
    """A MetricFamily of histograms, behind its length."""
    body = message(1, name.encode()) + integer(3, type_) + b"".join(message(4, message(7, each)) for each in metrics)
    return varint(len(body)) + body


def scraped(histogram: NativeHistogram, schema: int | None = None, gauge: bool = False) -> NativeHistogram:
    """Compact, of a schema that may be coarser."""
    shift = 0 if schema is None else max(0, histogram.schema - schema)
    positive_spans, positive = _compact(histogram.positive_spans, histogram.positive, shift)
    negative_spans, negative = _compact(histogram.negative_spans, histogram.negative, shift)
    return replace(histogram, schema=histogram.schema - shift, positive_spans=positive_spans, positive=positive,
                   negative_spans=negative_spans, negative=negative,
                   hint=ResetHint.GAUGE if gauge else ResetHint.UNKNOWN)


def _compact(spans: Spans, counts: Sequence[float], shift: int) -> tuple[Spans, tuple[float, ...]]:
    buckets: dict[int, float] = {}
    index, left = 0, iter(counts)
    for offset, length in spans:
        index += offset
        for _ in range(length):
            count = next(left)
            if count:
                target = (index - 1 >> shift) + 1
                buckets[target] = buckets.get(target, 0) + count
            index += 1
    made: list[tuple[int, int]] = []
    last = None
    for target in buckets:
        if last is None or target != last + 1:
            made.append((target if last is None else target - last - 1, 1))
        else:
            made[-1] = made[-1][0], made[-1][1] + 1
        last = target
    return tuple(made), tuple(buckets.values())
