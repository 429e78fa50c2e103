"""Arithmetic of native histograms in plain Python, the slow and obvious way, for tests: buckets are numbers by index.

Bounds come from `tests.promql.histogram_json`. Prometheus' model/histogram/float_histogram.go says what is meant.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.promql.histogram_json import bound
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, Spans

Buckets = dict[int, float]


@dataclass(frozen=True)
class FloatHistogram:
    """`positive` and `negative` have no empty buckets, if `compacted` has made it."""

    schema: int
    sum: float
    count: float
    zero_threshold: float
    zero_count: float
    positive: Buckets
    negative: Buckets
    custom_values: tuple[float, ...] = ()
    hint: ResetHint = ResetHint.UNKNOWN

    @property
    def custom(self) -> bool:
        return self.schema == CUSTOM_SCHEMA

    def bound(self, index: int) -> float:
        """The upper bound of a positive bucket."""
        if self.custom and not -1 <= index <= len(self.custom_values):
            return math.copysign(math.inf, index)
        return bound(index, NativeHistogram(self.schema, 0, 0, custom_values=self.custom_values))


def from_native(h: NativeHistogram) -> FloatHistogram:
    return FloatHistogram(h.schema, h.sum, float(h.count), h.zero_threshold, float(h.zero_count),
                          _indexed(h.positive_spans, h.positive), _indexed(h.negative_spans, h.negative),
                          h.custom_values, h.hint)


def _indexed(spans: Spans, counts: tuple[float, ...]) -> Buckets:
    made, index, at = dict[int, float](), 0, 0
    for offset, length in spans:
        index += offset
        for _ in range(length):
            made[index] = float(counts[at])
            index, at = index + 1, at + 1
    return made


def compacted(h: FloatHistogram) -> FloatHistogram:
    return _each_side(h, lambda side: {i: count for i, count in side.items() if count != 0})


def _each_side(h: FloatHistogram, change: Callable[[Buckets], Buckets]) -> FloatHistogram:
    return replace(h, positive=change(h.positive), negative=change(h.negative))


def scaled(h: FloatHistogram, factor: float) -> FloatHistogram:
    made = _each_side(h, lambda side: {i: count * factor for i, count in side.items()})
    return replace(made, sum=h.sum * factor, count=h.count * factor, zero_count=h.zero_count * factor,
                   hint=ResetHint.GAUGE if factor < 0 else h.hint)


def reduced(h: FloatHistogram, schema: int) -> FloatHistogram:
    """At a lower resolution."""
    if h.custom or schema >= h.schema:
        return h

    def merged(side: Buckets) -> Buckets:
        made = defaultdict[int, float](float)
        for i, count in side.items():
            made[math.ceil(i / (1 << (h.schema - schema)))] += count
        return dict(made)

    return replace(_each_side(h, merged), schema=schema)


def with_zero_threshold(h: FloatHistogram, threshold: float) -> FloatHistogram:
    """With a larger zero bucket: up to the end of the last bucket with observations that lies partly within it."""
    if threshold <= h.zero_threshold:
        return h
    for _ in range(len(h.positive) + len(h.negative) + 1):
        for side in (h.positive, h.negative):
            for i, count in side.items():
                if count != 0 and h.bound(i - 1) < threshold < h.bound(i):
                    threshold = h.bound(i)
    sides = h.positive, h.negative
    inside = [{i: count for i, count in side.items() if h.bound(i - 1) < threshold} for side in sides]
    left = [{i: count for i, count in side.items() if i not in gone and count}
            for side, gone in zip(sides, inside, strict=True)]
    return replace(h, zero_threshold=threshold, positive=left[0], negative=left[1],
                   zero_count=sum([h.zero_count, *inside[0].values(), *inside[1].values()]))


def between(h: FloatHistogram, bounds: tuple[float, ...]) -> FloatHistogram:
    """With custom values of which all are the histogram's."""
    made = defaultdict[int, float](float)
    for i, count in h.positive.items():
        made[sum(other < h.bound(i) for other in bounds)] += count
    return replace(h, custom_values=bounds, positive=dict(made))


