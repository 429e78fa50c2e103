# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Sorting texts by their bytes, and fingerprints of label sets (BLAKE2b, RFC 7693)."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u64, store_u64
from tsdb.kernels.registry import device, kernel

BYTES = types.Array(uint8, 1, "C", readonly=True)
U8, U32, U64, I32, I64 = uint8[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]

STEP = 7
"""Bytes of a text that are compared at once; the eighth says how many there were."""
EIGHT = np.uint64(8)
BYTE = np.uint64(0xFF)


@device
def big_endian(word: int) -> int:
    """The eight bytes of a u64 turned around."""
    word = (word & np.uint64(0x00FF00FF00FF00FF)) << EIGHT | (word >> EIGHT) & np.uint64(0x00FF00FF00FF00FF)
    word = ((word & np.uint64(0x0000FFFF0000FFFF)) << np.uint64(16)
            | (word >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF))
    return word << np.uint64(32) | word >> np.uint64(32)


@device
def piece_of(data: NDArray[np.uint8], offset: int, length: int, depth: int) -> int:
    """The next seven bytes of a text as a number that sorts as they do; its last byte tells how many there are, 8 for
    more than seven: a text that ends comes before one that goes on."""
    left = length - depth
    if left <= 0:
        return np.uint64(0)
    word = big_endian(load_u64(data, offset + depth))
    if left >= STEP:
        return word >> EIGHT << EIGHT | np.uint64(min(left, 8))
    unused = np.uint64(64 - 8 * left)
    return word >> unused << unused | np.uint64(left)


