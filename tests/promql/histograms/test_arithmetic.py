"""Arithmetic, comparisons and resets of native histograms, beside a twin in plain Python."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.native_histograms import histograms
from tests.promql.histograms.float_histogram import (
    FloatHistogram,
    combined,
    compacted,
    from_native,
    scaled,
    trimmed,
    was_reset,
)
from tsdb.histograms.row import WIDTH
from tsdb.histograms.row_kernels import load
from tsdb.histograms.size_kernels import widest
from tsdb.histograms.sum_kernels import detect_reset
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint, boxed, decode, is_boxed, offsets
from tsdb.promql.histograms.binary_kernels import (
    BOUNDS_RECONCILED,
    CELL,
    DONE,
    FULL,
    HISTOGRAM_FLOAT,
    NARROW,
    NOTHING,
    PROGRESS,
    RESETS_COLLIDED,
    SCHEMAS_DIFFER,
    combine_histograms,
)
from tsdb.promql.kernels.binary_kernels import ADD, COMPARE, DIV, EQUAL, MUL, POW, SUB, TRIM_LOWER, TRIM_UPPER

NONE = np.zeros(0, np.uint8)


def payload_of(*ones: NativeHistogram) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A payload, and f64[1, n] that lead to its histograms."""
    raw = [one.encode() for one in ones]
    begin = np.cumsum([0, *map(len, raw)])[:-1]
    values = np.array([[boxed(int(at)) for at in begin]], np.uint64).view(np.float64)
    return np.frombuffer(b"".join(raw), np.uint8), values


def combine(op: int, left: NativeHistogram, right: NativeHistogram | float) -> tuple[FloatHistogram | None, int]:
    """The result, and what there is to say; rows and payload begin as small as can be."""
    payload, x = payload_of(left)
    other, y = payload_of(right) if isinstance(right, NativeHistogram) else (NONE, np.array([[right]]))
    here, row = np.ones((1, 1), np.bool_), np.zeros(1, np.int64)
    out, present, said = np.zeros((1, 1)), np.zeros((1, 1), np.bool_), np.zeros(1, np.uint8)
    progress, made, capacity = np.zeros(PROGRESS, np.int64), NONE, 1
    while True:
        rows = np.full((3, WIDTH + 4 * capacity), np.nan)
        status = combine_histograms(op, False, False, x, here, payload, y, here, other, row, row, out, present, said,
                                    rows, made, progress)
        if status == DONE:
            break
        if status == NARROW:
            capacity += 1
        else:
            assert status == FULL and progress[CELL] == 0
            made = np.zeros(made.size + 64, np.uint8)
    if not present[0, 0]:
        return None, int(said[0])
    bits = out.view(np.uint64)
    assert is_boxed(bits).all()
    source = payload if op >= COMPARE << 4 else made
    return from_native(decode(source, int(offsets(bits)[0, 0]))), int(said[0])


def assert_close(found: FloatHistogram, expected: FloatHistogram) -> None:
    for side, other in ((found.positive, expected.positive), (found.negative, expected.negative)):
        rest = {i: (side.get(i, 0.0), other.get(i, 0.0)) for i in {*side, *other}}
        for a, b in rest.values():
            assert close(a, b, found.count), (found, expected)
    assert close(found.sum, expected.sum, max(abs(found.sum), found.count)), (found, expected)
    assert close(found.count, expected.count, found.count) and close(found.zero_count, expected.zero_count, found.count)
    for field in ("schema", "zero_threshold", "custom_values", "hint"):
        assert getattr(found, field) == getattr(expected, field), (field, found, expected)


def close(a: float, b: float, scale: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6 + abs(scale) * 1e-9)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NativeHistogram, NativeHistogram]:
    """Two that have much in common, often."""
    a = draw(histograms())
    b = draw(histograms())
    if a.schema == CUSTOM_SCHEMA and draw(st.booleans()):
        kept = draw(st.sets(st.sampled_from(a.custom_values)))
        bounds = tuple(sorted(kept | draw(st.sets(st.floats(-1e6, 1e6), max_size=2))))
        b = replace(a, custom_values=bounds, positive_spans=((0, len(bounds) + 1),),
                    positive=tuple(range(len(bounds) + 1)), count=sum(range(len(bounds) + 1)))
    elif a.schema != CUSTOM_SCHEMA and draw(st.booleans()):
        b = replace(a, schema=draw(st.integers(-4, 8)), hint=draw(st.sampled_from(ResetHint)),
                    zero_threshold=draw(st.sampled_from([0.0, 0.001, 0.7, 1.0, 40.0])))
    return a, b


