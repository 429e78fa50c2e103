# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Reading the head: copying what may change, under the lock, and decoding tiles from the copies, outside of it."""

from __future__ import annotations

import numpy as np
from numba import int32, int64, types, uint32, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import prefetch, words_at
from tsdb.kernels.registry import device, kernel
from tsdb.storage.codecs.gorilla_kernels import decode_chunk
from tsdb.storage.head.layout import CHUNK_WORDS, HEAD_TYPE, SEALED_HEADER_WORDS
from tsdb.storage.head.sealed_kernels import before, is_sound

U32, U64, I32, I64 = uint32[::1], uint64[::1], int32[::1], int64[::1]
LOW32 = np.uint64(0xFFFFFFFF)


@kernel(int64(I32, HEAD_TYPE, U64, int64, int64, U64, U64, I64, U32, I64, U64))
def copy_open(slots: NDArray[np.int32], records, chunks: NDArray[np.uint64], mint: int, maxt: int,
              chains: NDArray[np.uint64], heads: NDArray[np.uint64], first_ts: NDArray[np.int64],
              counts: NDArray[np.uint32], word_offset: NDArray[np.int64], words: NDArray[np.uint64]) -> int:
    """Copies what may change of n slots. Call it under the head's lock.

    `chains` u64[w] are addresses of the windows' u64[slots] of newest chunks, copied to `heads` u64[w * n]. Open
    chunks that touch mint..maxt (ms) are copied to `words` u64[n * CHUNK_WORDS + 1] at `word_offset` i64[n], with
    `first_ts` i64[n] and `counts` u32[n]; other slots get count 0. Returns the words written.
    """
    n = slots.size
    for w in range(chains.size):
        for i in range(n):
            chain = words_at(chains[w] + np.uint64(slots[i]) * np.uint64(8), 1)
            heads[w * n + i] = chain[0]
    at = 0
    for i in range(n):
        if i + 12 < n:
            prefetch(records, np.int64(slots[i + 12]))
            prefetch(chunks, np.int64(slots[i + 12]) * CHUNK_WORDS)
        record = records[np.int64(slots[i])]
        word_offset[i] = at
        first_ts[i] = record.first_ts
        counts[i] = np.uint32(0)
        if record.count > 0 and record.first_ts <= maxt and record.last_ts >= mint:
            counts[i] = record.count
            used = (np.int64(record.bits) + 63) >> 6
            source = np.int64(slots[i]) * CHUNK_WORDS
            for k in range(used):
                words[at + k] = chunks[source + k]
            at += used
    words[at] = np.uint64(0)
    return at


@kernel(types.void(int64, int64, int64, U64, U64, types.boolean[::1], U32, I64))
def count_samples(n: int, mint: int, maxt: int, heads: NDArray[np.uint64], addresses: NDArray[np.uint64],
                  inside: NDArray[np.bool_], counts: NDArray[np.uint32], out: NDArray[np.int64]) -> None:
    """How many samples the chunks of n rows hold that touch mint..maxt (ms), `out` i64[n]: those of windows, and
    the open chunk (`counts`). A window that is `inside` (bool[w]) the times as a whole needs no walk."""
    for i in range(n):
        out[i] = np.int64(counts[i])
    for w in range(addresses.size):
        base = addresses[w]
        for i in range(n):
            head = heads[w * n + i]
            if head == 0:
                continue
            if inside[w]:
                out[i] += np.int64(words_at(base + head, SEALED_HEADER_WORDS)[4] >> np.uint64(40))
                continue
            while head != 0:
                header = words_at(base + head, SEALED_HEADER_WORDS)
                begins = np.int64(header[2])
                if begins <= maxt:
                    if begins + np.int64(header[3] & LOW32) < mint:
                        break
                    out[i] += np.int64(header[0] >> np.uint64(48))
                head = before(header, head)