@kernel(int64(BYTES, I64, I64, I32, U64, int64[:, ::1]), stage="later")
def sort_texts(data: NDArray[np.uint8], offset: NDArray[np.int64], length: NDArray[np.int64],
               order: NDArray[np.int32], pieces: NDArray[np.uint64], stack: NDArray[np.int64]) -> int:
    """Sorts the numbers `order` (i32[n], in place) of the texts data[offset : offset + length] (i64) by their bytes, a
    prefix first. Eight bytes behind each text are readable; `pieces` u64[n] and `stack` i64[256, 3] are scratch.
    Returns how many texts are there more than once.

    Multikey quicksort (Bentley and Sedgewick 1997), seven bytes at a time.
    """
    n = order.size
    for i in range(n):
        pieces[i] = piece_of(data, offset[order[i]], length[order[i]], 0)
    top = 1
    stack[0, 0], stack[0, 1], stack[0, 2] = 0, n, 0
    twice = 0
    chance = np.uint64(n)
    while top > 0:
        top -= 1
        low, high, depth = stack[top, 0], stack[top, 1], stack[top, 2]
        if high - low < 2:
            continue
        chance = chance * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        size = np.uint64(high - low)
        a = pieces[low + np.int64((chance >> np.uint64(33)) % size)]
        b = pieces[low + np.int64((chance >> np.uint64(20)) % size)]
        c = pieces[low + (high - low) // 2]
        pivot = max(min(a, b), min(max(a, b), c))
        less, i, more = low, low, high  # pieces below the pivot end at `less`, above it begin at `more`
        while i < more:
            found = pieces[i]
            if found == pivot:
                i += 1
            elif found < pivot:
                pieces[i], pieces[less] = pieces[less], found
                order[i], order[less] = order[less], order[i]
                less += 1
                i += 1
            else:
                more -= 1
                pieces[i], pieces[more] = pieces[more], found
                order[i], order[more] = order[more], order[i]
        if pivot & BYTE == EIGHT:
            if more - less > 1:
                for j in range(less, more):
                    pieces[j] = piece_of(data, offset[order[j]], length[order[j]], depth + STEP)
        else:
            twice += more - less - 1
        first = top  # the largest part at the bottom: the stack stays below 2 log2(n)
        stack[top, 0], stack[top, 1], stack[top, 2] = low, less, depth
        top += 1
        stack[top, 0], stack[top, 1], stack[top, 2] = more, high, depth
        top += 1
        if pivot & BYTE == EIGHT:
            stack[top, 0], stack[top, 1], stack[top, 2] = less, more, depth + STEP
            top += 1
        for j in range(first + 1, top):
            if stack[j, 1] - stack[j, 0] > stack[first, 1] - stack[first, 0]:
                for k in range(3):
                    stack[j, k], stack[first, k] = stack[first, k], stack[j, k]
    return twice


@kernel(types.void(BYTES, I64, I64, U8), stage="later")
def copy_texts(data: NDArray[np.uint8], offset: NDArray[np.int64], ends: NDArray[np.int64],
               out: NDArray[np.uint8]) -> None:
    """Copies n texts, which begin at `offset` i64[n] of the data, one after the other to ends[i]:ends[i + 1] of
    `out` (i64[n + 1])."""
    for i in range(offset.size):
        for k in range(ends[i + 1] - ends[i]):
            out[ends[i] + k] = data[offset[i] + k]


IV = np.array(
    [0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
     0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179], np.uint64)
_SIGMA = np.array(
    [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
     [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
     [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
     [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
     [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0]],
    np.int64)
PLACES = np.concatenate((_SIGMA, _SIGMA[:2])) * 8
"""Byte offsets of the message words, i64[12, 16]."""


@device
def mix(a: int, b: int, c: int, d: int, x: int, y: int) -> tuple[int, int, int, int]:
    """G of RFC 7693."""
    a = a + b + x
    d = d ^ a
    d = d >> np.uint64(32) | d << np.uint64(32)
    c = c + d
    b = b ^ c
    b = b >> np.uint64(24) | b << np.uint64(40)
    a = a + b + y
    d = d ^ a
    d = d >> np.uint64(16) | d << np.uint64(48)
    c = c + d
    b = b ^ c
    b = b >> np.uint64(63) | b << np.uint64(1)
    return a, b, c, d


@device
def blake2b_128(data: NDArray[np.uint8], size: int, state: NDArray[np.uint64]) -> None:
    """BLAKE2b of data[:size] with 16 bytes of output, to state[0:2]; `state` u64[8]. Behind the data are zeros up to a
    multiple of 128, at least 128 bytes in all."""
    for i in range(8):
        state[i] = IV[i]
    state[0] ^= np.uint64(0x01010010)
    at = 0
    last = False
    while not last:
        last = at + 128 >= size
        v0, v1, v2, v3 = state[0], state[1], state[2], state[3]
        v4, v5, v6, v7 = state[4], state[5], state[6], state[7]
        v8, v9, v10, v11 = IV[0], IV[1], IV[2], IV[3]
        v12, v13, v14, v15 = IV[4] ^ np.uint64(min(at + 128, size)), IV[5], IV[6], IV[7]
        if last:
            v14 = ~v14
        for r in range(12):
            v0, v4, v8, v12 = mix(v0, v4, v8, v12, load_u64(data, at + PLACES[r, 0]), load_u64(data, at + PLACES[r, 1]))
            v1, v5, v9, v13 = mix(v1, v5, v9, v13, load_u64(data, at + PLACES[r, 2]), load_u64(data, at + PLACES[r, 3]))
            v2, v6, v10, v14 = mix(v2, v6, v10, v14, load_u64(data, at + PLACES[r, 4]),
                                   load_u64(data, at + PLACES[r, 5]))
            v3, v7, v11, v15 = mix(v3, v7, v11, v15, load_u64(data, at + PLACES[r, 6]),
                                   load_u64(data, at + PLACES[r, 7]))
            v0, v5, v10, v15 = mix(v0, v5, v10, v15, load_u64(data, at + PLACES[r, 8]),
                                   load_u64(data, at + PLACES[r, 9]))
            v1, v6, v11, v12 = mix(v1, v6, v11, v12, load_u64(data, at + PLACES[r, 10]),
                                   load_u64(data, at + PLACES[r, 11]))
            v2, v7, v8, v13 = mix(v2, v7, v8, v13, load_u64(data, at + PLACES[r, 12]),
                                  load_u64(data, at + PLACES[r, 13]))
            v3, v4, v9, v14 = mix(v3, v4, v9, v14, load_u64(data, at + PLACES[r, 14]),
                                  load_u64(data, at + PLACES[r, 15]))
        state[0] ^= v0 ^ v8
        state[1] ^= v1 ^ v9
        state[2] ^= v2 ^ v10
        state[3] ^= v3 ^ v11
        state[4] ^= v4 ^ v12
        state[5] ^= v5 ^ v13
        state[6] ^= v6 ^ v14
        state[7] ^= v7 ^ v15
        at += 128


@device
def varint_size(number: int) -> int:
    size = 1
    while number > 0x7F:
        number >>= 7
        size += 1
    return size


@device
def put_varint(out: NDArray[np.uint8], at: int, number: int) -> int:
    while number > 0x7F:
        out[at] = np.uint8(number & 0x7F | 0x80)
        number >>= 7
        at += 1
    out[at] = np.uint8(number)
    return at + 1


@device
def put_text(out: NDArray[np.uint8], at: int, field: int, data: NDArray[np.uint8], start: int, size: int) -> int:
    out[at] = np.uint8(field)
    at = put_varint(out, at + 1, size)
    for i in range(size):
        out[at + i] = data[start + i]
    return at + size


@kernel(int64(BYTES, I64, U32, U32, U32, U32, U8, U64, U8), stage="later")
def fingerprints(symbols: NDArray[np.uint8], symbol_offset: NDArray[np.int64], pair_name: NDArray[np.uint32],
                 pair_value: NDArray[np.uint32], label_offset: NDArray[np.uint32], label_pair: NDArray[np.uint32],
                 key: NDArray[np.uint8], state: NDArray[np.uint64], out: NDArray[np.uint8]) -> int:
    """BLAKE2b, 16 bytes, of the canonical key (`tsdb.model.labels`) of each of n series, into `out` u8[16 * n].

    Texts are symbols[symbol_offset[i] : symbol_offset[i + 1]] (i64); labels as in the index. `key` u8[] is scratch: the
    longest key and 256 bytes; `state` u64[8] too. Returns the length of the longest key.
    """
    longest = 0
    for row in range(label_offset.size - 1):
        at = 0
        for k in range(np.int64(label_offset[row]), np.int64(label_offset[row + 1])):
            pair = np.int64(label_pair[k])
            name = np.int64(pair_name[pair])
            value = np.int64(pair_value[pair])
            name_size = symbol_offset[name + 1] - symbol_offset[name]
            value_size = symbol_offset[value + 1] - symbol_offset[value]
            key[at] = np.uint8(0x0A)
            at = put_varint(key, at + 1,
                            2 + varint_size(name_size) + name_size + varint_size(value_size) + value_size)
            at = put_text(key, at, 0x0A, symbols, symbol_offset[name], name_size)
            at = put_text(key, at, 0x12, symbols, symbol_offset[value], value_size)
        longest = max(longest, at)
        for i in range(at, max((at + 127) // 128 * 128, 128)):
            key[i] = np.uint8(0)
        blake2b_128(key, at, state)
        store_u64(out, row * 16, state[0])
        store_u64(out, row * 16 + 8, state[1])
    return longest
