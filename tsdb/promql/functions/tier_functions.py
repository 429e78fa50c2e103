"""Functions over windows of a downsampling tier: what each needs of them, and how it is computed.

Where the range and the evaluation times are multiples of the resolution, results are those of the samples, to rounding.
Functions that are not in the table need samples, and get the last one of each window where there are no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import is_boxed
from tsdb.model.tiers import Field, quantile_field
from tsdb.model.tiles import Tile
from tsdb.promql import ast
from tsdb.promql.functions.absent import absent_of
from tsdb.promql.functions.function import Build, Call
from tsdb.promql.functions.histogram_ranges import kept, summed
from tsdb.promql.functions.over_time import OverTime
from tsdb.promql.functions.range_call import Evaluated, OfHistogramTile
from tsdb.promql.functions.rates import CounterRate, Rate
from tsdb.promql.functions.tier_histograms import window_rates
from tsdb.promql.kernels import tier_kernels
from tsdb.promql.kernels.binary_kernels import DIV
from tsdb.promql.kernels.range_kernels import FIRST, LAST, MAX, MIN, PRESENT, SUM
from tsdb.promql.kernels.tier_kernels import changes_of_windows
from tsdb.promql.native_histograms import held_samples, in_rows
from tsdb.promql.operators.binary_histograms import Combination
from tsdb.promql.operators.sample_counts import count_windows
from tsdb.promql.operators.selectors import new_cells
from tsdb.promql.operators.tier_fields import NeedsSamples, TierWindows
from tsdb.promql.operators.vector import Cells, Operator

_COUNTER: Final = (Field.COUNT, Field.FIRST, Field.FIRST_TS, Field.LAST, Field.LAST_TS)
"""As `tier_kernels` has them; a sixth follows."""

NEED_TWO: Final = frozenset({"irate", "idelta", "deriv", "predict_linear", "double_exponential_smoothing", "changes"})
"""Functions of samples of which one says nothing."""


@dataclass(frozen=True, slots=True)
class WindowForm:
    """How a function is computed of windows."""

    fields: tuple[str, ...]
    """What it reads of them."""
    build: Build
    """Of a call whose range vector has `RangeVector.windows`."""
    quantile: float | None = None
    """That the tier must keep; and the range is one window."""


Column = Callable[[TierWindows, Tile], NDArray[np.float64]]
"""A number for each window of a tile."""


class OfColumn(OverTime):
    """A function of one number, or histogram, for each window, as if these were samples at the windows' ends."""

    def __init__(self, call: Call, op: int, column: Column, *, keep_name: bool = False, of_floats: bool = False,
                 of_histograms: OfHistogramTile | None = None) -> None:
        """`of_floats`: native histograms do not count."""
        super().__init__(call, op, keep_name=keep_name, of_histograms=of_histograms)
        assert call.samples.windows is not None
        self._windows, self._column, self._of_floats = call.samples.windows, column, of_floats

    def _evaluate(self, tile: Tile) -> Evaluated:
        column = self._column(self._windows, tile)
        return super()._evaluate(self._windows.among_samples(tile, column, of_floats=self._of_floats))


class Average(OfColumn):
    """All sums by all counts."""

    def __init__(self, call: Call) -> None:
        super().__init__(call, SUM, _field(Field.SUM), of_histograms=summed)

    def _evaluate(self, tile: Tile) -> Evaluated:
        made = super()._evaluate(tile)
        counts = self.evaluate(self._windows.among_samples(tile, self._windows.field(tile, Field.COUNT))).cells
        if made.cells.payload is not None:
            rows, divide = np.arange(tile.rows), ast.Binary("/", ast.NumberLiteral(1.0), ast.NumberLiteral(1.0))
            division = Combination(DIV, False, False, divide, self.env)
            made = replace(made, cells=division.combine(tile.first_row, made.cells, counts, rows, rows))
            division.close()
            return made
        with np.errstate(all="ignore"):
            made.cells.values /= counts.values
        return made


