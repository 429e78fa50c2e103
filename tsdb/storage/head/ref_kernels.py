# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""From refs to slots. Refs that differ in their low bits only share a line of slots, which is found by a hash table."""

from __future__ import annotations

import numpy as np
from numba import int32, types, uint64
from numpy.typing import NDArray

from tsdb.kernels.registry import device, kernel

LINE_BITS = 4
LINE = 1 << LINE_BITS
"""Slots of a line, i32, each plus 1, 0 for none: a cache line's worth."""
FOUR = np.uint64(LINE_BITS)
LOW = np.uint64(LINE - 1)
THIRTY_TWO = np.uint64(32)
SCATTER = np.uint64(0x9E3779B97F4A7C15)

U64, I32 = uint64[::1], int32[::1]
READ64 = types.Array(uint64, 1, "C", readonly=True)


@device
def line_of(block: int, blocks: NDArray[np.uint64], lines: NDArray[np.int32]) -> tuple[int, int]:
    """(the line of a block (ref >> LINE_BITS, u64), or -1; its place in the table, or where it would be)."""
    mask = np.uint64(blocks.size - 1)
    at = (block * SCATTER >> THIRTY_TWO) & mask
    while blocks[np.int64(at)] != 0:
        if blocks[np.int64(at)] == block + np.uint64(1):
            return np.int64(lines[np.int64(at)]), np.int64(at)
        at = (at + np.uint64(1)) & mask
    return np.int64(-1), np.int64(at)


@device
def slot_of(ref: int, blocks: NDArray[np.uint64], lines: NDArray[np.int32], slots: NDArray[np.int32]) -> int:
    """The slot of a ref (u64), or -1."""
    line, _ = line_of(ref >> FOUR, blocks, lines)
    if line < 0:
        return np.int64(-1)
    return np.int64(slots[line * LINE + np.int64(ref & LOW)]) - 1


@kernel(types.void(READ64, I32, U64, I32, I32))
def add_refs(refs: NDArray[np.uint64], slots: NDArray[np.int32], blocks: NDArray[np.uint64], lines: NDArray[np.int32],
             slots_of_lines: NDArray[np.int32]) -> None:
    """Puts refs u64[n] with their slots i32[n] into an empty table that has room for them: `blocks` u64[power of two]
    (block + 1, 0: empty), `lines` i32[same], and `slots_of_lines` i32[LINE * lines]."""
    used = 0
    for i in range(refs.size):
        block = refs[i] >> FOUR
        line, at = line_of(block, blocks, lines)
        if line < 0:
            line = used
            used += 1
            blocks[at] = block + np.uint64(1)
            lines[at] = np.int32(line)
        slots_of_lines[line * LINE + np.int64(refs[i] & LOW)] = slots[i] + 1


@kernel(types.void(READ64, U64, I32, I32, I32))
def find_refs(refs: NDArray[np.uint64], blocks: NDArray[np.uint64], lines: NDArray[np.int32],
              slots_of_lines: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Slots of refs u64[n] into `out` i32[n], -1 for those that are not in the table."""
    last = np.uint64(0)
    line = np.int64(-1)
    for i in range(refs.size):
        block = refs[i] >> FOUR
        if i == 0 or block != last:
            line, _ = line_of(block, blocks, lines)
            last = block
        slot = np.int32(-1)
        if line >= 0:
            slot = slots_of_lines[line * LINE + np.int64(refs[i] & LOW)] - np.int32(1)
        out[i] = slot
