"""Native histograms as text: ``{{schema:1 count:5 sum:7 buckets:[1 4]}}``, and what is done with them in scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, Spans

_FIELD = re.compile(r"\s*(\w+):(\[[^\]]*\]|\S+)\s*")
_HINTS = {"unknown": ResetHint.UNKNOWN, "reset": ResetHint.RESET, "not_reset": ResetHint.NOT_RESET,
          "gauge": ResetHint.GAUGE}
_NAMES = frozenset(("schema", "sum", "count", "z_bucket", "z_bucket_w", "custom_values", "buckets", "n_buckets",
                    "offset", "n_offset", "counter_reset_hint"))


@dataclass(frozen=True, slots=True)
class Written:
    """A histogram as a script says it."""

    histogram: NativeHistogram
    hinted: bool = False
    """Whether it says the counter reset hint."""


def parse_histogram(text: str) -> Written:
    """What stands between the braces. Raises ValueError."""
    fields, at = dict[str, str](), 0
    text = text.strip()
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None or found[1] not in _NAMES:
            raise ValueError(f"not a histogram: {text!r}")
        fields[found[1]] = found[2]
        at = found.end()
    buckets, negative, custom = (_numbers(fields.get(name, "")) for name in ("buckets", "n_buckets", "custom_values"))
    hint = fields.get("counter_reset_hint", "unknown")
    if hint not in _HINTS:
        raise ValueError(f"not a counter reset hint: {hint!r}")
    return Written(NativeHistogram(
        int(fields.get("schema", "0")), float(fields.get("sum", "0")), float(fields.get("count", "0")),
        float(fields.get("z_bucket_w", "0")), float(fields.get("z_bucket", "0")),
        ((int(fields.get("offset", "0")), len(buckets)),) if buckets else (),
        ((int(fields.get("n_offset", "0")), len(negative)),) if negative else (), buckets, negative, custom, True,
        _HINTS[hint]), "counter_reset_hint" in fields)


def increasing(first: Written, change: Written, sign: int, many: int) -> Iterator[Written]:
    """`first`, and `many` after it, each by +-`change` more, at the resolution of the first. Raises ValueError."""
    at = first
    yield replace(at, hinted=change.hinted)
    for _ in range(many):
        at = Written(_sum(at.histogram, change.histogram, sign), change.hinted)
        yield at


def almost_same(expected: Written, found: NativeHistogram, almost: Callable[[float, float], bool]) -> bool:
    """Empty buckets do not matter, and the hint only if it is said."""
    one, other = expected.histogram, found
    if expected.hinted and one.hint != other.hint:
        return False
    if one.schema != other.schema or one.custom_values != other.custom_values:
        return False
    if one.zero_threshold != other.zero_threshold or not almost(one.zero_count, other.zero_count):
        return False
    if not almost(one.count, other.count) or not almost(one.sum, other.sum):
        return False
    for side in ("positive", "negative"):
        mine, theirs = _side(one, side), _side(other, side)
        if mine.keys() != theirs.keys() or not all(almost(mine[index], theirs[index]) for index in mine):
            return False
    return True


def continues(histogram: NativeHistogram, before: NativeHistogram) -> bool:
    """Whether bounds are the same, and nothing decreased: Prometheus' storage puts both into one chunk."""
    bounds = [(one.schema, one.custom_values, one.zero_threshold) for one in (histogram, before)]
    if bounds[0] != bounds[1] or histogram.count < before.count or histogram.zero_count < before.zero_count:
        return False
    return all(_side(histogram, side).get(index, 0.0) >= count for side in ("positive", "negative")
               for index, count in _side(before, side).items())


def from_classic(buckets: Mapping[float, float], count: float | None, total: float) -> NativeHistogram:
    """One with the bounds of a classic histogram, of cumulative counts by upper bound. Raises ValueError."""
    bounds = sorted(buckets)
    cumulative = [buckets[bound] for bound in bounds]
    if count is None:
        count = cumulative[-1] if cumulative else 0.0
    if not bounds or bounds[-1] != float("inf"):
        bounds, cumulative = [*bounds, float("inf")], [*cumulative, count]
    if cumulative != sorted(cumulative) or cumulative[-1] != count:
        raise ValueError("the counts of a classic histogram do not fit together")
    counts = tuple(one - before for one, before in zip(cumulative, [0.0, *cumulative], strict=False))
    return NativeHistogram(CUSTOM_SCHEMA, total, count, positive_spans=((0, len(counts)),), positive=counts,
                           custom_values=tuple(bounds[:-1]), floats=True)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.strip("[]").replace(",", " ").split()))


def _sum(one: NativeHistogram, other: NativeHistogram, sign: int) -> NativeHistogram:
    custom = CUSTOM_SCHEMA in (one.schema, other.schema)
    if one.schema > other.schema or (custom and (one.schema, one.custom_values) != (other.schema, other.custom_values)):
        raise ValueError("the second histogram of a sequence has fewer, or other, bounds than the first")
    sides = {}
    for side in ("positive", "negative"):
        mine, theirs = _side(one, side, empty=True), dict[int, float]()
        for index, count in _side(other, side, empty=True).items():
            at = index if custom else ((index - 1) >> (other.schema - one.schema)) + 1
            theirs[at] = theirs.get(at, 0.0) + count
        sides[side] = {at: mine.get(at, 0.0) + sign * theirs.get(at, 0.0) for at in sorted({*mine, *theirs})}
    return replace(
        one, sum=one.sum + sign * other.sum, count=one.count + sign * other.count,
        zero_count=one.zero_count + sign * other.zero_count,
        positive_spans=_spans(sides["positive"]), negative_spans=_spans(sides["negative"]),
        positive=tuple(sides["positive"].values()), negative=tuple(sides["negative"].values()))


def _spans(counts: Mapping[int, float]) -> Spans:
    spans: list[tuple[int, int]] = []
    end = 0
    for index in counts:
        if spans and index == end:
            spans[-1] = spans[-1][0], spans[-1][1] + 1
        else:
            spans.append((index - end, 1))
        end = index + 1
    return tuple(spans)


def _side(histogram: NativeHistogram, side: str, *, empty: bool = False) -> dict[int, float]:
    """Counts by index."""
    spans: Spans = getattr(histogram, f"{side}_spans")
    counts = iter(getattr(histogram, side))
    found, index = dict[int, float](), 0
    for offset, length in spans:
        index += offset
        for _ in range(length):
            count = float(next(counts))
            if count != 0 or empty:
                found[index] = count
            index += 1
    return found
