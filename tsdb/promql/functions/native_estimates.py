"""Estimates of native histograms, tile by tile: numbers stay, the histograms do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import is_boxed
from tsdb.promql.histograms.quantile_kernels import EXCLUDED, NAN_RESULT, SKEWED, estimate_native
from tsdb.promql.operators.vector import Cells, Environment

NOTES = {
    NAN_RESULT: "PromQL info: input to histogram_quantile has NaN observations, result is NaN",
    SKEWED: "PromQL info: input to histogram_quantile has NaN observations, result is skewed higher",
    EXCLUDED: "PromQL info: input to histogram_fraction has NaN observations, which are excluded from all fractions",
}

_CELLS_AT_ONCE = 1 << 14
"""For a kernel: some milliseconds."""


class Scratch:
    """What kernels unpack a histogram into; grows as they ask for it."""

    def __init__(self) -> None:
        self.whole, self.real = np.empty(512, np.int64), np.empty(512)

    def rows(self, tile: Cells, kernel: Callable[[int, int, NDArray[np.int64], NDArray[np.float64]], int]) -> None:
        """kernel(first row, row behind the last, scratch …) for all rows of a tile, until it has done all."""
        row, many = 0, len(tile.values)
        at_once = max(1, _CELLS_AT_ONCE // max(1, tile.values.shape[1]))
        while row < many:
            end = min(many, row + at_once)
            if (row := kernel(row, end, self.whole, self.real)) < end:
                size = 2 * self.whole.size
                self.whole, self.real = np.empty(size, np.int64), np.empty(size)


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is estimated: a quantile `first`, or the fraction between `first` and `second`, f64[steps] each; where
    `steps` bool[steps], if not None."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    steps: NDArray[np.bool_] | None = None


class NativeEstimates:
    """Estimates of all native histograms among an operator's cells; `op` is the kernel's."""

    def __init__(self, env: Environment, op: int, wanted: Sequence[Numbers]) -> None:
        self._env, self._op, self._wanted = env, op, wanted
        self._scratch = Scratch()
        self._rows: list[NDArray[np.int64]] = []
        self._present: list[NDArray[np.bool_]] = []
        self._values: list[list[NDArray[np.float64]]] = [[] for _ in wanted]
        self._notes: list[NDArray[np.uint8]] = []
        self._reserved = 0

    def take(self, tile: Cells) -> NDArray[np.bool_]:
        """Estimates the tile's histograms. Returns bool[rows, steps]: its other cells."""
        if tile.payload is None:
            return tile.present
        boxed = is_boxed(tile.values.view(np.uint64)) & tile.present
        rows = np.flatnonzero(boxed.any(axis=1))
        if not rows.size:
            return tile.present
        size = rows.size * boxed.shape[1] * (1 + 8 * len(self._wanted))
        self._env.context.reserve(size)
        self._reserved += size
        notes = np.zeros(len(boxed), np.uint8)
        for numbers, values in zip(self._wanted, self._values, strict=True):
            made = self._estimate(tile, numbers, notes)
            values.append(made if rows.size == len(made) else made[rows])
        self._rows.append(tile.first_row + rows)
        self._present.append(boxed[rows])
        self._notes.append(notes[rows])
        return tile.present & ~boxed

    def _estimate(self, tile: Cells, numbers: Numbers, notes: NDArray[np.uint8]) -> NDArray[np.float64]:
        payload, made = tile.payload, np.empty(tile.values.shape)
        assert payload is not None
        bits = tile.values.view(np.uint64)
        present = tile.present if numbers.steps is None else tile.present & numbers.steps

        def kernel(row: int, end: int, whole: NDArray[np.int64], real: NDArray[np.float64]) -> int:
            return estimate_native(self._op, numbers.first, numbers.second, bits, present, payload, row, end, whole,
                                   real, made, notes)

        self._scratch.rows(tile, kernel)
        return made

    @property
    def rows(self) -> NDArray[np.int64]:
        """i64[n]: the rows that have histograms, ascending."""
        return np.concatenate([np.zeros(0, np.int64), *self._rows])

    @property
    def notes(self) -> NDArray[np.uint8]:
        """u8[n]: what is to be said of each; bits of `NOTES`."""
        return np.concatenate([np.zeros(0, np.uint8), *self._notes])

    def present(self) -> NDArray[np.bool_]:
        """bool[n, steps]: where they have histograms."""
        return np.concatenate([np.zeros((0, self._env.steps.count), np.bool_), *self._present])

    def fill(self, index: int, out: NDArray[np.float64]) -> None:
        """Puts the estimates of one of the numbers wanted into f64[n, steps]."""
        first = 0
        for values in self._values[index]:
            out[first : first + len(values)] = values
            first += len(values)

    def close(self) -> None:
        """Lets go of the estimates, and gives the bytes back to the query's budget."""
        self._values = []
        self._env.context.reserve(-self._reserved)
        self._reserved = 0
