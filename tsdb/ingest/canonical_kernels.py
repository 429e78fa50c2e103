"""From a series' labels in any order to its canonical key (`tsdb.model.labels`), for kernels.

Labels are rows of ``labels`` i64[MAX_LABELS, 4]: name position, name length, value position, value length, all within
one u8 buffer ``data``.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device

MAX_LABELS = 1024
"""Labels of one series."""

METRIC_NAME = np.uint64(int.from_bytes(b"__name__", "little"))
HIGH_BITS = np.uint64(0x8080808080808080)

VALID, NO_METRIC_NAME, EMPTY_LABEL_NAME, INVALID_UTF8, DUPLICATE_LABEL, KEY_TOO_LONG, TOO_MANY_LABELS, ODD_REFS, \
    REF_BEYOND_SYMBOLS = range(9)
"""What is wrong with a label set."""


@device
def is_utf8(data: NDArray[np.uint8], at: int, end: int) -> bool:
    """Whether data[at:end] is UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629)."""
    begin = at
    while at + 32 <= end and (load_u64(data, at) | load_u64(data, at + 8) | load_u64(data, at + 16)
                              | load_u64(data, at + 24)) & HIGH_BITS == np.uint64(0):
        at += 32
    while at < end:
        if at + 8 <= end:
            if load_u64(data, at) & HIGH_BITS == np.uint64(0):
                at += 8
                continue
        elif end - 8 >= begin and load_u64(data, end - 8) & HIGH_BITS == np.uint64(0):
            return True
        lead = np.int64(data[at])
        at += 1
        if lead < 0x80:
            continue
        if lead < 0xC2 or lead > 0xF4:
            return False
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if end - at < more:
            return False
        low, high = 0x80, 0xBF  # of the second byte
        if lead == 0xE0:
            low = 0xA0
        elif lead == 0xED:
            high = 0x9F
        elif lead == 0xF0:
            low = 0x90
        elif lead == 0xF4:
            high = 0x8F
        for _ in range(more):
            byte = np.int64(data[at])
            if byte < low or byte > high:
                return False
            low, high = 0x80, 0xBF
            at += 1
    return True


@device
def compare(data: NDArray[np.uint8], a: int, a_length: int, b: int, b_length: int) -> int:
    """Below, at or above 0 as the bytes at `a` sort before, with or behind those at `b`."""
    common = min(a_length, b_length)
    i = np.int64(0)
    while i < common and data[a + i] == data[b + i]:
        i += 1
    if i < common:
        return np.int64(data[a + i]) - np.int64(data[b + i])
    return a_length - b_length


@device
def sort_labels(data: NDArray[np.uint8], labels: NDArray[np.int64], count: int) -> None:
    """Sorts the first `count` labels by the bytes of the name. A shell sort, Knuth's gaps: no order makes it slow."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            name, name_length, value, value_length = labels[i, 0], labels[i, 1], labels[i, 2], labels[i, 3]
            j = i
            while j >= gap and compare(data, labels[j - gap, 0], labels[j - gap, 1], name, name_length) > 0:
                for k in range(4):
                    labels[j, k] = labels[j - gap, k]
                j -= gap
            labels[j, 0], labels[j, 1], labels[j, 2], labels[j, 3] = name, name_length, value, value_length
        gap //= 3


@device
def varint_size(value: int) -> int:
    """Bytes of the minimal varint of an i64 >= 0."""
    size = 1
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


@device
def write_varint(out: NDArray[np.uint8], at: int, value: int) -> int:
    """Writes an i64 >= 0; returns the position behind it."""
    while value > 0x7F:
        out[at] = np.uint8(value & 0x7F | 0x80)
        value >>= 7
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@device
def check_labels(data: NDArray[np.uint8], labels: NDArray[np.int64], count: int, max_key: int) -> tuple[int, int]:
    """(what is wrong, length of the canonical key) of sorted labels. Empty values count for nothing but duplicates, as
    in Prometheus."""
    named = False
    size = np.int64(0)
    for i in range(count):
        name, name_length, value, value_length = labels[i, 0], labels[i, 1], labels[i, 2], labels[i, 3]
        if name_length == 0:
            return EMPTY_LABEL_NAME, size
        if not (is_utf8(data, name, name + name_length) and is_utf8(data, value, value + value_length)):
            return INVALID_UTF8, size
        if i > 0 and compare(data, labels[i - 1, 0], labels[i - 1, 1], name, name_length) == 0:
            return DUPLICATE_LABEL, size
        if value_length > 0:
            if name_length == 8 and load_u64(data, name) == METRIC_NAME:
                named = True
            label = 2 + varint_size(name_length) + name_length + varint_size(value_length) + value_length
            size += 1 + varint_size(label) + label
    if not named:
        return NO_METRIC_NAME, size
    return KEY_TOO_LONG if size > max_key else VALID, size


@device
def write_key(data: NDArray[np.uint8], labels: NDArray[np.int64], count: int, out: NDArray[np.uint8], at: int) -> int:
    """Writes the canonical key of checked labels at out[at:] and returns the position behind it. The caller has seen to
    the room."""
    for i in range(count):
        name_length, value_length = labels[i, 1], labels[i, 3]
        if value_length == 0:
            continue
        out[at] = 0x0A
        at = write_varint(
            out, at + 1, 2 + varint_size(name_length) + name_length + varint_size(value_length) + value_length
        )
        for k in range(2):
            begin, length = labels[i, 2 * k], labels[i, 2 * k + 1]
            out[at] = 0x12 if k else 0x0A
            at = write_varint(out, at + 1, length)
            for offset in range(length):
                out[at + offset] = data[begin + offset]
            at += length
    return at
