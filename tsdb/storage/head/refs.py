"""Which slot a ref means: needed while files are read that name series by ref, and dropped then."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.head import ref_kernels
from tsdb.storage.head.ref_kernels import LINE, LINE_BITS


class Refs:
    """An immutable table, as large as there are refs in it, however great they are: 5 bytes for each of many in a row.

    `blocks`, `lines` and `slots` are for kernels: `ref_kernels.slot_of`."""

    def __init__(self, refs: NDArray[np.uint64], slots: NDArray[np.int32]) -> None:
        """refs u64[n] with their slots i32[n]; of a ref that is there twice, the last one counts."""
        blocks = refs >> np.uint64(LINE_BITS)
        most = int(np.count_nonzero(blocks[1:] != blocks[:-1])) + 1
        self.blocks = np.zeros(1 << (2 * most).bit_length(), np.uint64)
        self.lines = np.zeros(self.blocks.size, np.int32)
        self.slots = np.zeros(most * LINE, np.int32)
        ref_kernels.add_refs(refs, slots, self.blocks, self.lines, self.slots)

    def find(self, refs: NDArray[np.uint64]) -> NDArray[np.int32]:
        """The slot of each ref u64[n], i32[n]; -1 where it is unknown."""
        out = np.empty(refs.size, np.int32)
        ref_kernels.find_refs(np.ascontiguousarray(refs), self.blocks, self.lines, self.slots, out)
        return out
