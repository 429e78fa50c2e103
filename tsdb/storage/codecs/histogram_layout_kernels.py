# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""Layouts of histograms: schema, width of the zero bucket, spans, custom values; which buckets there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import equal_bytes
from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import get_varint, unzigzag
from tsdb.model.native_histograms import HEADER_BYTES

MOST_BUCKETS = 1 << 20
"""Of a histogram."""
LAYOUT_AT, LAYOUT_SIZE, LAYOUT_BUCKETS, LAYOUT_POSITIVE, LAYOUT_COLUMNS = range(5)
"""Columns of `layouts`: where in a payload the spans of a layout begin, bytes of these and custom values, buckets,
positive ones of them."""


@device
def span_buckets(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(buckets, next place) of the spans of one side, which begin at `at`; the place is -1 where they are none."""
    number, at = get_varint(data, at, end)
    if at < 0 or number > np.uint64(MOST_BUCKETS):
        return np.int64(0), np.int64(-1)
    total = np.int64(0)
    for _ in range(np.int64(number)):
        _, at = get_varint(data, at, end)
        if at < 0:
            return np.int64(0), np.int64(-1)
        length, at = get_varint(data, at, end)
        if at < 0 or length > np.uint64(MOST_BUCKETS):
            return np.int64(0), np.int64(-1)
        total += np.int64(length)
        if total > MOST_BUCKETS:
            return np.int64(0), np.int64(-1)
    return total, at


@device
def layout_buckets(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int]:
    """(positive buckets, all buckets, end) of the layout that begins at `at`: spans of both sides, custom values. The
    end is -1 where there is no whole layout."""
    positive, at = span_buckets(data, at, end)
    if at < 0:
        return np.int64(0), np.int64(0), np.int64(-1)
    negative, at = span_buckets(data, at, end)
    if at < 0 or positive + negative > MOST_BUCKETS:
        return np.int64(0), np.int64(0), np.int64(-1)
    number, at = get_varint(data, at, end)
    if at < 0 or number > np.uint64(MOST_BUCKETS) or at + 8 * np.int64(number) > end:
        return np.int64(0), np.int64(0), np.int64(-1)
    return positive, positive + negative, at + 8 * np.int64(number)


@device
def same_layout(payload: NDArray[np.uint8], at: int, end: int, layouts: NDArray[np.int64], j: int) -> bool:
    """Whether the histogram payload[at:end] has the layout j."""
    known, size = layouts[j, LAYOUT_AT], layouts[j, LAYOUT_SIZE]
    return (payload[at + 5] == payload[known - HEADER_BYTES + 5]
            and load_u64(payload, at + 8) == load_u64(payload, known - HEADER_BYTES + 8)
            and at + HEADER_BYTES + size <= end and equal_bytes(payload, at + HEADER_BYTES, payload, known, size))


@device
def span_keys(payload: NDArray[np.uint8], at: int, end: int, keys: NDArray[np.int64]) -> tuple[int, int]:
    """(buckets, next place) of the spans of one side, and the indexes of the buckets to `keys`, which has room; -1
    buckets where these do not ascend."""
    number, at = get_varint(payload, at, end)
    index = np.int64(-1)
    found = np.int64(0)
    ascend = True
    for k in range(np.int64(number)):
        offset, at = get_varint(payload, at, end)
        length, at = get_varint(payload, at, end)
        step = unzigzag(offset)
        if step > 1 << 32 or step < -(1 << 32) or (k > 0 and step < 0):
            ascend = False
            step = np.int64(0)
        index += step
        for _ in range(np.int64(length)):
            index += 1
            keys[found] = index
            found += 1
    return found if ascend else np.int64(-1), at


@device
def share(payload: NDArray[np.uint8], end: int, count: int, layouts: NDArray[np.int64], keys: NDArray[np.int64],
          places: NDArray[np.int64]) -> int:
    """The columns of several layouts: those of all buckets that any of them has, sorted by side and index. Writes which
    column each bucket of layout j is, without BUCKETS, to places[j]. How many columns; -1: indexes do not ascend."""
    columns = np.int64(0)
    past = np.int64(0)
    for side in range(2):
        every = np.int64(0)  # keys[0] has the union so far
        for j in range(count):
            at = layouts[j, LAYOUT_AT]
            if side == 1:
                _, at = span_keys(payload, at, end, keys[1])
            own, _ = span_keys(payload, at, end, keys[1])
            if own < 0:
                return np.int64(-1)
            a, b, past = np.int64(0), np.int64(0), np.int64(0)
            while a < every or b < own:
                if b == own or (a < every and keys[0, a] < keys[1, b]):
                    keys[2, past] = keys[0, a]
                    a += 1
                else:
                    if a < every and keys[0, a] == keys[1, b]:
                        a += 1
                    keys[2, past] = keys[1, b]
                    b += 1
                past += 1
            every = past
            for k in range(every):
                keys[0, k] = keys[2, k]
        for j in range(count):
            at = layouts[j, LAYOUT_AT]
            first = np.int64(0)
            if side == 1:
                first, at = span_keys(payload, at, end, keys[1])
            own, _ = span_keys(payload, at, end, keys[1])
            a = 0
            for b in range(own):
                while keys[0, a] < keys[1, b]:
                    a += 1
                places[j, first + b] = columns + a
        columns += every
    return columns
