"""Which series are of the same classic histogram: its buckets, whose labels are alike but for `le`, and its count.

Their samples rise together, so that chunks of one stand relative to those of another (`relative_kernels`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block.source import SeriesLabels

BUCKET, COUNT = b"_bucket", b"_count"
ROWS = 1 << 16
"""Series at once."""
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 through the golden ratio: ids that differ in few bits become numbers that differ in many."""


def families(series: SeriesLabels) -> NDArray[np.uint64]:
    """u64[n], by row: the same number, other than 0, for the series of a histogram, and another one for those of each
    other; 0: it is of none. (Two histograms have the same number by a chance of 2^-64.)"""
    found = np.zeros(len(series), np.uint64)
    name, le = _symbol(series, b"__name__"), _symbol(series, b"le")
    if le < 0 or name < 0:
        return found
    of_pair, stands_for = _names(series, name)
    if not of_pair.any():
        return found
    number = _mixed(stands_for)
    number[series.pair_name == le] = 0
    kind = of_pair.copy()
    kind[series.pair_name == le] = LE
    for first in range(0, found.size, ROWS):
        past = min(first + ROWS, found.size)
        offset = series.label_offset[first : past + 1]
        pairs = series.label_pair[int(offset[0]) : int(offset[-1])]
        starts = offset - offset[0]
        kinds = _sums(kind[pairs].astype(np.uint64), starts)
        wanted = (kinds == IS_BUCKET + LE) | (kinds == IS_COUNT)
        if wanted.any():
            found[first:past] = np.where(wanted, _sums(number[pairs], starts) | np.uint64(1), 0)
    return found


IS_BUCKET, IS_COUNT, LE = 1, 2, 4
"""What a pair may be."""


def _names(series: SeriesLabels, name: int) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """By pair: whether it is the name of buckets or of a count beside such (u8), and the pair that it stands for: for a
    count, that of the buckets (u64)."""
    kinds = np.zeros(series.pair_name.size, np.uint8)
    stands_for = np.arange(kinds.size, dtype=np.uint64)
    pairs = np.flatnonzero(series.pair_name == name)
    texts = {_text(series, int(series.pair_value[pair])): pair for pair in pairs.tolist()}
    for text, pair in texts.items():
        if text.endswith(BUCKET):
            kinds[pair] = IS_BUCKET
            count = texts.get(text.removesuffix(BUCKET) + COUNT)
            if count is not None:
                kinds[count], stands_for[count] = IS_COUNT, pair
    return kinds, stands_for


def _symbol(series: SeriesLabels, text: bytes) -> int:
    """The number of a text, -1 where there is none."""
    at = np.flatnonzero(series.symbol_length == len(text))
    begin = series.symbol_offset[at].astype(np.int64)
    same = np.ones(at.size, np.bool_)
    for k, byte in enumerate(text):
        same &= series.symbol_bytes[begin + k] == byte
    return int(at[same][0]) if same.any() else -1


def _text(series: SeriesLabels, symbol: int) -> bytes:
    begin = int(series.symbol_offset[symbol])
    return series.symbol_bytes[begin : begin + int(series.symbol_length[symbol])].tobytes()


def _mixed(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """As splitmix64 mixes."""
    found = (ids + np.uint64(1)) * MULTIPLIER
    found = (found ^ found >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ found >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return found ^ found >> np.uint64(31)


def _sums(numbers: NDArray[np.uint64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The sums, modulo 2^64, of numbers[starts[i]:starts[i + 1]]."""
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(numbers, dtype=np.uint64)))
    found: NDArray[np.uint64] = sums[starts[1:]] - sums[starts[:-1]]
    return found