@kernel(int64(int64, int64, int64, int64, int64, U64, U64, I64, U32, I64, U64, U64, I64, I64, I64, U64))
def decode_rows(n: int, first: int, end: int, mint: int, maxt: int, heads: NDArray[np.uint64],
                addresses: NDArray[np.uint64], first_ts: NDArray[np.int64], counts: NDArray[np.uint32],
                word_offset: NDArray[np.int64], words: NDArray[np.uint64], stack: NDArray[np.uint64],
                out_begin: NDArray[np.int64],
                out_end: NDArray[np.int64], out_ts: NDArray[np.int64], out_values: NDArray[np.uint64]) -> int:
    """Decodes the rows first:end of n captured rows, samples with mint <= ts <= maxt (ms), in time order.

    Windows (`addresses` u64[w], `heads` u64[w * n]) are in time order. `out_begin` and `out_end` i64[end - first];
    `out_ts` and `out_values` have room for what `count_samples` says of these rows. `stack` u64[65536] is scratch: a
    file's chunks of one series are numbered with 16 bits. Returns -1, or the first row that has a damaged chunk, or
    whose chunks hold more samples than was foretold: a file changed under us.
    """
    position = 0
    for row in range(first, end):
        out_begin[row - first] = position
        for w in range(addresses.size):
            head = heads[w * n + row]
            depth = 0
            base = addresses[w]
            while head != 0:
                header = words_at(base + head, SEALED_HEADER_WORDS)
                begins = np.int64(header[2])
                if begins <= maxt:
                    if begins + np.int64(header[3] & LOW32) < mint:
                        break
                    if depth == stack.size:
                        return row
                    stack[depth] = head
                    depth += 1
                head = before(header, head)
            while depth > 0:
                depth -= 1
                header = words_at(base + stack[depth], SEALED_HEADER_WORDS + CHUNK_WORDS + 1)
                if position + np.int64(header[0] >> np.uint64(48)) > out_ts.size or not is_sound(base + stack[depth]):
                    return row
                position = decode_chunk(header[SEALED_HEADER_WORDS:], np.int64(header[0] >> np.uint64(48)),
                                        np.int64(header[2]), mint, maxt, out_ts, out_values, position)
        if counts[row] > 0:
            if position + np.int64(counts[row]) > out_ts.size:
                return row
            position = decode_chunk(words[word_offset[row] :], np.int64(counts[row]), first_ts[row], mint, maxt,
                                    out_ts, out_values, position)
        out_end[row - first] = position
    return -1


@device
def covered(first: int, past: int, deleted_mint: NDArray[np.int64], deleted_maxt: NDArray[np.int64], mint: int,
            maxt: int) -> bool:
    """Whether one of the tombstones first:past has all of mint..maxt (ms, inclusive)."""
    for k in range(first, past):
        if deleted_mint[k] <= mint and maxt <= deleted_maxt[k]:
            return True
    return False


@kernel(types.void(I32, int64, int64, HEAD_TYPE, U64, U64, I64, I64, I64, I64, types.boolean[::1]), stage="later")
def find_touching(slots: NDArray[np.int32], mint: int, maxt: int, records, addresses: NDArray[np.uint64],
                  chains: NDArray[np.uint64], first: NDArray[np.int64], past: NDArray[np.int64],
                  deleted_mint: NDArray[np.int64], deleted_maxt: NDArray[np.int64], out: NDArray[np.bool_]) -> None:
    """Which of n slots have a chunk that touches mint..maxt (ms), in the head or in the windows given (`addresses` and
    `chains` u64[w]), and that none of their tombstones covers, to `out` bool[n]. Tombstones of slot i are at
    first[i]:past[i] of `deleted_mint` and `deleted_maxt` (ms, inclusive). Call it under the head's lock."""
    for i in range(slots.size):
        slot = slots[i]
        record = records[np.int64(slot)]
        keep = (record.count > 0 and record.first_ts <= maxt and record.last_ts >= mint
                and not covered(first[i], past[i], deleted_mint, deleted_maxt, record.first_ts, record.last_ts))
        w = 0
        while not keep and w < addresses.size:
            at = words_at(chains[w] + np.uint64(slot) * np.uint64(8), 1)[0]
            while at != 0:
                header = words_at(addresses[w] + at, SEALED_HEADER_WORDS)
                begins = np.int64(header[2])
                ends = begins + np.int64(header[3] & LOW32)
                if ends < mint:
                    break
                if begins <= maxt and not covered(first[i], past[i], deleted_mint, deleted_maxt, begins, ends):
                    keep = True
                    break
                at = before(header, at)
            w += 1
        out[i] = keep
