"""The kernels of range functions against slow, obvious twins that look at each window afresh."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsdb.model.batch import STALE_NAN
from tsdb.promql.kernels import range_kernels as kernels
from tsdb.promql.kernels import rare_range_kernels as rare

STALE = float(np.array([STALE_NAN], np.uint64).view(np.float64)[0])

Sample = tuple[int, float]
Samples = list[Sample]

NUMBERS = st.one_of(
    st.integers(-5, 5).map(float), st.integers(0, 10**6).map(float), st.floats(-1e12, 1e12), st.just(math.nan))
COUNTERS = st.integers(0, 30).map(float)


@st.composite
def rows(draw: Any, values: st.SearchStrategy[float] = NUMBERS) -> list[Samples]:
    """Samples of some series, with gaps; often with the times of the series before. None for a stale marker."""
    out: list[Samples] = []
    times: list[int] = []
    for _ in range(draw(st.integers(0, 3))):
        if not times or draw(st.booleans()):
            gaps = draw(st.lists(st.sampled_from([1, 2, 5, 10, 10, 10, 11, 35]), max_size=30))
            times = np.cumsum([draw(st.integers(-20, 40)), *gaps]).tolist()
        column = draw(st.lists(values, min_size=len(times), max_size=len(times)))
        out.append([(at * 1000, value) for at, value in zip(times, column, strict=True)])
    return out


Shape = tuple[int, int, int, int]
"""First step, step and width in seconds, number of steps."""

Twin = Callable[[Samples, int, int], float | None]
"""From the samples of a window, its end and width (ms); None: no cell."""

WINDOWS: st.SearchStrategy[Shape] = st.tuples(
    st.integers(-20, 200), st.sampled_from([0, 1, 5, 10, 15, 60]), st.sampled_from([1, 5, 10, 11, 30, 60]),
    st.integers(1, 20))
MARKS = st.sets(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=8)
"""Which samples are stale markers: (row, index)."""


def tile(samples: list[Samples], stale: set[tuple[int, int]]) -> tuple[NDArray[Any], ...]:
    """begin, end, ts, values; `stale` are the (row, index) to make stale markers."""
    end = np.cumsum([len(row) for row in samples]).astype(np.int64).reshape(-1)
    begin = end - np.array([len(row) for row in samples], np.int64)
    ts = np.array([at for row in samples for at, _ in row], np.int64)
    values = np.array([value for row in samples for _, value in row], np.float64)
    for row, index in stale:
        if row < len(samples) and index < len(samples[row]):
            values.view(np.uint64)[begin[row] + index] = STALE_NAN
    return begin, end, ts, values


def window(row: Samples, stop: int, width: int) -> Samples:
    return [(at, value) for at, value in row if stop - width < at <= stop]


def is_stale(value: float) -> bool:
    return bool(np.array([value]).view(np.uint64)[0] == STALE_NAN)


def check(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape, run: Callable[..., int],
          twin: Twin, *, keep_stale: bool = False, close: float = 1e-12) -> None:
    first, step, width, steps = shape[0] * 1000, shape[1] * 1000, shape[2] * 1000, shape[3]
    begin, end, ts, values = tile(samples, stale)
    out, present = np.full((begin.size, steps), -77.0), np.zeros((begin.size, steps), np.bool_)
    cells = run(begin, end, ts, values, first, step, width, out, present)
    assert cells == present.sum()
    for row in range(begin.size):
        whole = list(zip(ts[begin[row] : end[row]].tolist(), values[begin[row] : end[row]], strict=True))
        if not keep_stale:
            whole = [(at, value) for at, value in whole if not is_stale(value)]
        for j in range(steps):
            stop = first + j * step
            expected = twin(window(whole, stop, width), stop, width)
            assert present[row, j] == (expected is not None), (row, j)
            if expected is not None:
                where = f"row {row}, step {j}"
                np.testing.assert_allclose(out[row, j], expected, rtol=close, atol=1e-300, err_msg=where)


def scratch(ts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.empty(ts.size, np.int64), np.empty(ts.size)


def run_rates(op: int, *arrays: Any) -> int:
    *where, out, present = arrays
    steps = out.shape[1]
    more = np.empty(where[2].size, np.int64), np.empty((2, steps), np.uint64), np.empty((6, steps))
    return int(kernels.rates(op, *[*where, *scratch(where[2]), *more, out, present]))


def run_over_time(op: int, *arrays: Any) -> int:
    *where, out, present = arrays
    places = np.empty(where[2].size, np.int64)
    return int(kernels.over_time(op, *[*where, *scratch(where[2]), places, out, present]))


def twin_rate(counter: bool, per_second: bool) -> Twin:
    def rate(samples: Samples, stop: int, width: int) -> float | None:
        if len(samples) < 2:
            return None
        values = [value for _, value in samples]
        result = values[-1] - values[0]
        if counter:
            for before, now in itertools.pairwise(values):
                if now < before:
                    result += before
        to_start, to_end = (samples[0][0] - (stop - width)) / 1000, (stop - samples[-1][0]) / 1000
        sampled = (samples[-1][0] - samples[0][0]) / 1000
        average = sampled / (len(samples) - 1)
        if to_start >= average * 1.1:
            to_start = average / 2
        if counter and result > 0 and values[0] >= 0:
            to_start = min(to_start, sampled * (values[0] / result))
        if to_end >= average * 1.1:
            to_end = average / 2
        factor = (sampled + to_start + to_end) / sampled
        return float(result * (factor / (width / 1000) if per_second else factor))

    return rate


def twin_instant(per_second: bool) -> Twin:
    def change(samples: Samples, stop: int, width: int) -> float | None:
        if len(samples) < 2:
            return None
        (before_at, before), (at, now) = samples[-2:]
        gain = now if per_second and now < before else now - before
        return float(gain / ((at - before_at) / 1000) if per_second else gain)

    return change


RATES: dict[str, tuple[int, Twin]] = {
    "rate": (kernels.RATE, twin_rate(True, True)),
    "increase": (kernels.INCREASE, twin_rate(True, False)),
    "delta": (kernels.DELTA, twin_rate(False, False)),
    "irate": (kernels.IRATE, twin_instant(True)),
    "idelta": (kernels.IDELTA, twin_instant(False)),
}


@pytest.mark.parametrize("name", RATES)
@settings(max_examples=60, deadline=None)
@given(rows(st.one_of(COUNTERS, NUMBERS)), MARKS, WINDOWS)
def test_rates(name: str, samples: list[Samples], stale: set[tuple[int, int]], shape: Shape) -> None:
    op, twin = RATES[name]
    check(samples, stale, shape, lambda *arrays: run_rates(op, *arrays), twin)


def twin_over(measure: Callable[[list[float]], float]) -> Twin:
    return lambda samples, stop, width: measure([float(value) for _, value in samples]) if samples else None


def extreme(best: Callable[[list[float]], float]) -> Callable[[list[float]], float]:
    def measure(values: list[float]) -> float:
        numbers = [value for value in values if not math.isnan(value)]
        return best(numbers) if numbers else math.nan

    return measure


def changes(values: list[float]) -> float:
    pairs = itertools.pairwise(values)
    return float(sum(a != b and not (math.isnan(a) and math.isnan(b)) for a, b in pairs))


OVER_TIME: dict[str, tuple[int, Callable[[list[float]], float]]] = {
    "min": (kernels.MIN, extreme(min)),
    "max": (kernels.MAX, extreme(max)),
    "count": (kernels.COUNT, lambda values: float(len(values))),
    "last": (kernels.LAST, lambda values: values[-1]),
    "first": (kernels.FIRST, lambda values: values[0]),
    "present": (kernels.PRESENT, lambda values: 1.0),
    "changes": (kernels.CHANGES, changes),
    "resets": (kernels.RESETS, lambda values: float(sum(b < a for a, b in itertools.pairwise(values)))),
}


@pytest.mark.parametrize("name", OVER_TIME)
@settings(max_examples=40, deadline=None)
@given(rows(), MARKS, WINDOWS)
def test_over_time(name: str, samples: list[Samples], stale: set[tuple[int, int]], shape: Shape) -> None:
    op, measure = OVER_TIME[name]
    check(samples, stale, shape, lambda *arrays: run_over_time(op, *arrays), twin_over(measure), close=0)


ROUNDED: dict[str, tuple[int, Callable[[list[float]], float], float]] = {
    "sum": (kernels.SUM, math.fsum, 1e-12),
    "avg": (kernels.AVG, lambda values: math.fsum(values) / len(values), 1e-12),
    "stdvar": (kernels.STDVAR, lambda values: statistics.pvariance(values), 1e-9),
    "stddev": (kernels.STDDEV, lambda values: statistics.pstdev(values), 1e-9),
}


@pytest.mark.parametrize("name", ROUNDED)
@settings(max_examples=40, deadline=None)
@given(rows(st.one_of(st.floats(1e-3, 1e9), st.integers(1, 1000).map(float), st.just(math.nan))), MARKS, WINDOWS)
def test_rounded_over_time(name: str, samples: list[Samples], stale: set[tuple[int, int]],
                           shape: Shape) -> None:
    op, measure, close = ROUNDED[name]

    def twin(samples: Samples, stop: int, width: int) -> float | None:
        values = [float(value) for _, value in samples]
        if not values:
            return None
        return math.nan if any(map(math.isnan, values)) else measure(values)

    def run(*arrays: Any) -> int:
        count = run_over_time(op, *arrays)
        if name.startswith("std"):  # the twin is exact; the kernel leaves what cancels to 1e-16 of the square
            out = arrays[-2]
            out[np.abs(out) < 1e-12] = 0.0
        return count

    if name.startswith("std"):
        samples = [[(at, round(value, 3) if value < 1e4 else value % 1e4) for at, value in row] for row in samples]
    check(samples, stale, shape, run, twin, close=close)


@pytest.mark.parametrize(("values", "total"), [
    ([1e300, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 28.0),
    ([math.inf, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 28.0),
    ([math.nan, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 28.0),
    ([1e16, -1e16, 1e-7, 1e-7, 1e-7, 1e-7, 1e-7, 1e-7], 6e-7),
])
def test_a_sum_does_not_suffer_from_what_has_left_the_window(values: list[float], total: float) -> None:
    row = [(at * 1000, value) for at, value in enumerate(values)]
    begin, end, ts, column = tile([row], set())
    out, present = np.zeros((1, 8)), np.zeros((1, 8), np.bool_)
    run_over_time(kernels.SUM, begin, end, ts, column, 0, 1000, 7000, out, present)
    np.testing.assert_allclose(out[0, 7], total if values[1] > 0 else 6e-7 - 1e16, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows(), MARKS, WINDOWS)
def test_instant(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape) -> None:
    for what in (kernels.VALUE, kernels.TIMESTAMP):
        def twin(samples: Samples, stop: int, width: int, what: int = what) -> float | None:
            if not samples or is_stale(samples[-1][1]):
                return None
            return samples[-1][1] if what == kernels.VALUE else samples[-1][0] / 1000

        check(samples, stale, shape, lambda *arrays, what=what: kernels.instant(what, *arrays), twin, keep_stale=True,
              close=0)


def twin_quantile(q: float, values: list[float]) -> float:
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return -math.inf if q < 0 else math.inf
    ordered = sorted(values, key=lambda value: -math.inf if math.isnan(value) else value)
    rank = q * (len(values) - 1)
    lower = math.floor(rank)
    weight = rank - lower
    return ordered[lower] * (1 - weight) + ordered[min(len(values) - 1, lower + 1)] * weight


def twin_deviation(values: list[float]) -> float:
    if any(map(math.isnan, values)):
        return math.nan
    median = twin_quantile(0.5, values)
    return twin_quantile(0.5, [abs(value - median) for value in values])


def run_rare(op: int, parameter: float, second: float = 0.0) -> Callable[..., int]:
    def run(*arrays: Any) -> int:
        begin, end, ts, values, first, step, width, out, present = arrays
        steps = out.shape[1]
        return rare.over_time_rare(op, begin, end, ts, values, first, step, width, first, step,
                                   np.full(steps, parameter), np.full(steps, second), *scratch(ts),
                                   np.empty(ts.size), np.empty(ts.size), out, present)

    return run


@settings(max_examples=60, deadline=None)
@given(rows(), MARKS, WINDOWS, st.sampled_from([0.0, 0.3, 0.5, 0.99, 1.0, -0.1, 1.1, math.nan]))
def test_quantiles(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape,
                   q: float) -> None:
    check(samples, stale, shape, run_rare(rare.QUANTILE, q), twin_over(lambda values: twin_quantile(q, values)))
    check(samples, stale, shape, run_rare(rare.MAD, 0.0), twin_over(twin_deviation))


@settings(max_examples=40, deadline=None)
@given(rows(st.integers(-9, 9).map(float)), MARKS, WINDOWS)
def test_times_of_samples(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape) -> None:
    def last_of(best: Callable[..., float]) -> Twin:
        def twin(samples: Samples, stop: int, width: int) -> float | None:
            values = [value for _, value in samples]
            return max(at for at, value in samples if value == best(values)) / 1000 if samples else None

        return twin

    twins: dict[int, Twin] = {
        rare.TS_FIRST: lambda samples, stop, width: samples[0][0] / 1000 if samples else None,
        rare.TS_LAST: lambda samples, stop, width: samples[-1][0] / 1000 if samples else None,
        rare.TS_MIN: last_of(min),
        rare.TS_MAX: last_of(max),
    }
    for op, twin in twins.items():
        check(samples, stale, shape, run_rare(op, 0.0), twin, close=0)


@settings(max_examples=40, deadline=None)
@given(rows(st.integers(-99, 99).map(float)), MARKS, WINDOWS)
def test_regression(samples: list[Samples], stale: set[tuple[int, int]], shape: Shape) -> None:
    def line(samples: Samples, origin: int) -> tuple[float, float]:
        times = [(at - origin) / 1000 for at, _ in samples]
        values = [value for _, value in samples]
        slope, intercept = statistics.linear_regression(times, values)
        return slope, intercept

    def deriv(samples: Samples, stop: int, width: int) -> float | None:
        return line(samples, stop)[0] + 1e3 if len(samples) >= 2 else None

    def predict(samples: Samples, stop: int, width: int) -> float | None:
        if len(samples) < 2:
            return None
        slope, intercept = line(samples, stop)
        return slope * 60 + intercept + 1e6

    def shifted(op: int, shift: float) -> Callable[..., int]:
        def run(*arrays: Any) -> int:
            cells = run_rare(op, 60.0)(*arrays)
            arrays[-2][:] += shift  # around zero, an absolute error is what matters
            return cells

        return run

    check(samples, stale, shape, shifted(rare.DERIV, 1e3), deriv, close=1e-9)
    check(samples, stale, shape, shifted(rare.PREDICT, 1e6), predict, close=1e-9)


def test_decisions_at_the_threshold_are_made_in_seconds() -> None:
    """11 s to the border with 10 s between samples: 11 < 10 * 1.1 in floating point, so the rate reaches the border."""
    row = [(at * 1000, float(at)) for at in range(11, 61, 10)]
    check([row], set(), (60, 0, 60, 1), lambda *arrays: run_rates(kernels.DELTA, *arrays), RATES["delta"][1])


@given(st.floats(1e-3, 1e6), st.integers(1, 60), st.lists(st.floats(-1e6, 1e6), max_size=10))
def test_averages_of_equal_values_are_that_value(value: float, size: int, before: list[float]) -> None:
    row = [(at * 1000, each) for at, each in enumerate(before + [value] * (size + 20))]
    begin, end, ts, column = tile([row], set())
    out, present = np.zeros((1, len(row))), np.zeros((1, len(row)), np.bool_)
    run_over_time(kernels.AVG, begin, end, ts, column, 0, 1000, size * 1000, out, present)
    assert set(out[0, len(before) + size :].tolist()) <= {value}
