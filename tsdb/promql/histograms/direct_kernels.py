# mypy: disable-error-code="call-overload,no-any-return,assignment,arg-type,operator,return-value"
"""A native histogram of a payload added to a row that has all of its buckets already, as nearly all do after a few
additions: no row is made of it, and runs of buckets are added in vectors. The result is that of `sum_kernels.add`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import exponential_bound, read_signed
from tsdb.histograms.row import (
    COUNT,
    COUNT_LOST,
    CUSTOM,
    HINT,
    POSITIVE,
    SCHEMA,
    SUM,
    SUM_LOST,
    WIDTH,
    ZERO_COUNT,
    ZERO_LOST,
    ZERO_THRESHOLD,
)
from tsdb.histograms.row_kernels import GAUGE, add_lossless, capacity
from tsdb.histograms.sum_kernels import UNKNOWN
from tsdb.kernels.intrinsics import bits_float, load_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import take_varint
from tsdb.model.native_histograms import CUSTOM_SCHEMA, FLOAT_FLAG, HEADER_BYTES, HINT_SHIFT

NOT_DONE = -1


@device
def add_directly(total: NDArray[np.float64], payload: NDArray[np.uint8], begin: int, limit: float) -> int:
    """Adds the histogram at `begin` of a payload, and returns its hint. NOT_DONE, and nothing was: its counts are
    integers, its bounds or zero bucket others, the row lacks a bucket, or a number is not below `limit`."""
    flags = payload[begin + 4]
    if flags & FLOAT_FLAG == 0 or np.int8(payload[begin + 5]) != total[SCHEMA]:
        return NOT_DONE
    if bits_float(load_u64(payload, begin + 8)) != total[ZERO_THRESHOLD]:
        return NOT_DONE
    counts = _where_counts_begin(total, payload, begin)
    if counts < 0:
        return NOT_DONE
    if limit < np.inf and not _are_below(limit, payload, begin, counts):
        return NOT_DONE
    add_lossless(total, SUM, SUM_LOST, bits_float(load_u64(payload, begin + 16)))
    add_lossless(total, COUNT, COUNT_LOST, bits_float(load_u64(payload, begin + 24)))
    add_lossless(total, ZERO_COUNT, ZERO_LOST, bits_float(load_u64(payload, begin + 32)))
    parts = capacity(total)
    at = begin + HEADER_BYTES
    end = np.int64(0)
    for side in range(2):
        slot, end = end, end + np.int64(total[POSITIVE + side])
        spans, at = take_varint(payload, at)
        index = np.int64(0)
        for _ in range(np.int64(spans)):
            offset, at = read_signed(payload, at)
            length, at = take_varint(payload, at)
            index += offset
            size = np.int64(length)
            if size == 0:
                continue
            while total[WIDTH + slot] < index:
                slot += 1
            to = WIDTH + parts + slot
            _add_run(payload, counts, total[to : to + size], total[to + parts : to + parts + size])
            counts += 8 * size
            index += size
            slot += size
    hint, mine = np.int64(flags >> HINT_SHIFT & 3), np.int64(total[HINT])
    if mine != hint and mine != GAUGE:
        total[HINT] = GAUGE if hint == GAUGE else UNKNOWN
    return hint


@device
def _where_counts_begin(total: NDArray[np.float64], payload: NDArray[np.uint8], begin: int) -> int:
    """-1: the row does not have all buckets, or bounds are others."""
    at = begin + HEADER_BYTES
    end = np.int64(0)
    exponential = total[SCHEMA] != CUSTOM_SCHEMA
    for side in range(2):
        slot, end = end, end + np.int64(total[POSITIVE + side])
        spans, at = take_varint(payload, at)
        index = np.int64(0)
        for span in range(np.int64(spans)):
            offset, at = read_signed(payload, at)
            length, at = take_varint(payload, at)
            index += offset
            size = np.int64(length)
            if size == 0:
                continue
            if span == 0 and exponential and total[ZERO_THRESHOLD] > 0.0:
                if exponential_bound(index, np.int64(total[SCHEMA])) <= total[ZERO_THRESHOLD]:
                    return -1
            while slot < end and total[WIDTH + slot] < index:
                slot += 1
            if slot + size > end or total[WIDTH + slot] != index:
                return -1
            if total[WIDTH + slot + size - 1] != index + size - 1:
                return -1
            index += size
            slot += size
    custom, at = take_varint(payload, at)
    if np.int64(custom) != total[CUSTOM]:
        return -1
    bounds = WIDTH + 3 * capacity(total)
    for i in range(np.int64(custom)):
        if bits_float(load_u64(payload, at)) != total[bounds + i]:
            return -1
        at += 8
    return at


@device
def _are_below(limit: float, payload: NDArray[np.uint8], begin: int, counts: int) -> bool:
    end = begin + np.int64(load_u64(payload, begin) & np.uint64(0xFFFFFFFF))
    below = True
    for at in range(begin + 16, begin + HEADER_BYTES, 8):
        below &= abs(bits_float(load_u64(payload, at))) < limit
    for i in range((end - counts) >> 3):
        below &= abs(bits_float(load_u64(payload, counts + 8 * i))) < limit
    return below


@device
def _add_run(payload: NDArray[np.uint8], at: int, total: NDArray[np.float64], lost: NDArray[np.float64]) -> None:
    """What is lost is exact in Knuth's form, too, which has no branches."""
    for i in range(total.size):
        more = bits_float(load_u64(payload, at + 8 * i))
        old = total[i]
        new = old + more
        part = new - old
        error = lost[i] + ((old - (new - part)) + (more - part))
        lost[i] = 0.0 if abs(new) == np.inf else error
        total[i] = new
