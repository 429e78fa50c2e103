# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return"
"""The histogram codec: encoding. `histogram_kernels` decodes; docs/formats.md has the bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import equal_bytes
from tsdb.kernels.intrinsics import bits_float, float_bits, load_u32, load_u64, store_u64
from tsdb.kernels.registry import device
from tsdb.kernels.varint_kernels import get_varint, put_varint, unzigzag, zigzag
from tsdb.model.native_histograms import FLOAT_FLAG, HEADER_BYTES, HINT_SHIFT, OFFSET_MASK, ResetHint
from tsdb.storage.codecs.histogram_columns_kernels import (
    FORM,
    MINIMUM,
    ORDER,
    PACKED,
    PARAMETER,
    RICE,
    SPARSE,
    choose,
    head_bytes,
    put_bits,
    put_head,
    put_rice,
    varint_bytes,
)
from tsdb.storage.codecs.histogram_kernels import (
    BUCKETS,
    COUNT,
    COUNTS_FLOAT,
    COUNTS_INTEGER,
    COUNTS_WHOLE,
    HINT,
    LAYOUT,
    REPEATS,
    SUM,
    SUM_BITS,
    SUM_SHIFT,
    ZERO,
)
from tsdb.storage.codecs.histogram_layout_kernels import (
    LAYOUT_AT,
    LAYOUT_BUCKETS,
    LAYOUT_POSITIVE,
    LAYOUT_SIZE,
    layout_buckets,
    same_layout,
    share,
)

NUMBERS = 1 << 20
"""Columns times different histograms of a chunk of several."""
FEW = 4
"""Samples that a chunk has at least before another schema or a reset begins the next one."""
LAYOUTS = 8
SHARED = 4096
"""Buckets that the layouts of one chunk have together, at the most."""
ENOUGH = 64 << 10
"""Bytes of a chunk of several samples, at the most."""
MATRIX = NUMBERS + 64
OFFSETS = np.uint64(OFFSET_MASK)
GAUGE = int(ResetHint.GAUGE)
GREATEST_WHOLE = float(1 << 53)
MINUS_ZERO = np.uint64(1 << 63)

WHERE, LAYOUT_OF, REPEATED = range(3)
"""Rows of `samples`."""


@device
def gather(payload: NDArray[np.uint8], values: NDArray[np.uint64], first: int, past: int, samples: NDArray[np.int64],
           most_layouts: int, layouts: NDArray[np.int64]) -> tuple[int, int, int]:
    """Chooses samples from `first` on for one chunk: (how many, how many different histograms, layouts). None where the
    first one does not lead to a histogram."""
    count, distinct, known, buckets = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(first, past):
        at = np.int64(values[i] & OFFSETS)
        if at + HEADER_BYTES + 3 > payload.size:
            break
        size = np.int64(load_u32(payload, at))
        end = at + size
        if size < HEADER_BYTES + 3 or end > payload.size:
            break
        if count > 0:
            before = samples[WHERE, count - 1]
            if at == before or (load_u32(payload, before) == np.uint32(size)
                                and equal_bytes(payload, before, payload, at, size)):
                samples[WHERE, count] = at
                samples[LAYOUT_OF, count] = samples[LAYOUT_OF, count - 1]
                samples[REPEATED, count] = 1
                count += 1
                continue
            floats = payload[at + 4] & np.uint8(FLOAT_FLAG)
            if floats != payload[before + 4] & np.uint8(FLOAT_FLAG):
                break
            if count >= FEW and (payload[at + 4] >> np.uint8(HINT_SHIFT)) & np.uint8(3) != GAUGE:
                new, old = load_u64(payload, at + 24), load_u64(payload, before + 24)
                if (floats and bits_float(new) < bits_float(old)) or (not floats and new < old):
                    break
        layout = np.int64(-1)
        if count > 0:
            layout = samples[LAYOUT_OF, count - 1]
            if not same_layout(payload, at, end, layouts, layout):
                layout = -1
                for j in range(known):
                    if same_layout(payload, at, end, layouts, j):
                        layout = j
        if layout < 0:
            positive, own, past_layout = layout_buckets(payload, at + HEADER_BYTES, end)
            if past_layout < 0:
                break
            if known > 0:
                zero = samples[WHERE, 0]
                other = payload[at + 5] != payload[zero + 5] or load_u64(payload, at + 8) != load_u64(payload, zero + 8)
                if known == most_layouts or buckets + own > SHARED or (other and count >= FEW):
                    break
            layouts[known, LAYOUT_AT] = at + HEADER_BYTES
            layouts[known, LAYOUT_SIZE] = past_layout - at - HEADER_BYTES
            layouts[known, LAYOUT_BUCKETS] = own
            layouts[known, LAYOUT_POSITIVE] = positive
            if count > 0 and (buckets + own + BUCKETS) * (distinct + 1) > NUMBERS:
                break
            layout = known
            buckets += own
            known += 1
        if count > 0 and (buckets + BUCKETS) * (distinct + 1) > NUMBERS:
            break
        samples[WHERE, count] = at
        samples[LAYOUT_OF, count] = layout
        samples[REPEATED, count] = 0
        distinct += 1
        count += 1
    return count, distinct, known


@device
def read_columns(payload: NDArray[np.uint8], count: int, distinct: int, buckets: int, shared: bool,
                 samples: NDArray[np.int64], layouts: NDArray[np.int64], places: NDArray[np.int64],
                 matrix: NDArray[np.uint64]) -> int:
    """Reads the different histograms of a chunk: the numbers of column c to matrix[c * distinct:]. The bytes that they
    take in a payload; -1 where one is not whole. A bucket that a histogram lacks keeps its count."""
    total = np.int64(0)
    row = np.int64(-1)
    for i in range(count):
        if samples[REPEATED, i]:
            continue
        row += 1
        at = samples[WHERE, i]
        end = at + np.int64(load_u32(payload, at))
        layout = samples[LAYOUT_OF, i]
        floats = payload[at + 4] & np.uint8(FLOAT_FLAG)
        matrix[LAYOUT * distinct + row] = np.uint64(layout)
        matrix[HINT * distinct + row] = np.uint64(payload[at + 4] >> np.uint8(HINT_SHIFT))
        matrix[SUM * distinct + row] = load_u64(payload, at + 16)
        matrix[COUNT * distinct + row] = load_u64(payload, at + 24)
        matrix[ZERO * distinct + row] = load_u64(payload, at + 32)
        if shared:
            for c in range(BUCKETS, BUCKETS + buckets):
                matrix[c * distinct + row] = matrix[c * distinct + row - 1] if row > 0 else np.uint64(0)
        at += HEADER_BYTES + layouts[layout, LAYOUT_SIZE]
        total += HEADER_BYTES + layouts[layout, LAYOUT_SIZE]
        value = np.uint64(0)
        for k in range(layouts[layout, LAYOUT_BUCKETS]):
            if floats:
                if at + 8 > end:
                    return np.int64(-1)
                value = load_u64(payload, at)
                at += 8
                total += 8
            else:
                code, at = get_varint(payload, at, end)
                if at < 0:
                    return np.int64(-1)
                if k == layouts[layout, LAYOUT_POSITIVE]:
                    value = np.uint64(0)
                value += np.uint64(unzigzag(code))
                total += varint_bytes(code)
            c = BUCKETS + (places[layout, k] if shared else k)
            matrix[c * distinct + row] = value
        if at != end:
            return np.int64(-1)
    return total


@device
def whole(bits: int) -> bool:
    """Whether these are the bits of a float that is an integer, and its integer its bits."""
    value = bits_float(bits)
    return bits != MINUS_ZERO and abs(value) <= GREATEST_WHOLE and value == np.floor(value)


@device
def fold_counts(floats: bool, count: int, distinct: int, columns: int, shared: bool, samples: NDArray[np.int64],
                layouts: NDArray[np.int64], places: NDArray[np.int64], matrix: NDArray[np.uint64]) -> int:
    """Floats become integers where all of them are; the column COUNT what the count has beyond the sum of the buckets.
    The mode."""
    if floats:
        for k in range(ZERO * distinct, columns * distinct):
            if not whole(matrix[k]):
                return np.int64(COUNTS_FLOAT)
        for k in range(ZERO * distinct, columns * distinct):
            matrix[k] = np.uint64(np.int64(bits_float(matrix[k])))
    row = np.int64(-1)
    for i in range(count):
        if samples[REPEATED, i]:
            continue
        row += 1
        layout = samples[LAYOUT_OF, i]
        total = matrix[ZERO * distinct + row]
        for k in range(layouts[layout, LAYOUT_BUCKETS]):
            total += matrix[(BUCKETS + (places[layout, k] if shared else k)) * distinct + row]
        matrix[COUNT * distinct + row] -= total
    return np.int64(COUNTS_WHOLE if floats else COUNTS_INTEGER)


@device
def fold_sums(distinct: int, matrix: NDArray[np.uint64]) -> int:
    """Sums become integers where all of them are these divided by one power of ten; the power, else SUM_BITS."""
    scale = 1.0
    first = SUM * distinct
    for power in range(10):
        fits = True
        for k in range(first, first + distinct):
            number = np.round(bits_float(matrix[k]) * scale)
            if not abs(number) <= GREATEST_WHOLE or float_bits(np.float64(np.int64(number)) / scale) != matrix[k]:
                fits = False
                break
        if fits:
            for k in range(first, first + distinct):
                matrix[k] = np.uint64(np.int64(np.round(bits_float(matrix[k]) * scale)))
            return np.int64(power)
        scale *= 10.0
    return np.int64(SUM_BITS)


@device
def code_columns(distinct: int, columns: int, shared: bool, matrix: NDArray[np.uint64],
                 codes: NDArray[np.int64]) -> int:
    """Numbers of each column but the first become changes, and how these are coded is chosen. The bits that they take,
    with the columns' heads."""
    bits = np.int64(0)
    for c in range(0 if shared else 1, columns):
        first = c * distinct
        for k in range(first + distinct - 1, first, -1):
            matrix[k] -= matrix[k - 1]
        bits += choose(matrix, first + 1, distinct - 1, c, codes) + 8 * head_bytes(c, codes)
    return bits


