# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""A window of the head as columns: labels of its series, and the sealed chunks of each in time order."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import crc32c
from tsdb.kernels.intrinsics import bytes_at, prefetch, words_at
from tsdb.kernels.registry import device, kernel
from tsdb.storage.codecs.gorilla_kernels import decode_chunk
from tsdb.storage.head.layout import CHUNK_BITS, CHUNK_WORDS, SEALED_HEADER_WORDS, WINDOW_HEADER_BYTES

U8, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]
LOW32 = np.uint64(0xFFFFFFFF)
LOW40 = np.uint64(0xFFFFFFFFFF)
SHORT = np.uint64(0xFFFF)


@kernel(types.void(I32, U32, U64, U16, I64, U32), stage="later")
def gather_label_pairs(slots: NDArray[np.int32], labels: NDArray[np.uint32], label_offset: NDArray[np.uint64],
                       label_count: NDArray[np.uint16], offsets: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
    """Label pairs of n slots of the series table: those of slot i to offsets[i]:offsets[i + 1] (i64[n + 1], given) of
    `out` u32[]."""
    for i in range(slots.size):
        source = np.int64(label_offset[slots[i]])
        for k in range(offsets[i + 1] - offsets[i]):
            out[offsets[i] + k] = labels[source + k]


@device
def sound(address: int, at: int, size: int) -> bool:
    """Whether there is a whole chunk at byte `at` of a window's file of `size` bytes."""
    if at < WINDOW_HEADER_BYTES or at % 8 != 0 or at + SEALED_HEADER_WORDS * 8 > size:
        return False
    header = words_at(address + np.uint64(at), SEALED_HEADER_WORDS)
    bits = np.int64((header[3] >> np.uint64(32)) & SHORT)
    end = SEALED_HEADER_WORDS * 8 + ((bits + 63) >> 6) * 8
    if bits < 64 or bits > CHUNK_BITS or at + end > size:
        return False
    return np.uint64(crc32c(np.uint32(0), bytes_at(address + np.uint64(at), end), 4, end)) == header[0] & LOW32


@kernel(types.UniTuple(int64, 4)(I32, U64, uint64, int64, I64), stage="later")
def count_chunks(slots: NDArray[np.int32], chain: NDArray[np.uint64], address: int, size: int,
                 counts: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """Checks the chunks of n slots in a window's file (`address`, `size` bytes; `chain` u64[slots]: where each slot's
    newest one is) and counts them to `counts` i64[n]. A damaged one hides those before it.

    Returns (chunks, damaged ones, least and greatest time (ms) of the others).
    """
    total = 0
    damaged = 0
    least = np.int64(0x7FFFFFFFFFFFFFFF)
    greatest = np.int64(-0x7FFFFFFFFFFFFFFF)
    for i in range(slots.size):
        if i + 8 < slots.size:
            prefetch(chain, np.int64(slots[i + 8]))
        at = np.int64(chain[slots[i]])
        count = 0
        while at != 0:
            if not sound(address, at, size):
                damaged += 1
                break
            header = words_at(address + np.uint64(at), SEALED_HEADER_WORDS)
            first = np.int64(header[2])
            least = min(least, first)
            greatest = max(greatest, first + np.int64(header[3] & LOW32))
            count += 1
            previous = np.int64(header[4] & LOW40)
            if previous >= at:
                damaged += 1
                break
            at = previous
        counts[i] = count
        total += count
    return total, damaged, least, greatest


@kernel(types.void(I32, U64, uint64, I64, I64, I64, I64, U64, I64, U8), stage="later")
def chunk_columns(slots: NDArray[np.int32], chain: NDArray[np.uint64], address: int, counts: NDArray[np.int64],
                  mint: NDArray[np.int64], maxt: NDArray[np.int64], samples: NDArray[np.int64],
                  where: NDArray[np.uint64], length: NDArray[np.int64], kind: NDArray[np.uint8]) -> None:
    """The chunks that `count_chunks` found, as columns [chunks] of `block.source.Chunks`, and their kinds in the head;
    those of a slot in time order."""
    past = 0
    for i in range(slots.size):
        past += counts[i]
        at = np.int64(chain[slots[i]])
        for k in range(past - 1, past - 1 - counts[i], -1):
            header = words_at(address + np.uint64(at), SEALED_HEADER_WORDS)
            mint[k] = np.int64(header[2])
            maxt[k] = mint[k] + np.int64(header[3] & LOW32)
            samples[k] = np.int64(header[0] >> np.uint64(48))
            where[k] = address + np.uint64(at + SEALED_HEADER_WORDS * 8)
            length[k] = (np.int64((header[3] >> np.uint64(32)) & SHORT) + 7) // 8
            kind[k] = np.uint8((header[0] >> np.uint64(32)) & np.uint64(0xFF))
            at = np.int64(header[4] & LOW40)


@kernel(int64(U64, I64, I64, I64, U64), stage="later")
def decode_sealed(where: NDArray[np.uint64], samples: NDArray[np.int64], mint: NDArray[np.int64],
                  ts: NDArray[np.int64], values: NDArray[np.uint64]) -> int:
    """Decodes sealed chunks one after the other, columns [chunks] of which `chunk_columns` gave: their samples to `ts`
    and `values`, which have room for them. How many."""
    position = np.int64(0)
    for k in range(where.size):
        position = decode_chunk(words_at(where[k], CHUNK_WORDS + 1), samples[k], mint[k], np.int64(-0x8000000000000000),
                                np.int64(0x7FFFFFFFFFFFFFFF), ts, values, position)
    return position