class WindowChange(Rate):
    """A change over windows, or a rate of it. That of a range that was widened to whole windows is scaled to what was
    asked for. Raises NeedsSamples for resets of native histograms."""

    def __init__(self, call: Call, op: int) -> None:
        super().__init__(call, op)
        assert call.samples.windows is not None
        self._windows = call.samples.windows

    def _evaluate(self, tile: Tile) -> Evaluated:
        count_windows(self.env, tile, self.window)
        boxed = is_boxed(self._windows.field(tile, Field.LAST).view(np.uint64))
        if tile.payload is None or not (boxed & in_rows(tile)).any():
            return self.evaluate(tile)
        if self.op == tier_kernels.RESETS:
            raise NeedsSamples(self.span)
        made = window_rates(self, self._windows, tile, self._divisor())
        cells = made.cells
        return replace(made, samples=made.samples + held_samples(cells.values, cells.present, cells.payload))

    def evaluate(self, tile: Tile) -> Evaluated:
        assert tile.fields is not None
        values, present = new_cells(tile.rows, self.env)
        window, steps = self.window, self.env.steps.count
        longest = int((tile.end - tile.begin).max(initial=0))
        count = changes_of_windows(
            self.op, tile.begin, tile.end, tile.ts, tile.fields, window.first, window.step, window.width,
            self._windows.read.resolution_ms, self._divisor(), np.empty(longest, np.int64), np.empty((2, longest + 1)),
            np.empty(2 * longest, np.int64), np.empty(2 * longest), np.empty((10, steps)), values, present)
        return Evaluated(Cells(tile.first_row, values, present), count)

    def _divisor(self) -> float:
        return self.window.width / (1000.0 if self.op == tier_kernels.RATE else self._windows.width)


class WindowCounter(WindowChange, CounterRate):
    """The change of a counter, or a rate of it."""


def form_of(node: ast.Call) -> WindowForm | None:
    """How a call is computed of windows; its arguments are without parentheses around them. None: it needs samples."""
    if node.function == "quantile_over_time" and isinstance(node.args[0], ast.NumberLiteral):
        quantile = node.args[0].value
        return _column(quantile_field(quantile), LAST, of_floats=True, quantile=quantile)
    return FORMS.get(node.function)


def _field(field: str) -> Column:
    return lambda windows, tile: windows.field(tile, field)


def _seconds(field: str) -> Column:
    return lambda windows, tile: windows.times(tile, field) / 1000.0


def _column(field: str, op: int, column: Column | None = None, *, keep_name: bool = False, of_floats: bool = False,
            quantile: float | None = None, tiles: OfHistogramTile | None = None) -> WindowForm:
    def build(call: Call) -> OfColumn:
        return OfColumn(call, op, column or _field(field), keep_name=keep_name, of_floats=of_floats,
                        of_histograms=tiles)

    fields = (field,) if field == Field.COUNT else (field, Field.COUNT)
    return WindowForm((*fields, Field.HISTOGRAMS) if of_floats else fields, build, quantile)


def _change(kind: type[WindowChange], op: int, more: str = Field.LOST) -> WindowForm:
    return WindowForm((*_COUNTER, more), lambda call: kind(call, op))


def _absent(call: Call) -> Operator:
    return absent_of(call, OfColumn(call, PRESENT, _field(Field.COUNT), keep_name=True))


FORMS: Final[Mapping[str, WindowForm]] = MappingProxyType({
    "avg_over_time": WindowForm((Field.SUM, Field.COUNT), Average),
    "sum_over_time": _column(Field.SUM, SUM, tiles=summed),
    "min_over_time": _column(Field.MIN, MIN, of_floats=True),
    "max_over_time": _column(Field.MAX, MAX, of_floats=True),
    "count_over_time": _column(Field.COUNT, SUM),
    "last_over_time": _column(Field.LAST, LAST, keep_name=True, tiles=kept),
    "first_over_time": _column(Field.FIRST, FIRST, keep_name=True, tiles=kept),
    "present_over_time": _column(Field.COUNT, PRESENT),
    "absent_over_time": WindowForm((Field.COUNT,), _absent),
    "ts_of_first_over_time": _column(Field.FIRST_TS, FIRST, _seconds(Field.FIRST_TS)),
    "ts_of_last_over_time": _column(Field.LAST_TS, LAST, _seconds(Field.LAST_TS)),
    "rate": _change(WindowCounter, tier_kernels.RATE),
    "increase": _change(WindowCounter, tier_kernels.INCREASE),
    "delta": _change(WindowChange, tier_kernels.DELTA),
    "resets": _change(WindowChange, tier_kernels.RESETS, Field.RESETS),
})
"""By function."""
