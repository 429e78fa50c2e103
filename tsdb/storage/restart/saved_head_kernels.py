# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Series of the head into columns without gaps, and back into the head of another process."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint8, uint16, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.hash_kernels import hash_bytes, hash_pair
from tsdb.kernels.intrinsics import load_u64, prefetch, store_u64
from tsdb.kernels.registry import device, kernel
from tsdb.storage.head.layout import CHUNK_WORDS, HEAD_TYPE
from tsdb.storage.head.series_kernels import KEY_BYTES, LABELS, SYMBOL_BYTES
from tsdb.storage.head.table_kernels import put, size_class

U8, U16, U32, U64, I32, I64 = uint8[::1], uint16[::1], uint32[::1], uint64[::1], int32[::1], int64[::1]
READ8, READ16, READ32, READ64 = (types.Array(kind, 1, "C", readonly=True) for kind in (uint8, uint16, uint32, uint64))


@kernel(types.UniTuple(int64, 2)(I32, HEAD_TYPE, U64, U32, U64, U16, U32, HEAD_TYPE, U64, U16, U32), stage="later")
def pack(slots: NDArray[np.int32], records, chunks: NDArray[np.uint64], labels: NDArray[np.uint32],
         label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16], pair_number: NDArray[np.uint32],
         out_records, out_words: NDArray[np.uint64], out_counts: NDArray[np.uint16], out_labels: NDArray[np.uint32],
         ) -> tuple[int, int]:
    """Copies n series to the outputs: records HEAD[n], the used words of their open chunks u64[n * CHUNK_WORDS] one
    after the other, how many labels each has u16[n], and their pairs, as `pair_number` u32[pairs] numbers them. Returns
    (words, labels) written."""
    words = 0
    pairs = 0
    for i in range(slots.size):
        if i + 8 < slots.size:
            prefetch(records, np.int64(slots[i + 8]))
            prefetch(chunks, np.int64(slots[i + 8]) * CHUNK_WORDS)
        slot = np.int64(slots[i])
        record = records[slot]
        out_records[i] = record
        out_records[i].mark = np.uint64(0)
        if record.count > 0:
            for j in range((np.int64(record.bits) + 63) >> 6):
                out_words[words] = chunks[slot * CHUNK_WORDS + j]
                words += 1
        at = np.int64(label_offset[slot])
        count = np.int64(label_count[slot])
        out_counts[i] = np.uint16(count)
        for j in range(count):
            out_labels[pairs] = pair_number[labels[at + j]]
            pairs += 1
    return words, pairs


@kernel(types.void(READ64, READ8, READ32, I64, U8, U64, U32, U32, U64, U32, U32, U64))
def restore_names(secret: NDArray[np.uint64], texts: NDArray[np.uint8], lengths: NDArray[np.uint32],
                  counters: NDArray[np.int64], symbol_bytes: NDArray[np.uint8], symbol_offset: NDArray[np.uint64],
                  symbol_length: NDArray[np.uint32], symbol_uses: NDArray[np.uint32], symbol_table: NDArray[np.uint64],
                  pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32],
                  pair_table: NDArray[np.uint64]) -> None:
    """Gives an empty head its symbols, whose s texts stand one after the other, and fills the empty hash tables of
    symbols and of the p pairs that `pair_name` and `pair_value` [p] hold. The last four arrays of symbols and tables
    are those of `tsdb.storage.head.series_table`, `counters` too."""
    at = 0
    for i in range(lengths.size):
        length = np.int64(lengths[i])
        place = counters[SYMBOL_BYTES]
        for k in range(length):
            symbol_bytes[place + k] = texts[at + k]
        symbol_offset[i] = np.uint64(place)
        symbol_length[i] = np.uint32(length)
        _, units = size_class((length + 7) >> 3)
        counters[SYMBOL_BYTES] = place + units * 8
        put(symbol_table, hash_bytes(secret[0], secret[1], symbol_bytes, place, place + length), i)
        at += length
    for i in range(pair_name.size):
        symbol_uses[pair_name[i]] += np.uint32(1)
        symbol_uses[pair_value[i]] += np.uint32(1)
        put(pair_table, hash_pair(secret[0], secret[1], np.uint64(pair_name[i]), np.uint64(pair_value[i])), i)


