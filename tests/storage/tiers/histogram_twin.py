"""Windows with native histograms, the slow and obvious way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tests.promql.histograms.float_histogram import FloatHistogram, combined, compacted, from_native, was_reset
from tests.promql.histograms.range_functions import evaluate
from tests.promql.histograms.test_arithmetic import assert_close
from tsdb.model.native_histograms import NativeHistogram, decode, is_boxed, offsets
from tsdb.model.tiers import Field

Value = NativeHistogram | float | None
"""None: a stale marker."""
Samples = Sequence[tuple[int, Value]]
"""(ms, value), in order of time."""
Fields = Mapping[Field, FloatHistogram | float]
Windows = Mapping[int, Fields]
"""By their ends."""


def windows(samples: Samples, resolution: int) -> Windows:
    by_end: dict[int, list[tuple[int, Value]]] = {}
    for ts, value in samples:
        by_end.setdefault(-(-ts // resolution) * resolution, []).append((ts, value))
    return {end: window(end - resolution, own) for end, own in by_end.items()}


def window(start: int, samples: Samples) -> Fields:
    live = [(ts, from_native(value) if isinstance(value, NativeHistogram) else value) for ts, value in samples
            if value is not None]
    found: dict[Field, FloatHistogram | float] = dict.fromkeys(Field, 0.0)
    found[Field.STALE] = float(samples[-1][1] is None)
    if not live:
        return found
    values = [value for _, value in live]
    floats = [value for value in values if isinstance(value, float)]
    histograms = [value for value in values if isinstance(value, FloatHistogram)]
    found |= {Field.COUNT: float(len(live)), Field.HISTOGRAMS: float(len(histograms)), Field.FIRST: values[0],
              Field.LAST: values[-1], Field.FIRST_TS: float(live[0][0] - start),
              Field.LAST_TS: float(live[-1][0] - start), Field.MIN: min(floats, default=math.nan),
              Field.MAX: max(floats, default=math.nan)}
    if not histograms:
        drops = [before for before, after in pairwise(floats) if after < before]
        return found | {Field.SUM: math.fsum(floats), Field.RESETS: float(len(drops)), Field.LOST: math.fsum(drops)}
    resets = evaluate("resets", live, 0, 0)[0]
    total = evaluate("sum_over_time", live, 0, 0)[0]
    found[Field.RESETS] = resets if isinstance(resets, float) else math.nan
    if not isinstance(total, FloatHistogram):
        return found | {Field.SUM: math.nan, Field.LOST: math.nan}
    lost = added([before for before, after in pairwise(histograms) if was_reset(after, before)])
    return found | {Field.SUM: total, Field.LOST: 0.0 if lost is None else lost}


def added(parts: Sequence[FloatHistogram]) -> FloatHistogram | None:
    made: FloatHistogram | None = None
    for part in parts:
        sum_ = None if made is None else combined(made, part, 1)
        assert made is None or sum_ is not None
        made = part if sum_ is None else sum_[0]
    return made


def cell(value: np.uint64, payload: NDArray[np.uint8] | None) -> FloatHistogram | float:
    bits = np.array([value])
    if payload is None or not is_boxed(bits)[0]:
        return float(bits.view(np.float64)[0])
    return from_native(decode(payload, int(offsets(bits)[0])))


def assert_same(found: Windows, expected: Windows) -> None:
    assert found.keys() == expected.keys()
    for end, fields in expected.items():
        for field, value in fields.items():
            got = found[end][field]
            if isinstance(value, FloatHistogram):
                assert isinstance(got, FloatHistogram), (end, field, value, got)
                assert_close(compacted(got), compacted(value))
                if field in (Field.FIRST, Field.LAST, Field.SUM):
                    assert got.hint == value.hint, (end, field)
            else:
                assert isinstance(got, float), (end, field, value, got)
                assert math.isclose(got, value, rel_tol=1e-12) or (math.isnan(got) and math.isnan(value)), (
                    end, field, value, got)
