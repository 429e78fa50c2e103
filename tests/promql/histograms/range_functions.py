"""Range functions of native histograms in plain Python, the slow and obvious way, for tests: a window at a time, as
Prometheus' promql/functions.go."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from itertools import pairwise

from tests.promql.histograms.float_histogram import FloatHistogram, combined, reduced, scaled, was_reset
from tsdb.model.native_histograms import ResetHint

Sample = tuple[int, FloatHistogram | float]
"""Time (ms), value."""
Result = tuple[FloatHistogram | float | None, set[str]]
"""And words of what is said."""

MIXED = "mix of histograms and floats"
SCHEMAS = "exponential and custom"
NOT_COUNTER = "not a counter"
NOT_GAUGE = "not a gauge"
COLLISION = "conflicting"


def evaluate(name: str, samples: list[Sample], start: int, stop: int) -> Result:
    """Of samples in (start, stop], which are histograms, or histograms and floats."""
    match name:
        case "changes" | "resets":
            return _differences(name, [value for _, value in samples]), set()
        case "irate" | "idelta":
            samples = samples[-2:]
    values = [value for _, value in samples if isinstance(value, FloatHistogram)]
    several = name not in ("sum_over_time", "avg_over_time")
    if len(values) < len(samples):
        return None, {MIXED} if not several or len(samples) > 1 else set()
    if not several:
        return _total(name, values)
    if len(values) < 2:
        return None, set()
    sampled = (samples[-1][0] - samples[0][0]) / 1000
    if name in ("irate", "idelta"):
        made, said = _newest_change(name, values)
        return made if made is None or name == "idelta" else scaled(made, 1 / sampled), said
    made, said = change(values) if name != "delta" else _difference(values)
    if made is None:
        return None, said
    average = sampled / (len(values) - 1)
    before, behind = (samples[0][0] - start) / 1000, (stop - samples[-1][0]) / 1000
    before, behind = (average / 2 if gap >= average * 1.1 else gap for gap in (before, behind))
    if name != "delta" and made.count > 0:
        before = min(before, sampled * (values[0].count / made.count))
    return scaled(made, (sampled + before + behind) / sampled / ((stop - start) / 1000 if name == "rate" else 1)), said


def change(values: list[FloatHistogram]) -> tuple[FloatHistogram | None, set[str]]:
    first, last = values[0], values[-1]
    said = {NOT_COUNTER} if ResetHint.GAUGE in (first.hint, last.hint) else set()
    if was_reset(values[1], first):
        first = replace(values[1], hint=ResetHint.UNKNOWN, zero_threshold=0, sum=0, count=0, zero_count=0, positive={},
                        negative={})
    if first.custom != last.custom:
        return None, said | {SCHEMAS}
    for value in values[1:-1]:
        if value.hint == ResetHint.GAUGE:
            said |= {NOT_COUNTER}
        if value.custom != first.custom:
            return None, {SCHEMAS}
    made = reduced(last, min(value.schema for value in (first, *values[1:])))
    parts, before = [(first, -1)], first
    for value in values[1:]:
        if was_reset(value, before):
            parts.append((before, 1))
        before = value
    for part, sign in parts:
        sum_ = combined(made, part, sign)
        assert sum_ is not None
        made = sum_[0]
        if sum_[1]:
            said |= {"subtraction" if sign < 0 else "addition"}
    return replace(made, hint=ResetHint.GAUGE), said


def _difference(values: list[FloatHistogram]) -> tuple[FloatHistogram | None, set[str]]:
    hints = {values[0].hint, values[-1].hint}
    if values[-1].custom != values[0].custom:
        return None, {SCHEMAS}
    made = combined(reduced(values[-1], values[0].schema), values[0], -1)
    assert made is not None
    said = {NOT_GAUGE} if hints != {ResetHint.GAUGE} else set()
    return replace(made[0], hint=ResetHint.GAUGE), said | ({"subtraction"} if made[1] else set())


def _newest_change(name: str, values: list[FloatHistogram]) -> tuple[FloatHistogram | None, set[str]]:
    before, now = values
    gauges = [value.hint == ResetHint.GAUGE for value in values]
    said = {NOT_COUNTER} if name == "irate" and any(gauges) else {NOT_GAUGE} if name == "idelta" and not all(
        gauges) else set()
    if name == "irate" and was_reset(now, before):
        return replace(now, hint=ResetHint.GAUGE), said
    made = combined(now, before, -1)
    if made is None:
        return None, said | {SCHEMAS}
    return replace(made[0], hint=ResetHint.GAUGE), said | ({"subtraction"} if made[1] else set())


def _total(name: str, values: list[FloatHistogram]) -> Result:
    made, said = values[0], set[str]()
    for value in values[1:]:
        sum_ = combined(made, value, 1)
        if sum_ is None:
            return None, {SCHEMAS}
        made = sum_[0]
        if sum_[1]:
            said |= {"aggregation"}
    if {ResetHint.RESET, ResetHint.NOT_RESET} <= {value.hint for value in values}:
        said |= {COLLISION}
    return made if name == "sum_over_time" else scaled(made, 1 / len(values)), said


def _differences(name: str, values: list[FloatHistogram | float]) -> float:
    count = 0
    for before, now in pairwise(values):
        if isinstance(before, FloatHistogram) and isinstance(now, FloatHistogram):
            count += was_reset(now, before) if name == "resets" else _bits(now) != _bits(before)
        elif isinstance(before, float) and isinstance(now, float):
            both_nan = math.isnan(before) and math.isnan(now)
            count += now < before if name == "resets" else now != before and not both_nan
        else:
            count += 1
    return float(count)


def _bits(h: FloatHistogram) -> tuple[object, ...]:
    return replace(h, hint=ResetHint.UNKNOWN, sum=0), struct.pack("d", h.sum)