def combined(a: FloatHistogram, b: FloatHistogram, sign: int) -> tuple[FloatHistogram, bool, bool] | None:
    """(a + b, or a - b; whether custom bounds were reconciled; whether hints collided). None: they do not fit."""
    if a.custom != b.custom:
        return None
    hint, collision = joined(a.hint, b.hint)
    reconciled = a.custom_values != b.custom_values
    if reconciled:
        common = tuple(sorted({*a.custom_values} & {*b.custom_values}))
        a, b = between(a, common), between(b, common)
    widened = b
    while a.zero_threshold != widened.zero_threshold:
        a = with_zero_threshold(a, widened.zero_threshold)
        widened = with_zero_threshold(widened, a.zero_threshold)
    schema = min(a.schema, b.schema)
    # As Prometheus: what b has in the wider zero bucket counts in the bucket around it, too, if that is wider still.
    a, b = reduced(a, schema), reduced(b, schema)

    def put(left: Buckets, right: Buckets) -> Buckets:
        more = {i: sign * count for i, count in right.items() if b.custom or b.bound(i) > a.zero_threshold}
        return {i: left.get(i, 0.0) + more.get(i, 0.0) for i in sorted({*left, *more})}

    return replace(a, positive=put(a.positive, b.positive), negative=put(a.negative, b.negative), hint=hint,
                   sum=a.sum + sign * b.sum, count=a.count + sign * b.count,
                   zero_count=a.zero_count + sign * widened.zero_count), reconciled, collision


def joined(a: ResetHint, b: ResetHint) -> tuple[ResetHint, bool]:
    """The hint of a sum, and whether they contradict each other."""
    if a == b:
        return a, False
    if ResetHint.GAUGE in (a, b):
        return ResetHint.GAUGE, False
    return ResetHint.UNKNOWN, ResetHint.UNKNOWN not in (a, b)


def was_reset(now: FloatHistogram, before: FloatHistogram) -> bool:
    """Whether a counter went down in between."""
    if now.hint in (ResetHint.RESET, ResetHint.NOT_RESET):
        return now.hint == ResetHint.RESET
    if now.count < before.count or now.custom != before.custom:
        return True
    if now.custom_values != before.custom_values:
        common = tuple(sorted({*now.custom_values} & {*before.custom_values}))
        now, before = between(now, common), between(before, common)
    if now.schema > before.schema or now.zero_threshold < before.zero_threshold:
        return True
    before = with_zero_threshold(before, now.zero_threshold)
    if before.zero_threshold != now.zero_threshold or now.zero_count < before.zero_count:
        return True
    before = reduced(before, now.schema)
    sides = (now.positive, before.positive), (now.negative, before.negative)
    return any(count > side.get(i, 0.0) for side, old in sides for i, count in old.items()
               if now.custom or now.bound(i) > now.zero_threshold)


def trimmed(h: FloatHistogram, value: float, *, below: bool) -> FloatHistogram:
    """What is left of the observations up to a value, or from it on."""
    made, parts = [dict[int, float](), dict[int, float]()], list[tuple[float, float]]()
    for side, buckets in enumerate((h.positive, h.negative)):
        for i, count in buckets.items():
            lower, upper = h.bound(i - 1), h.bound(i)
            if side:
                lower, upper = -upper, -lower
            made[side][i], middle = _part(count, lower, upper, value, below, h.custom)
            parts.append((made[side][i], middle))
    zero_count = h.zero_count
    if zero_count > 0:
        some = [any(side.values()) for side in (h.positive, h.negative)]
        lower = 0.0 if some == [True, False] else -h.zero_threshold
        upper = 0.0 if some == [False, True] else h.zero_threshold
        if value <= lower:  # even if nothing is above
            zero_count, middle = (0.0, 0.0) if below else (zero_count, (lower + upper) / 2)
        else:
            zero_count, middle = _part(zero_count, lower, upper, value, below, True)
        parts.append((zero_count, middle))
    if (made, zero_count) == ([h.positive, h.negative], h.zero_count):
        return h
    return replace(h, positive=made[0], negative=made[1], zero_count=zero_count, count=sum(part[0] for part in parts),
                   sum=sum(count * middle for count, middle in parts))


def _part(count: float, lower: float, upper: float, value: float, below: bool, linear: bool) -> tuple[float, float]:
    """(observations, their mean) of a bucket."""
    if upper <= value if below else lower >= value:
        return count, _middle(lower, upper, linear)
    if lower >= value if below else upper <= value:
        return 0.0, 0.0
    if lower == -math.inf:
        if upper <= 0:
            return (count, value) if below else (0.0, 0.0)
        if upper == math.inf or value < 0 or (below and value == 0):
            return 0.0, 0.0
        lower = 0.0
        linear = True
    if upper == math.inf:
        return (0.0, 0.0) if below else (count, value)
    if linear:
        fraction = (value - lower) / (upper - lower)
    else:
        fraction = math.log2(value / lower) / math.log2(upper / lower)
    if below:
        return count * fraction, _middle(lower, value, linear)
    return count * (1 - fraction), _middle(value, upper, linear)


def _middle(lower: float, upper: float, linear: bool) -> float:
    if math.isinf(lower) or math.isinf(upper):
        if math.isinf(lower) and math.isinf(upper):
            return 0.0
        return lower if math.isinf(upper) else upper / 2 if upper > 0 else upper
    if linear:
        return (lower + upper) / 2
    return math.copysign(math.sqrt(lower * upper), upper if upper > 0 else lower)
