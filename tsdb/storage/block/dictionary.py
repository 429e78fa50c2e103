"""Symbols, pairs and series in the order of a block: all sorted by bytes, so that ids order as their texts do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block.layout import FINGERPRINT_BYTES, MAX_ITEMS, narrowest, shortest
from tsdb.storage.block.source import SeriesLabels
from tsdb.storage.block.text_kernels import copy_texts, fingerprints, sort_texts
from tsdb.storage.head import index_kernels


@dataclass(frozen=True, slots=True)
class Dictionary:
    """Series sorted by labels (`tsdb.model.label_order`), with those symbols and pairs that they have."""

    order: NDArray[np.int32]
    """i32[n]: which row of the source each series is"""
    symbol_offset: NDArray[np.int64]
    """i64[symbols + 1]"""
    symbol_bytes: NDArray[np.uint8]
    """u8[], without what pads it"""
    pair_name: NDArray[np.uint32]
    """u32[pairs]"""
    pair_value: NDArray[np.uint32]
    label_offset: NDArray[np.uint32]
    """u32[n + 1]"""
    label_pair: NDArray[np.uint32]
    """u32[]"""

    def sections(self) -> dict[str, NDArray[np.generic]]:
        """The sections of the index about symbols, names, pairs and series."""
        n, pairs = self.order.size, self.pair_name.size
        names, first = np.unique(self.pair_name, return_index=True)
        counts = np.diff(self.label_offset).astype(np.uint16)
        offsets = np.zeros(pairs + 2, np.int64)
        posting = np.empty(self.label_pair.size, np.int32)
        index_kernels.build_postings(np.arange(n, dtype=np.int32), self.label_pair,
                                     self.label_offset[:-1].astype(np.uint64), counts, offsets, posting)
        return {
            "symbol_offset": self.symbol_offset.astype(narrowest(self.symbol_bytes.size)),
            "symbol_bytes": self.symbol_bytes,
            "name_symbol": names.astype(np.uint32),
            "name_pair": np.append(first, pairs).astype(np.uint32),
            "pair_name": self.pair_name,
            "pair_value": self.pair_value,
            "posting_offset": offsets[:-1].astype(np.uint32),
            "posting": posting.astype(shortest(n)),
            "label_offset": self.label_offset,
            "label_pair": self.label_pair.astype(shortest(pairs)),
            "fingerprint": self._fingerprints(),
        }

    def _fingerprints(self) -> NDArray[np.uint8]:
        out = np.empty(self.order.size * FINGERPRINT_BYTES, np.uint8)
        if self.order.size:
            sizes = np.diff(self.symbol_offset)
            largest = sizes[self.pair_name] + sizes[self.pair_value] + 32  # a label of a key, at most
            total = np.concatenate(([0], np.cumsum(largest[self.label_pair])))
            ends = self.label_offset.astype(np.int64)
            key = np.empty(int((total[ends[1:]] - total[ends[:-1]]).max()) + 256, np.uint8)
            fingerprints(read_only(self.symbol_bytes), self.symbol_offset, self.pair_name, self.pair_value,
                         self.label_offset, self.label_pair, key, np.empty(8, np.uint64), out)
        return out


def sort_series(series: SeriesLabels) -> Dictionary:
    """Raises ValueError for what is twice in the source, and for more labels than a block can have."""
    if series.label_pair.size > MAX_ITEMS:
        raise ValueError(f"{len(series)} series with {series.label_pair.size} labels are too many for one block")
    pairs = _used(series.pair_name.size, series.label_pair)
    names, values = series.pair_name[pairs], series.pair_value[pairs]
    symbols = _used(series.symbol_length.size, names, values)
    offset = series.symbol_offset[symbols].astype(np.int64)
    length = series.symbol_length[symbols].astype(np.int64)
    order = _sorted(series.symbol_bytes, offset, length, "texts")
    rank = np.zeros(series.symbol_length.size, np.uint32)
    rank[symbols[order]] = np.arange(order.size, dtype=np.uint32)
    symbol_offset, symbol_bytes = _gathered(series.symbol_bytes, offset[order], length[order])

    by_text = rank[names].astype(np.uint64) << np.uint64(32) | rank[values]
    pair_order = np.argsort(by_text, kind="stable")
    by_text = by_text[pair_order]
    if (by_text[1:] == by_text[:-1]).any():
        raise ValueError("the source of a block has a label pair twice")
    pair_rank = np.zeros(series.pair_name.size, np.uint32)
    pair_rank[pairs[pair_order]] = np.arange(pairs.size, dtype=np.uint32)

    labels = pair_rank[series.label_pair]
    spelled = np.zeros(labels.size * 4 + 8, np.uint8)  # as bytes that sort as label sets do
    spelled[: labels.size * 4] = labels.astype(">u4").view(np.uint8)
    counts = np.diff(series.label_offset)
    rows = _sorted(spelled, series.label_offset[:-1] * 4, counts * 4, "label sets")
    label_offset, spelled = _gathered(spelled, series.label_offset[rows] * 4, counts[rows] * 4)
    return Dictionary(
        rows, symbol_offset, symbol_bytes, (by_text >> np.uint64(32)).astype(np.uint32), by_text.astype(np.uint32),
        (label_offset // 4).astype(np.uint32), spelled.view(">u4").astype(np.uint32),
    )


def take_series(series: SeriesLabels, rows: NDArray[np.int32]) -> SeriesLabels:
    """The given rows of a source's series."""
    counts = np.diff(series.label_offset)[rows]
    offsets = np.concatenate(([0], np.cumsum(counts)))
    source = np.repeat(series.label_offset[rows] - offsets[:-1], counts) + np.arange(int(offsets[-1]))
    return SeriesLabels(series.symbol_bytes, series.symbol_offset, series.symbol_length, series.pair_name,
                        series.pair_value, offsets, series.label_pair[source])


def read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same bytes as kernels want those of files."""
    view = array.view()
    view.flags.writeable = False
    return view


def _used(size: int, *ids: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Which of `size` ids there are, sorted."""
    used = np.zeros(size, np.bool_)
    for each in ids:
        used[each] = True
    return np.flatnonzero(used)


def _sorted(data: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.int64], what: str,
            ) -> NDArray[np.int32]:
    order = np.arange(offset.size, dtype=np.int32)
    twice = sort_texts(read_only(data), offset, length, order, np.empty(offset.size, np.uint64),
                       np.empty((256, 3), np.int64))
    if twice:
        raise ValueError(f"the source of a block has {twice} {what} twice")
    return order


def _gathered(data: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.int64],
              ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """(offsets i64[n + 1], bytes) of texts, one after the other."""
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(length)))
    out = np.empty(int(ends[-1]), np.uint8)
    copy_texts(read_only(data), offset, ends, out)
    return ends, out