@device
def first_bytes(mode: int, distinct: int, columns: int, matrix: NDArray[np.uint64]) -> int:
    """Of the first histogram."""
    if mode == COUNTS_FLOAT:
        return 9 + 8 * (columns - ZERO)
    size = np.int64(9)
    before = np.uint64(0)
    for c in range(ZERO, columns):
        value = matrix[c * distinct]
        size += varint_bytes(zigzag(np.int64(value - before)))
        before = value if c >= BUCKETS else np.uint64(0)
    return size


@device
def put_first(mode: int, distinct: int, columns: int, matrix: NDArray[np.uint64], out: NDArray[np.uint8],
              at: int) -> int:
    out[at] = np.uint8(matrix[HINT * distinct])
    store_u64(out, at + 1, matrix[SUM * distinct])
    at += 9
    before = np.uint64(0)
    for c in range(ZERO, columns):
        value = matrix[c * distinct]
        if mode == COUNTS_FLOAT:
            store_u64(out, at, value)
            at += 8
        else:
            at = put_varint(out, at, zigzag(np.int64(value - before)))
            before = value if c >= BUCKETS else np.uint64(0)
    return at


@device
def put_changes(count: int, distinct: int, columns: int, shared: bool, repeats: bool, samples: NDArray[np.int64],
                deltas: NDArray[np.uint64], matrix: NDArray[np.uint64], codes: NDArray[np.int64],
                out: NDArray[np.uint8], at: int) -> int:
    """Bit by bit, sample after sample: the change of the time, whether the histogram is repeated, and else the changes
    of the columns, packed ones first, then Rice coded, then sparse. The next byte."""
    number = 0
    for form in range(PACKED, SPARSE + 1):
        for c in range(0 if shared else 1, columns):
            if distinct > 1 and codes[FORM, c] == form:
                codes[ORDER, number] = c
                number += 1
    bit = at * 8
    row = np.int64(0)
    for i in range(1, count):
        fresh = samples[REPEATED, i] == 0
        if fresh:
            row += 1
        for k in range(-1, number if fresh else 0):
            c, change = columns, deltas[i]  # first the time
            if k >= 0:
                c = codes[ORDER, k]
                change = matrix[c * distinct + row]
            form, parameter = codes[FORM, c], codes[PARAMETER, c]
            rest = change - np.uint64(codes[MINIMUM, c])
            if form == RICE:
                bit = put_rice(out, bit, rest, parameter)
            elif form == PACKED or change != np.uint64(0):
                bit = put_bits(out, bit, rest, parameter & 0xFF)
            if form == SPARSE and change != np.uint64(0):
                after = row + 1
                while after < distinct and matrix[c * distinct + after] == np.uint64(0):
                    after += 1
                bit = put_bits(out, bit, np.uint64(after - row - 1), parameter >> 8)
            if k < 0 and repeats:
                bit = put_bits(out, bit, np.uint64(0 if fresh else 1), np.int64(1))
    return (bit + 7) // 8


