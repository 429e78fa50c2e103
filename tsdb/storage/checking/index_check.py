"""Whether the sections of a block's index say what they should, and the same: beyond their checksums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.storage.block import Block
from tsdb.storage.block.derived import fingerprints_of
from tsdb.storage.block.layout import CHUNKS_HEADER_BYTES, FINGERPRINT_BYTES, HISTOGRAMS, OPTIONAL
from tsdb.storage.block.sections import Index, without_remedy


def index_problems(block: Block) -> Iterator[str]:
    """What is wrong, in words; at most one thing with texts and pairs, or else with series, and one with chunks. All
    checksums must be right."""
    index = block.index
    texts = list(_first(_text_problems(index)))
    yield from texts or _first(_series_problems(index))
    yield from _first(_chunk_problems(block))
    yield from _first(_start_problems(block))
    stats = block.meta.stats
    there = (int(index["chunk_samples"].all().sum(dtype=np.int64)), index.series, index.chunks)
    if there != (stats.samples, stats.series, stats.chunks):
        yield (f"meta.json says {stats.samples} samples, {stats.series} series and {stats.chunks} chunks, the index "
               f"has {there[0]}, {there[1]} and {there[2]}")
    samples, form = index["chunk_samples"].all(), index["chunk_form"].all()
    histograms = int(samples[form == HISTOGRAMS].sum(dtype=np.int64))
    if histograms != stats.histograms:
        yield f"meta.json says {stats.histograms} histograms, the index has {histograms}"


def _first(problems: Iterator[str]) -> Iterator[str]:
    for problem in problems:
        yield problem
        return


def _text_problems(index: Index) -> Iterator[str]:
    offset = index["symbol_offset"].all().astype(np.int64)
    data = index["symbol_bytes"].all().tobytes()
    if not _is_table(offset, len(data)):
        yield "texts lie over each other, or beyond their end"
        return
    before = b""
    for number, (begin, end) in enumerate(zip(offset[:-1].tolist(), offset[1:].tolist(), strict=True)):
        text = data[begin:end]
        if number and text <= before:
            yield f"text {number} ({text[:40]!r}) does not come after the one before it"
            return
        before = text
    names, values = index["pair_name"].all(), index["pair_value"].all()
    symbols = offset.size - 1
    if max(names.max(initial=0), values.max(initial=0)) >= max(symbols, 1):
        yield "a label pair names a text that there is not"
        return
    pairs = names.astype(np.uint64) << np.uint64(32) | values
    if (pairs[1:] <= pairs[:-1]).any():
        yield "label pairs are not sorted"
    own, first = np.unique(names, return_index=True)
    if not np.array_equal(own, index["name_symbol"].all()) or not np.array_equal(
            np.append(first, names.size), index["name_pair"].all()):
        yield "the table of label names is not that of the label pairs"


def _series_problems(index: Index) -> Iterator[str]:
    labels, pair = index["label_offset"].all().astype(np.int64), index["label_pair"].all()
    pairs = index["pair_name"].size
    if not _is_table(labels, pair.size) or int(pair.max(initial=0)) >= max(pairs, 1):
        yield "labels of series lie beyond their end, or are pairs that there are not"
        return
    row = np.repeat(np.arange(labels.size - 1), np.diff(labels))
    if ((pair[1:] <= pair[:-1]) & (row[1:] == row[:-1])).any():
        yield "labels of a series are not sorted"
        return
    wrong = _first_unsorted(labels, pair)
    if wrong >= 0:
        yield f"series {wrong} does not come after the one before it"
        return
    posting_offset = index["posting_offset"].all().astype(np.int64)
    order = np.argsort(pair, kind="stable")
    counts = np.bincount(pair, minlength=pairs)
    if not np.array_equal(np.concatenate(([0], np.cumsum(counts))), posting_offset) or not np.array_equal(
            row[order], index["posting"].all()):
        yield "postings are not those of the series' labels: some queries find too few or wrong series"
        return
    found = fingerprints_of(index)
    stored = index["fingerprint"].all()
    if not np.array_equal(found, stored):
        at = int(np.flatnonzero(found != stored)[0]) // FINGERPRINT_BYTES
        yield f"the fingerprint of series {at} is not that of its labels: it is taken for another series"


def _chunk_problems(block: Block) -> Iterator[str]:
    index, meta = block.index, block.meta
    borders, offset = index["series_chunk"].all().astype(np.int64), index["chunk_offset"].all().astype(np.int64)
    if not _is_table(borders, index.chunks) or (np.diff(borders) == 0).any():
        yield "chunks do not belong to one series each, or a series has none"
        return
    if offset[0] != CHUNKS_HEADER_BYTES or (np.diff(offset) < 5).any():
        yield "chunks lie over each other"
    first = index["chunk_mint"].all().astype(np.int64) + meta.mint
    last = index["chunk_maxt"].all().astype(np.int64) + meta.mint
    if (first > last).any() or (index["chunk_samples"].all() == 0).any():
        yield "a chunk has no samples, or ends before it begins"
        return
    row = np.repeat(np.arange(borders.size - 1), np.diff(borders))
    if ((first[1:] <= last[:-1]) & (row[1:] == row[:-1])).any():
        yield "chunks of a series overlap, or are not in time order"
    if index.chunks and (int(first.min()) < meta.mint or int(last.max()) >= meta.maxt):
        yield "a chunk is outside of the times of the block: queries of these times do not find it"


def _start_problems(block: Block) -> Iterator[str]:
    try:
        firsts, offsets, data = (block.index[name].all() for name in OPTIONAL)
    except Corruption:
        return  # which is told elsewhere
    if not firsts.size:
        return
    if offsets.size != firsts.size + 1 or not _is_table(offsets.astype(np.int64), data.size) \
            or (firsts[1:] <= firsts[:-1]).any() or firsts[-1] >= len(block):
        yield "start times lie over each other, or are of series that there are not"
        return
    for piece, first in enumerate(firsts.tolist()):
        try:
            runs = block.starts(np.array([first], np.int32))
        except Corruption as problem:
            yield without_remedy(problem)
            return
        past = int(firsts[piece + 1]) if piece + 1 < firsts.size else len(block)
        same = runs.series[1:] == runs.series[:-1]
        if (not len(runs) or runs.series[0] != first or (np.diff(runs.series) < 0).any() or runs.series[-1] >= past
                or (same & (runs.ts[1:] <= runs.ts[:-1])).any()):
            yield "start times are not in the order of series and times"
            return
        if int(runs.ts.min()) < block.meta.mint or int(runs.ts.max()) >= block.meta.maxt:
            yield "a start time is of samples outside of the times of the block"
            return


def _is_table(offsets: NDArray[np.int64], end: int) -> bool:
    """Whether offsets begin at 0, do not fall, and end at `end`."""
    return bool(offsets.size and offsets[0] == 0 and offsets[-1] == end and (np.diff(offsets) >= 0).all())


def _first_unsorted(labels: NDArray[np.int64], pair: NDArray[np.uint32]) -> int:
    """The first series that is not greater than the one before it, or -1. Label sets are compared pair after pair."""
    sizes = np.diff(labels)
    open_rows = np.arange(1, sizes.size)
    for depth in range(int(sizes.max(initial=0)) + 1):
        if open_rows.size == 0:
            return -1
        mine, other = sizes[open_rows] > depth, sizes[open_rows - 1] > depth
        ids, before = np.full(open_rows.size, -1, np.int64), np.full(open_rows.size, -1, np.int64)
        ids[mine] = pair[labels[open_rows[mine]] + depth]
        before[other] = pair[labels[open_rows[other] - 1] + depth]
        wrong = (ids < before) | (~mine & ~other)  # both at their end: they are equal
        if wrong.any():
            return int(open_rows[wrong][0])
        open_rows = open_rows[ids == before]
    return -1