@device
def put_length(out: NDArray[np.uint8], at: int, number: int) -> int:
    """A varint; the position behind it."""
    while number > 0x7F:
        out[at] = np.uint8(number & 0x7F | 0x80)
        number >>= 7
        at += 1
    out[at] = np.uint8(number)
    return at + 1


@device
def length_size(number: int) -> int:
    size = 1
    while number > 0x7F:
        number >>= 7
        size += 1
    return size


@device
def put_text(out: NDArray[np.uint8], at: int, field: int, data: NDArray[np.uint8], start: int, size: int) -> int:
    """A text as a field of a protobuf message; writes up to 7 bytes beyond what it returns."""
    out[at] = np.uint8(field)
    at = put_length(out, at + 1, size)
    for i in range(0, size, 8):
        store_u64(out, at + i, load_u64(data, start + i))
    return at + size


@kernel(types.void(int64, READ64, READ32, READ16, I64, U8, U64, U32, U32, U32, U32, U32, U64, U16, U8, U64, U32, U64))
def restore_series(start: int, secret: NDArray[np.uint64], pairs: NDArray[np.uint32], counts: NDArray[np.uint16],
                   counters: NDArray[np.int64],
                   symbol_bytes: NDArray[np.uint8], symbol_offset: NDArray[np.uint64],
                   symbol_length: NDArray[np.uint32],
                   pair_name: NDArray[np.uint32], pair_value: NDArray[np.uint32], pair_uses: NDArray[np.uint32],
                   labels: NDArray[np.uint32], label_offset: NDArray[np.uint64], label_count: NDArray[np.uint16],
                   key_bytes: NDArray[np.uint8], key_offset: NDArray[np.uint64], key_length: NDArray[np.uint32],
                   table: NDArray[np.uint64]) -> None:
    """Gives the n slots from `start` on their label lists (`counts` u16[n] labels each, whose `pairs` stand one after
    the other) and canonical keys (`tsdb.model.labels`), behind those that are there, and puts them into the hash table,
    which has room. The rest are arrays of `tsdb.storage.head.series_table`, names restored."""
    read = 0
    for i in range(counts.size):
        slot = start + i
        count = np.int64(counts[i])
        first = counters[LABELS]
        _, room = size_class(count)
        counters[LABELS] = first + room
        label_offset[slot] = np.uint64(first)
        label_count[slot] = np.uint16(count)
        begin = counters[KEY_BYTES]
        at = begin
        for k in range(count):
            pair = np.int64(pairs[read + k])
            labels[first + k] = np.uint32(pair)
            pair_uses[pair] += np.uint32(1)
            name = np.int64(pair_name[pair])
            value = np.int64(pair_value[pair])
            name_size = np.int64(symbol_length[name])
            value_size = np.int64(symbol_length[value])
            key_bytes[at] = np.uint8(0x0A)
            at = put_length(key_bytes, at + 1,
                            2 + length_size(name_size) + name_size + length_size(value_size) + value_size)
            at = put_text(key_bytes, at, 0x0A, symbol_bytes, np.int64(symbol_offset[name]), name_size)
            at = put_text(key_bytes, at, 0x12, symbol_bytes, np.int64(symbol_offset[value]), value_size)
        read += count
        key_offset[slot] = np.uint64(begin)
        key_length[slot] = np.uint32(at - begin)
        _, room = size_class((at - begin + 7) >> 3)
        counters[KEY_BYTES] = begin + room * 8
        put(table, hash_bytes(secret[0], secret[1], key_bytes, begin, at), slot)


@kernel(int64(int64, int64, READ64, HEAD_TYPE, U64))
def restore_chunks(start: int, end: int, words: NDArray[np.uint64], records, chunks: NDArray[np.uint64]) -> int:
    """Spreads used words, u64[], over the empty open chunks of the slots start:end, whose records are there. Returns
    how many chunks are open; -1 where words are missing."""
    at = 0
    opened = 0
    for slot in range(start, end):
        if records[slot].count > 0:
            used = (np.int64(records[slot].bits) + 63) >> 6
            if used > CHUNK_WORDS or at + used > words.size:
                return -1
            for j in range(used):
                chunks[slot * CHUNK_WORDS + j] = words[at + j]
            at += used
            opened += 1
    return opened
