# mypy: disable-error-code="no-any-return,assignment,arg-type,operator,return-value"
"""Native histograms in a payload (`tsdb.model.native_histograms`), for kernels: buckets and where they lie.

Bucket i of schema s, of the positive side, holds what is above (2**(2**-s))**(i - 1), up to (2**(2**-s))**i inclusive;
those of the negative side mirror it. Numbers are to the bit those of Prometheus' model/histogram.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import bits_float, load_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import take_varint, unzigzag
from tsdb.model.native_histograms import CUSTOM_SCHEMA, FLOAT_FLAG, HEADER_BYTES

POSITIVE, NEGATIVE, CUSTOM, CUSTOM_AT, PARTS = range(5)
"""`parts` i64[PARTS]: numbers of buckets of either side and of custom values, and where these begin."""

_BELOW = (
    "1111112111211111112311222222222211211121122211221122102211221122"
    "1111112222332132112111211112111111121011213311221222112121332222"
    "2121223322322122222222323233323311221121223321332233212232332232"
    "2243223233433343333333444455435422322333324422333243223333543344"
)
"""Prometheus' table of bounds is not correctly rounded: by how many units in the last place each is below, and one."""


def _bounds() -> NDArray[np.float64]:
    """f64[256]: 2**(i / 256) / 2."""
    one = 1 << 256
    root = 2 * one
    for _ in range(8):
        root = math.isqrt(root * one)
    power, exact = one, []
    for _ in range(256):
        exact.append(power / (2 * one))
        power = power * root >> 256
    return np.array([bound - math.ulp(bound) * (int(below) - 1) for bound, below in zip(exact, _BELOW, strict=True)])


BOUNDS = _bounds()
LARGEST = np.finfo(np.float64).max


@device
def scaled(fraction: float, power: int) -> float:
    """fraction * 2**power, rounded once, for 0.5 <= fraction <= 1."""
    if power > 1024:
        return math.inf
    if power < -1080:
        return 0.0
    half = power >> 1
    first = bits_float(np.uint64(half + 1023) << np.uint64(52))
    return fraction * first * bits_float(np.uint64(power - half + 1023) << np.uint64(52))


@device
def exponential_bound(index: int, schema: int) -> float:
    """The upper bound of bucket `index` of the positive side. That of the last one before those of infinity is the
    largest float."""
    if schema < 0:
        power = index << -schema
        return LARGEST if power == 1024 else scaled(1.0, power)
    fraction = BOUNDS[np.uint64((index & ((1 << schema) - 1)) << (8 - schema))]
    power = (index >> schema) + 1
    return LARGEST if fraction == 0.5 and power == 1025 else scaled(fraction, power)


@device
def bucket_bound(payload: NDArray[np.uint8], index: int, schema: int, parts: NDArray[np.int64]) -> float:
    """The upper bound of bucket `index` of the positive side, of any schema; for -1 the lower one of bucket 0."""
    if schema != CUSTOM_SCHEMA:
        return exponential_bound(index, schema)
    if index < 0:
        return -math.inf
    if index >= parts[CUSTOM]:
        return math.inf
    return bits_float(load_u64(payload, parts[CUSTOM_AT] + 8 * index))


@device
def read_signed(payload: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """(i64, position behind it) of a zigzag varint."""
    value, at = take_varint(payload, at)
    return unzigzag(value), at


@device
def count_buckets(payload: NDArray[np.uint8], begin: int) -> int:
    """Buckets of both sides of the histogram at `begin`."""
    at = begin + HEADER_BYTES
    total = np.int64(0)
    for _ in range(2):
        spans, at = take_varint(payload, at)
        for _ in range(np.int64(spans)):
            _, at = take_varint(payload, at)
            length, at = take_varint(payload, at)
            total += np.int64(length)
    return total


@device
def read_buckets(payload: NDArray[np.uint8], begin: int, parts: NDArray[np.int64], indices: NDArray[np.int64],
                 counts: NDArray[np.float64]) -> None:
    """The buckets of the histogram at `begin`: sets `parts`, and for each bucket its index and its absolute count, the
    positive side's first; there is room for `count_buckets`. Counts are added up as floats, as Prometheus does."""
    at = begin + HEADER_BYTES
    found = np.int64(0)
    for side in range(2):
        first = found
        spans, at = take_varint(payload, at)
        index = np.int64(0)
        for _ in range(np.int64(spans)):
            offset, at = read_signed(payload, at)
            length, at = take_varint(payload, at)
            index += offset
            for _ in range(np.int64(length)):
                indices[found] = index
                index += 1
                found += 1
        parts[side] = found - first
    custom, at = take_varint(payload, at)
    parts[CUSTOM] = np.int64(custom)
    parts[CUSTOM_AT] = at
    at += 8 * parts[CUSTOM]
    floats = payload[begin + 4] & FLOAT_FLAG
    count = 0.0
    for i in range(found):
        if floats:
            count = bits_float(load_u64(payload, at))
            at += 8
        else:
            change, at = read_signed(payload, at)
            count = np.float64(change) + (0.0 if i == 0 or i == parts[POSITIVE] else count)
        counts[i] = count


@device
def count_value(payload: NDArray[np.uint8], begin: int, at: int) -> float:
    """The count, or count of the zero bucket, at byte `at` of the histogram at `begin`."""
    bits = load_u64(payload, begin + at)
    return bits_float(bits) if payload[begin + 4] & FLOAT_FLAG else np.float64(bits)
