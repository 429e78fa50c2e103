"""Fields of windows as series of a block.

Of each series of samples, a block of a tier has one series for every field: its labels and `FIELD_LABEL`, whose value
names the field. A sample there is a window: its time is the window's end, its value the field's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tsdb.model.tiers import Field, quantile_field
from tsdb.storage.block import SeriesLabels

FIELD_LABEL: Final = "\U0010ffff"
"""Sorts behind all names that people use, so that the fields of a series are neighbours. A series that has this label,
or one that sorts behind it, is in no tier."""

DENSE: Final = (Field.COUNT, Field.SUM, Field.MIN, Field.MAX, Field.FIRST, Field.FIRST_TS, Field.LAST, Field.LAST_TS,
                Field.RESETS, Field.LOST)
"""Every series of a block has them, for the same windows. Their numbers are the rows that `window_kernels` fills."""
SPARSE: Final = (Field.STALE, Field.HISTOGRAMS)
"""Only of windows where they are not 0. Their numbers follow."""
FIELDS: Final = (*DENSE, *SPARSE)


def field_names(quantiles: Sequence[float] = ()) -> tuple[str, ...]:
    """`FIELDS`, and behind them those of quantiles, which are dense, too."""
    return (*FIELDS, *map(quantile_field, quantiles))


def field_series(series: SeriesLabels, names: Sequence[str] = FIELDS) -> SeriesLabels:
    """The series of all fields: those of row i of `series` are the rows i * len(names) + number of the field."""
    texts = [FIELD_LABEL.encode(), *(name.encode() for name in names)]
    fields, n = len(names), len(series)
    lengths = np.array([len(text) for text in texts], np.int64)
    data = np.concatenate((series.symbol_bytes, np.frombuffer(b"".join(texts), np.uint8), np.zeros(8, np.uint8)))
    offsets = series.symbol_bytes.size + np.concatenate(([0], np.cumsum(lengths)[:-1]))
    first_symbol, first_pair = series.symbol_length.size, series.pair_name.size
    known = [_find(series, text) for text in texts]
    symbols = np.array([first_symbol + i if symbol < 0 else symbol for i, symbol in enumerate(known)], np.uint32)
    counts = np.diff(series.label_offset)
    label_offset = np.zeros(n * fields + 1, np.int64)
    np.cumsum(np.repeat(counts + 1, fields), out=label_offset[1:])
    starts = label_offset[:-1].reshape(n, fields)
    pairs = np.empty(int(label_offset[-1]), np.uint32)
    within = np.arange(int(counts.sum())) - np.repeat(series.label_offset[:-1] - series.label_offset[0], counts)
    own = series.label_pair[int(series.label_offset[0]) : int(series.label_offset[-1])]
    for number in range(fields):
        pairs[np.repeat(starts[:, number], counts) + within] = own
        pairs[starts[:, number] + counts] = first_pair + number
    return SeriesLabels(
        data, np.concatenate((series.symbol_offset.astype(np.int64), offsets)),
        np.concatenate((series.symbol_length.astype(np.int64), lengths)),
        np.concatenate((series.pair_name, np.full(fields, symbols[0], np.uint32))),
        np.concatenate((series.pair_value, symbols[1:])),
        label_offset, pairs)


def has_room_for_field(series: SeriesLabels) -> NDArray[np.bool_]:
    """bool[n]: whether all of a series' names sort before `FIELD_LABEL`."""
    names = np.unique(series.pair_name)
    border = FIELD_LABEL.encode()
    late = [symbol for symbol in names.tolist() if _text(series, symbol) >= border]
    if not late:
        return np.ones(len(series), np.bool_)
    wrong = np.isin(series.pair_name, np.array(late, np.uint32))
    sums = np.concatenate(([0], np.cumsum(wrong[series.label_pair])))
    found: NDArray[np.bool_] = sums[series.label_offset[1:]] == sums[series.label_offset[:-1]]
    return found


def _find(series: SeriesLabels, text: bytes) -> int:
    """The symbol with a text, or -1."""
    symbols = np.flatnonzero(series.symbol_length == len(text))
    at = series.symbol_offset[symbols].astype(np.int64)
    for place, byte in enumerate(text):
        same = series.symbol_bytes[at + place] == byte
        symbols, at = symbols[same], at[same]
    return int(symbols[0]) if symbols.size else -1


def _text(series: SeriesLabels, symbol: int) -> bytes:
    start = int(series.symbol_offset[symbol])
    return series.symbol_bytes[start : start + int(series.symbol_length[symbol])].tobytes()
