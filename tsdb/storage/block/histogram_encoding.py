"""Columns of samples of any kind to the chunks of a block: floats and histograms in chunks of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.model.native_histograms import MAX_BYTES, is_boxed
from tsdb.storage.block.histogram_chunk_kernels import encode_histogram_rows
from tsdb.storage.block.layout import HISTOGRAMS
from tsdb.storage.block.source import Chunks
from tsdb.storage.codecs.histogram_columns_kernels import CODES
from tsdb.storage.codecs.histogram_encoding_kernels import LAYOUTS, MATRIX, SHARED
from tsdb.storage.codecs.histogram_kernels import BUCKETS
from tsdb.storage.codecs.histogram_layout_kernels import LAYOUT_COLUMNS, MOST_BUCKETS

CHUNK_SAMPLES = 240
"""Most samples of a chunk of histograms."""
ENOUGH = 1 << 20
"""Bytes that one kernel call encodes, about."""
Encode = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]], Chunks]
"""As `encoding.encode`: begin, end, ts, values."""


def encode_kinds(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
                 payload: NDArray[np.uint8] | None, encode: Encode) -> Chunks:
    """The chunks of the next n series: series i has the samples begin[i]:end[i] (i64[n]) of `ts` (i64[] ms, ascending
    within a series) and `values` (u64[]), of which boxed ones lead to `payload` u8[]; None: there are none. `encode`
    makes the chunks of floats. Raises Corruption where a value leads to no histogram."""
    if payload is None:
        return encode(begin, end, ts, values)
    row, first, past, boxed = _runs(begin, end, values)
    parts = [(np.flatnonzero(~boxed), encode(first[~boxed], past[~boxed], ts, values)),
             (np.flatnonzero(boxed), encode_histograms(first[boxed], past[boxed], ts, values, payload))]
    run = np.concatenate([np.repeat(runs, chunks.series) for runs, chunks in parts])
    order = np.argsort(run, kind="stable")
    floats, histograms = (chunks for _, chunks in parts)
    series = np.bincount(row[run], minlength=begin.size).astype(np.int64)

    def joined(name: str) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.concatenate([getattr(floats, name), getattr(histograms, name)])[order]
        return found

    return Chunks(series, joined("mint"), joined("maxt"), joined("samples"),
                  np.concatenate([floats.form, histograms.form])[order],
                  np.concatenate([floats.address, histograms.address])[order], joined("length"),
                  (floats.owner, histograms.owner))


def encode_histograms(begin: NDArray[np.int64], end: NDArray[np.int64], ts: NDArray[np.int64],
                      values: NDArray[np.uint64], payload: NDArray[np.uint8], *, most: int = CHUNK_SAMPLES) -> Chunks:
    """The chunks of n series, all samples of which are histograms in `payload`; as `encode_kinds` otherwise. A chunk
    has at most `most` samples, and fewer where they take much room."""
    room = int((end - begin).max(initial=0))
    scratch = (np.empty((3, min(room, most)), np.int64), np.empty((LAYOUTS, LAYOUT_COLUMNS), np.int64),
               np.empty((3, SHARED), np.int64), np.empty((LAYOUTS, SHARED), np.int64),
               np.empty((CODES, MOST_BUCKETS + BUCKETS + 1), np.int64), np.empty(MATRIX, np.uint64),
               np.empty(min(room, most), np.uint64))
    series = np.zeros(begin.size, np.int64)
    columns: list[tuple[NDArray[np.int64], ...]] = []
    addresses, owners = [], []
    view = payload.view()
    view.flags.writeable = False
    row, first = 0, -1
    while row < begin.size:
        out = np.empty(ENOUGH + 2 * MAX_BYTES, np.uint8)
        left = int((end[row:] - begin[row:]).sum())  # chunks, at the most
        found = tuple(np.empty(left, np.int64) for _ in range(5))
        mint, maxt, samples, where, length = found
        row, first, chunks, _ = encode_histogram_rows(
            begin, end, ts, values, view, row, first, most, ENOUGH, *scratch, out, series, mint, maxt, samples, where,
            length)
        if first == -2:
            raise Corruption(f"a sample between {int(ts[begin[row]])} and {int(ts[end[row] - 1])} ms leads to no "
                             "histogram")
        columns.append((mint[:chunks], maxt[:chunks], samples[:chunks], length[:chunks]))
        addresses.append(np.uint64(out.__array_interface__["data"][0]) + where[:chunks].astype(np.uint64))
        owners.append(out)
    none = (np.zeros(0, np.int64),) * 4
    mint, maxt, samples, length = (np.concatenate(parts) for parts in zip(none, *columns, strict=True))
    return Chunks(series, mint, maxt, samples, np.full(mint.size, HISTOGRAMS, np.uint8),
                  np.concatenate([np.zeros(0, np.uint64), *addresses]), length, owners)


def _runs(begin: NDArray[np.int64], end: NDArray[np.int64], values: NDArray[np.uint64],
          ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """(row, first sample, the one behind the last, whether they are histograms) of runs of samples of one kind, row by
    row."""
    totals = end - begin
    rows = np.repeat(np.arange(begin.size), totals)
    at = np.repeat(begin - (np.cumsum(totals) - totals), totals) + np.arange(rows.size)
    boxed = is_boxed(values[at])
    new = np.ones(rows.size, np.bool_)
    new[1:] = (rows[1:] != rows[:-1]) | (boxed[1:] != boxed[:-1])
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, rows.size))
    return rows[starts], at[starts], at[starts] + sizes, boxed[starts]
