"""Windows with native histograms: the kernel beside its twin, and increases and sums over several windows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.histograms.float_histogram import FloatHistogram, combined, compacted, from_native, was_reset
from tests.promql.histograms.range_functions import change, evaluate
from tests.promql.histograms.test_arithmetic import assert_close
from tests.promql.histograms.test_ranges import PLAIN, STEP, grown, series
from tests.storage.batches import bits
from tests.storage.histograms.payload import with_payload
from tests.storage.tiers.histogram_twin import Samples, Value, Windows, added, assert_same, cell, windows
from tsdb.histograms import windows as module
from tsdb.histograms.windows import put_histograms
from tsdb.kernels.window_kernels import windows as make_windows
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint
from tsdb.model.tiers import Field


def made(rows: list[Samples], resolution: int) -> list[Windows]:
    """Of the samples of several series."""
    flat = [each for row in rows for each in row]
    values, payload = with_payload([STALE_NAN if value is None else value if isinstance(value, NativeHistogram) else
                                    bits(value) for _, value in flat])
    ends = np.cumsum([len(row) for row in rows])
    begin, ts = ends - [len(row) for row in rows], np.array([at for at, _ in flat], np.int64)
    first, past = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    window_ts, out = np.empty(ts.size, np.int64), np.empty((len(Field), ts.size))
    floats = values.view(np.float64)
    make_windows(begin, ends, ts, floats, -(1 << 60), 1 << 60, resolution, first, past, window_ts, out)
    payload = put_histograms(begin, ends, ts, floats, payload, resolution, first, past, window_ts, out)
    return [{int(window_ts[i]): {field: cell(out.view(np.uint64)[number, i], payload)
                                 for number, field in enumerate(Field)} for i in range(first[row], past[row])}
            for row in range(len(rows))]


def at_steps(values: list[Value]) -> Samples:
    return [(at * STEP, value) for at, value in enumerate(values, 1)]


@settings(max_examples=60, deadline=None)
@given(st.lists(series(), min_size=1, max_size=3), st.sampled_from([1, 3, 20]))
def test_windows(rows: list[list[Value]], width: int) -> None:
    samples = [at_steps(row) for row in rows]
    for found, own in zip(made(samples, width * STEP), samples, strict=True):
        assert_same(found, windows(own, width * STEP))


def test_it_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With rows and results that are too small at first, and after every window."""
    wide = NativeHistogram(0, 1.0, 60, positive_spans=((0, 60),), positive=(1,) * 60)
    other = NativeHistogram(0, 1.0, 60, positive_spans=((90, 60),), positive=(1,) * 60)
    rows: list[Samples] = [at_steps([wide, other, PLAIN, wide, 3.0, None, other, wide] * 3), at_steps([1.0, None]),
                           at_steps([PLAIN, other, PLAIN] * 4)]
    expected = [windows(row, 3 * STEP) for row in rows]
    monkeypatch.setattr(module, "_RESULT_BYTES", 64)
    monkeypatch.setattr(module, "_LOOKED_AT_BYTES", 1)
    for found, wanted in zip(made(rows, 3 * STEP), expected, strict=True):
        assert_same(found, wanted)


def test_sums_that_no_block_takes_are_coarser() -> None:
    """Each fits, their sum does not."""
    parts = [NativeHistogram(8, 1.0, 40_000, positive_spans=((at, 1), *((3, 1),) * 39_999), positive=(1,) * 40_000)
             for at in range(4)]
    found = made([at_steps([*parts])], 20 * STEP)[0][20 * STEP]
    total = found[Field.SUM]
    assert isinstance(total, FloatHistogram) and total.count == 160_000
    assert total.schema == 7
    assert sum(total.positive.values()) == 160_000


def test_bounds_and_kinds_that_differ() -> None:
    def custom(*bounds: float) -> NativeHistogram:
        return NativeHistogram(CUSTOM_SCHEMA, 1.0, len(bounds) + 1, positive_spans=((0, len(bounds) + 1),),
                               positive=(1,) * (len(bounds) + 1), custom_values=bounds)

    same, mixed = made([at_steps([custom(1, 2, 3), custom(2, 3, 4), custom(1, 3)]),
                        at_steps([custom(1, 2), PLAIN, PLAIN, 1.0])], 3 * STEP)
    total = same[3 * STEP][Field.SUM]
    assert isinstance(total, FloatHistogram) and (total.custom_values, total.count) == ((3.0,), 11)
    assert total.positive == {0: 7, 1: 4}
    assert str(mixed[3 * STEP][Field.SUM]) == "nan" == str(mixed[3 * STEP][Field.LOST]), "nothing, as sum_over_time"
    assert (mixed[3 * STEP][Field.RESETS], mixed[6 * STEP][Field.SUM]) == (1, 1)


def test_gauges_fall_as_counters_do() -> None:
    """As Prometheus' resets, which asks hints that say RESET or NOT_RESET, and compares else."""
    gauge = replace(PLAIN, hint=ResetHint.GAUGE)
    found = made([at_steps([grown(gauge, 2), gauge, grown(gauge, 1)])], 3 * STEP)[0][3 * STEP]
    total, lost = found[Field.SUM], found[Field.LOST]
    assert isinstance(total, FloatHistogram) and total.hint == ResetHint.GAUGE
    assert isinstance(lost, FloatHistogram) and lost.count == grown(PLAIN, 2).count
    assert found[Field.RESETS] == 1


@settings(max_examples=50, deadline=None)
@given(series(), st.integers(1, 5))
def test_increases_and_sums_over_windows(values: list[Value], width: int) -> None:
    """What was lost between windows is the last one of those that the first of the next does not go on from."""
    samples = [(ts, value) for ts, value in at_steps(values) if isinstance(value, NativeHistogram)]
    native = [from_native(value) for _, value in samples if isinstance(value, NativeHistogram)]
    if len(native) < 2 or was_reset(native[1], native[0]):
        return  # Prometheus does not look at the layout of a first one behind which the counter begins anew
    found = [fields for _, fields in sorted(made([samples], width * STEP)[0].items())]

    def of(fields: object, field: Field) -> FloatHistogram:
        assert isinstance(fields, dict)
        value = fields[field]
        assert isinstance(value, FloatHistogram)
        return value

    total = evaluate("sum_over_time", list(enumerate(native)), 0, 1)[0]
    whole = any(not isinstance(each[Field.SUM], FloatHistogram) for each in found)
    if whole or len({of(each, Field.SUM).custom for each in found}) > 1:
        assert total is None
        return
    assert isinstance(total, FloatHistogram)
    again = added([of(each, Field.SUM) for each in found])
    assert again is not None
    assert_close(compacted(again), compacted(total))
    lost = [of(each, Field.LOST) for each in found if isinstance(each[Field.LOST], FloatHistogram)]
    lost += [of(before, Field.LAST) for before, after in pairwise(found)
             if was_reset(of(after, Field.FIRST), of(before, Field.LAST))]
    difference = combined(of(found[-1], Field.LAST), of(found[0], Field.FIRST), -1)
    assert difference is not None
    increase = replace(difference[0], hint=ResetHint.GAUGE)
    for part in lost:
        sum_ = combined(increase, part, 1)
        assert sum_ is not None
        increase = replace(sum_[0], hint=ResetHint.GAUGE)
    expected = change(native)[0]
    assert isinstance(expected, FloatHistogram)
    assert_close(compacted(increase), compacted(expected))