@settings(max_examples=100, deadline=None)
@given(pairs(), st.sampled_from([ADD, SUB]))
def test_sums_and_differences(pair: tuple[NativeHistogram, NativeHistogram], op: int) -> None:
    a, b = pair
    found, said = combine(op, a, b)
    expected = combined(from_native(a), from_native(b), 1 if op == ADD else -1)
    if expected is None:
        assert (found, said) == (None, SCHEMAS_DIFFER)
        return
    result, reconciled, collision = expected
    if collision:
        assert (found, said) == (None, RESETS_COLLIDED)
        return
    assert found is not None and said == (BOUNDS_RECONCILED if reconciled else NOTHING)
    assert_close(found, compacted(result if op == ADD else replace(result, hint=ResetHint.GAUGE)))


@settings(max_examples=50, deadline=None)
@given(histograms(), st.sampled_from([0.0, -0.0, -1.0, 2.5, math.inf, math.nan]), st.sampled_from([MUL, DIV]))
def test_scaled(one: NativeHistogram, number: float, op: int) -> None:
    found, _ = combine(op, one, number)
    assert found is not None
    if op == DIV and number == 0:
        assert not found.positive and not found.negative and (math.isinf(found.count) or math.isnan(found.count))
        assert found.hint == one.hint
    else:
        with np.errstate(all="ignore"):
            expected = scaled(from_native(one), number if op == MUL else float(np.float64(1) / np.float64(number)))
        assert_close(found, compacted(replace(expected, hint=ResetHint.GAUGE if number < 0 else one.hint)))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_trimmed(data: st.DataObject) -> None:
    one = data.draw(histograms())
    h = from_native(one)
    edges = [h.bound(i) for i in h.positive] + [-h.bound(i) for i in h.negative] + [-1.0, 0.0, 0.0005, 1.0]
    value = data.draw(st.sampled_from([edge for edge in edges if abs(edge) < 1e300]) | st.floats(-100, 100))
    op = data.draw(st.sampled_from([TRIM_UPPER, TRIM_LOWER]))
    found, _ = combine(op, one, value)
    assert found is not None
    assert_close(found, compacted(trimmed(compacted(h), value, below=op == TRIM_UPPER)))


@settings(max_examples=50, deadline=None)
@given(pairs(), st.booleans())
def test_equal(pair: tuple[NativeHistogram, NativeHistogram], same: bool) -> None:
    """Counts that are integers equal those that are floats, and hints do not matter."""
    a, b = pair
    if same:
        b = replace(a, hint=ResetHint.GAUGE, count=float(a.count), zero_count=float(a.zero_count), floats=True)
    found, said = combine(COMPARE << 4 | EQUAL, a, b)
    equal = replace(from_native(a), hint=ResetHint.UNKNOWN) == replace(from_native(b), hint=ResetHint.UNKNOWN)
    if str(from_native(a).sum) == str(from_native(b).sum):  # -0 and 0 differ
        assert (found, said) == (from_native(a) if equal else None, NOTHING)


def test_nan_equals_itself_and_what_cannot_be_is_said() -> None:
    nan = NativeHistogram(0, math.nan, 1, positive_spans=((0, 1),), positive=(1,))
    assert combine(COMPARE << 4 | EQUAL, nan, nan)[0] is not None
    assert combine(POW, nan, 2.0) == (None, HISTOGRAM_FLOAT)


@settings(max_examples=30, deadline=None)
@given(st.lists(histograms(), max_size=5))
def test_widest(ones: list[NativeHistogram]) -> None:
    payload, values = payload_of(*ones)
    values = np.concatenate([values, [[1.5]]], axis=1)
    here = np.ones(values.shape, np.bool_)
    expected = max((max(len(h.positive) + len(h.negative), len(h.custom_values)) for h in ones), default=-1)
    assert widest(values, here, payload) == expected
    assert widest(values, np.zeros(values.shape, np.bool_), payload) == -1


@pytest.mark.slow  # the function is compiled where it runs
@settings(max_examples=500, deadline=None)
@given(pairs(), st.booleans())
def test_resets(pair: tuple[NativeHistogram, NativeHistogram], unknown: bool) -> None:
    now, before = pair
    if unknown:
        now = replace(now, hint=ResetHint.UNKNOWN)
    rows = []
    for one in (now, before, before):
        row = np.zeros(WIDTH + 4 * 100)
        assert load(payload_of(one)[0], 0, row)
        rows.append(row)
    assert detect_reset(*rows) == was_reset(from_native(now), from_native(before))
