"""What a block is written from: label sets, and chunks that are already encoded.

The head gives its own tables and the addresses of sealed chunks in its windows' files; compaction gives merged tables
and the addresses of chunks in the blocks' files, or of those it has encoded anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.starts.runs import StartRuns


@dataclass(frozen=True, slots=True)
class SeriesLabels:
    """Label sets of n series in any order, each once. Tables may hold texts and pairs that no series has."""

    symbol_bytes: NDArray[np.uint8]
    """u8[]: texts (UTF-8), with 8 readable bytes behind each"""
    symbol_offset: NDArray[np.integer[Any]]
    """[symbols], any integer type"""
    symbol_length: NDArray[np.integer[Any]]
    """[symbols]. Each text once."""
    pair_name: NDArray[np.uint32]
    """u32[pairs]: symbols. Each pair once."""
    pair_value: NDArray[np.uint32]
    """u32[pairs]"""
    label_offset: NDArray[np.int64]
    """i64[n + 1]: labels of series i are at label_offset[i]:label_offset[i + 1]"""
    label_pair: NDArray[np.uint32]
    """u32[]: pairs, those of a series sorted by the bytes of the name, no name twice, no empty value"""

    def __len__(self) -> int:
        return int(self.label_offset.size) - 1


@dataclass(frozen=True, slots=True)
class Chunks:
    """All chunks of the next m series, k in total; those of a series in time order and without overlap."""

    series: NDArray[np.integer[Any]]
    """[m]: how many chunks each series has; 0: it will not be in the block"""
    mint: NDArray[np.int64]
    """i64[k], ms, of the first sample"""
    maxt: NDArray[np.int64]
    """i64[k], ms, of the last sample"""
    samples: NDArray[np.int64]
    """i64[k]: 1 … 65,535"""
    form: NDArray[np.uint8]
    """u8[k]: `layout.form`"""
    address: NDArray[np.uint64]
    """u64[k]: where in memory the encoded bytes are: in mapped files, or in arrays"""
    length: NDArray[np.int64]
    """i64[k]: bytes, 1 … 1 MiB. Of Gorilla chunks: those that have used bits."""
    owner: object = None
    """Whatever keeps the memory alive."""


@dataclass(frozen=True, slots=True)
class TimeColumns:
    """The k columns of times that dense chunks name by their numbers."""

    samples: NDArray[np.int64]
    """i64[k]: 1 … 65,535"""
    address: NDArray[np.uint64]
    """u64[k]: where in memory the encoded bytes are"""
    length: NDArray[np.int64]
    """i64[k]: bytes, 1 … 1 MiB"""
    owner: object = None
    """Whatever keeps the memory alive."""


class BlockSource(Protocol):
    """What goes into one block."""

    @property
    def mint(self) -> int:
        """ms: the block's range is mint <= ts < maxt, whether there are samples or not."""
        ...

    @property
    def maxt(self) -> int: ...

    def series(self) -> SeriesLabels: ...

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns | StartRuns]:
        """The chunks of `series()` in the given order (rows, i32[n]), in pieces of some MiB, which are not kept; behind
        them, once, the columns that they name, if they do. Start times, if there are any, come behind the chunks of
        their series, for all those that came since the last start times; by place in the given order."""
        ...