@device
def encode_histograms(payload: NDArray[np.uint8], ts: NDArray[np.int64], values: NDArray[np.uint64], first: int,
                      past: int, samples: NDArray[np.int64], layouts: NDArray[np.int64], keys: NDArray[np.int64],
                      places: NDArray[np.int64], codes: NDArray[np.int64], matrix: NDArray[np.uint64],
                      deltas: NDArray[np.uint64], out: NDArray[np.uint8], start: int) -> tuple[int, int]:
    """Encodes samples from `first` on, as many of first:past as fit one chunk, to out[start:]. Their `ts` (i64 ms)
    ascend, their boxed `values` lead to `payload`.

    Scratch: `samples` i64[3, past - first], `layouts` i64[LAYOUTS, LAYOUT_COLUMNS], `keys` i64[3, SHARED], `places`
    i64[LAYOUTS, SHARED], `codes` i64[CODES, buckets + BUCKETS + 1], `matrix` u64[MATRIX], `deltas` u64[past - first].
    Returns (samples encoded, next place); the first is 0 where a value does not lead to a histogram, -1 where there is
    no room.
    """
    most_layouts = np.int64(LAYOUTS)
    while True:
        count, distinct, known = gather(payload, values, first, past, samples, most_layouts, layouts)
        if count == 0:
            return np.int64(0), start
        shared = known > 1
        buckets = layouts[0, LAYOUT_BUCKETS]
        if shared:
            buckets = share(payload, payload.size, known, layouts, keys, places)
            if buckets < 0:
                most_layouts = np.int64(1)
                continue
        columns = buckets + BUCKETS
        decoded = read_columns(payload, count, distinct, buckets, shared, samples, layouts, places, matrix)
        if decoded < 0:
            return np.int64(0), start
        floats = payload[samples[WHERE, 0] + 4] & np.uint8(FLOAT_FLAG) != np.uint8(0)
        mode = fold_counts(floats, count, distinct, columns, shared, samples, layouts, places, matrix)
        power = fold_sums(distinct, matrix)
        size = np.int64(32) + first_bytes(mode, distinct, columns, matrix)
        for j in range(known):
            size += layouts[j, LAYOUT_SIZE] + 12
        if shared:
            size += known * ((buckets + 7) // 8)
        bits = np.int64(0)
        if distinct > 1:
            bits += code_columns(distinct, columns, shared, matrix, codes)
        if count > 1:
            for i in range(1, count):
                deltas[i] = np.uint64(ts[first + i] - ts[first + i - 1])
            bits += choose(deltas, np.int64(1), count - 1, columns, codes) + count
        size += (bits + 7) // 8
        if size <= ENOUGH or count == 1:
            break
        past = first + count // 2
    if start + size + 16 > out.size:
        return np.int64(-1), start

    repeats = distinct < count
    out[start] = np.uint8(mode | (REPEATS if repeats else 0) | power << SUM_SHIFT)
    at = put_varint(out, start + 1, np.uint64(decoded))
    at = put_varint(out, at, np.uint64(distinct))
    at = put_varint(out, at, np.uint64(known))
    at = put_varint(out, at, np.uint64(buckets))
    for j in range(known):
        known_at, known_size = layouts[j, LAYOUT_AT], layouts[j, LAYOUT_SIZE]
        at = put_varint(out, at, np.uint64(known_size + 9))
        out[at] = payload[known_at - HEADER_BYTES + 5]
        store_u64(out, at + 1, load_u64(payload, known_at - HEADER_BYTES + 8))
        at += 9
        for k in range(known_size):
            out[at + k] = payload[known_at + k]
        at += known_size
    if shared:
        for j in range(known):
            for k in range((buckets + 7) // 8):
                out[at + k] = np.uint8(0)
            for k in range(layouts[j, LAYOUT_BUCKETS]):
                place = places[j, k]
                out[at + place // 8] |= np.uint8(1 << (place % 8))
            at += (buckets + 7) // 8
    if count > 1:
        at = put_head(out, at, columns, codes)
    at = put_first(mode, distinct, columns, matrix, out, at)
    if distinct > 1:
        for c in range(0 if shared else 1, columns):
            at = put_head(out, at, c, codes)
    return count, put_changes(count, distinct, columns, shared, repeats, samples, deltas, matrix, codes, out, at)
