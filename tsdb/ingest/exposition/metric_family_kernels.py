"""Prometheus' protobuf exposition to records, which `exposition_kernels` reads as it reads lines.

A body is MetricFamily messages (io/prometheus/client/metrics.proto), each behind its length. A record is its kind (u8),
the length of its text (u32), and the text; those of samples go on with the value's bits (u64), the time (i64, ms) and
whether there is one (u8); those with an exemplar with its position, length, value's bits, time and whether it has one
(5 i64). Of native histograms what classic ones have too is taken.

Text of metadata: H, name, 0xff, help; T, name, 0xff, digit of the type; U, name, 0xff, unit, 0xff, digit of the type.
Of samples: name, then for each label 0xff, name, 0xff, value. Bounds of buckets and quantiles are 0xfe and the bits in
hex.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.exposition_kernels import EXEMPLAR_RECORD, METADATA_RECORD, SAMPLE_RECORD
from tsdb.ingest.exposition.label_kernels import RAW_BOUND, SEPARATOR
from tsdb.ingest.float_kernels import INFINITY
from tsdb.ingest.protobuf_kernels import (
    BAD_WIRE_TYPE,
    FIXED64,
    LENGTH,
    LENGTH_TOO_LARGE,
    VARINT,
    read_field,
    read_varint,
)
from tsdb.kernels.intrinsics import float_bits, load_u64, store_u64
from tsdb.kernels.registry import device, kernel

# `state`, i64[STATE].
AT, OUT, FAMILY, STATE = range(4)
"""Next byte of the body; bytes written; families read."""

DONE, MORE_OUTPUT = range(2)
"""Results; negative ones are errors in the family at AT: those of `protobuf_kernels`, or"""
BAD_TYPE, NOT_UTF8, NO_ROOM = -20, -21, -22

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
"""MetricType."""
_FIELD_OF_TYPE = np.array([3, 2, 4, 5, 7, 7])
"""Field of Metric with the value, by type."""

PLAIN, COUNT, SUM, BUCKET, LE, QUANTILE = range(6)
"""Endings of names, and names of labels, in"""
_WORDS = np.zeros((6, 8), np.uint8)
_WORD_LENGTHS = np.zeros(6, np.int64)
for _row, _word in ((COUNT, b"_count"), (SUM, b"_sum"), (BUCKET, b"_bucket"), (LE, b"le"), (QUANTILE, b"quantile")):
    _WORDS[_row, : len(_word)] = np.frombuffer(_word, np.uint8)
    _WORD_LENGTHS[_row] = len(_word)

_LOW_BITS = np.uint64(0x0101010101010101)

ROOM = 5 + 8 + 8 + 20 + 17 + 40
"""Bytes of a record of a sample besides its name and labels."""


@device
def write_u32(out: NDArray[np.uint8], at: int, value: int) -> None:
    for i in range(4):
        out[at + i] = np.uint8(value >> 8 * i & 0xFF)


@device
def copy(data: NDArray[np.uint8], begin: int, end: int, out: NDArray[np.uint8], at: int) -> int:
    """Copies data[begin:end] to out[at:]; returns the position behind it."""
    while begin + 8 <= end:
        store_u64(out, at, load_u64(data, begin))
        begin += 8
        at += 8
    while begin < end:
        out[at] = data[begin]
        begin += 1
        at += 1
    return at


@device
def has_mark(data: NDArray[np.uint8], begin: int, end: int) -> bool:
    """Whether there is a byte that marks something in records, which UTF-8 has not."""
    while begin + 8 <= end:
        word = ~(load_u64(data, begin) | _LOW_BITS)  # 0 where a byte is 0xfe or 0xff
        if (word - _LOW_BITS) & ~word & (_LOW_BITS << np.uint64(7)) != np.uint64(0):
            return True
        begin += 8
    while begin < end:
        if data[begin] >= RAW_BOUND:
            return True
        begin += 1
    return False


@device
def write_metadata(letter: int, body: NDArray[np.uint8], name: int, name_end: int, text: int, text_end: int, type_: int,
                   out: NDArray[np.uint8], at: int) -> int:
    """A record of metadata; `type_` -1: without. Returns the position behind it."""
    out[at] = METADATA_RECORD
    begin = at + 5
    out[begin] = letter
    end = copy(body, name, name_end, out, begin + 1)
    out[end] = SEPARATOR
    end = copy(body, text, text_end, out, end + 1)
    if type_ >= 0:
        if letter == 0x55:
            out[end] = SEPARATOR
            end += 1
        out[end] = 0x30 + type_
        end += 1
    write_u32(out, at + 1, end - begin)
    return end


@device
def write_labels(body: NDArray[np.uint8], at: int, end: int, out: NDArray[np.uint8], to: int) -> tuple[int, int]:
    """(position behind the labels of the Metric body[at:end] in out[to:], DONE or an error)."""
    while at < end:
        number, wire, begin, at = read_field(body, at, end)
        if at < 0:
            return to, at
        if number != 1:
            continue
        name = name_end = value = value_end = begin
        inner = begin
        while inner < at:
            part, wire, start, inner = read_field(body, inner, at)
            if inner < 0:
                return to, inner
            if part <= 2 and (wire != LENGTH or has_mark(body, start, inner)):
                return to, np.int64(BAD_WIRE_TYPE if wire != LENGTH else NOT_UTF8)
            if part == 1:
                name, name_end = start, inner
            elif part == 2:
                value, value_end = start, inner
        out[to] = SEPARATOR
        to = copy(body, name, name_end, out, to + 1)
        out[to] = SEPARATOR
        to = copy(body, value, value_end, out, to + 1)
    return to, np.int64(DONE)


@device
def write_word(word: int, out: NDArray[np.uint8], at: int) -> int:
    for i in range(_WORD_LENGTHS[word]):
        out[at + i] = _WORDS[word, i]
    return at + _WORD_LENGTHS[word]


@device
def write_sample(body: NDArray[np.uint8], name: int, name_end: int, ending: int, labels: NDArray[np.uint8],
                 labels_size: int, label: int, bound: int, bits: int, ts: int, out: NDArray[np.uint8], at: int) -> int:
    """A record of a sample without exemplar, with labels[:labels_size] and, if `label` is LE or QUANTILE, a bound (u64
    bits). Returns the position behind it."""
    out[at] = SAMPLE_RECORD
    begin = at + 5
    end = write_word(ending, out, copy(body, name, name_end, out, begin))
    end = copy(labels, np.int64(0), labels_size, out, end)
    if label != PLAIN:
        out[end] = SEPARATOR
        end = write_word(label, out, end + 1)
        out[end] = SEPARATOR
        out[end + 1] = RAW_BOUND
        end += 2
        for shift in range(60, -4, -4):
            digit = np.int64(bound >> np.uint64(shift) & np.uint64(15))
            out[end] = 0x30 + digit if digit < 10 else 0x57 + digit
            end += 1
    write_u32(out, at + 1, end - begin)
    store_u64(out, end, bits)
    store_u64(out, end + 8, np.uint64(ts))
    out[end + 16] = 1 if ts != 0 else 0
    return end + 17


@device
def add_exemplar(body: NDArray[np.uint8], at: int, end: int, out: NDArray[np.uint8], record: int, to: int) -> int:
    """Adds the exemplar body[at:end] to the record at `record`, which ends at `to`. Returns the position behind it, or
    an error."""
    begin = at
    bits = np.uint64(0)
    ts = np.int64(0)
    has_ts = np.int64(0)
    while at < end:
        number, wire, start, at = read_field(body, at, end)
        if at < 0:
            return at
        if number == 2:
            if wire != FIXED64:
                return np.int64(BAD_WIRE_TYPE)
            bits = load_u64(body, start)
        elif number == 3:
            if wire != LENGTH:
                return np.int64(BAD_WIRE_TYPE)
            has_ts = 1
            inner = start
            while inner < at:
                number, wire, start, inner = read_field(body, inner, at)
                if inner < 0:
                    return inner
                if number <= 2 and wire == VARINT:
                    value, _ = read_varint(body, start, inner)
                    ts += np.int64(value) * 1000 if number == 1 else np.int64(value) // 1_000_000
    out[record] = EXEMPLAR_RECORD
    store_u64(out, to, np.uint64(begin))
    store_u64(out, to + 8, np.uint64(end - begin))
    store_u64(out, to + 16, bits)
    store_u64(out, to + 24, np.uint64(ts))
    store_u64(out, to + 32, np.uint64(has_ts))
    return to + 40


@device
def number_bits(body: NDArray[np.uint8], wire: int, begin: int, end: int) -> tuple[int, int]:
    """(bits of a count or a float, DONE or an error)."""
    if wire == FIXED64:
        return load_u64(body, begin), np.int64(DONE)
    if wire != VARINT:
        return np.uint64(0), np.int64(BAD_WIRE_TYPE)
    value, _ = read_varint(body, begin, end)
    return float_bits(np.float64(value)), np.int64(DONE)


@device
def write_metric(body: NDArray[np.uint8], at: int, end: int, type_: int, name: int, name_end: int,
                 labels: NDArray[np.uint8], out: NDArray[np.uint8], to: int) -> int:
    """Records of the Metric body[at:end]; labels: scratch. Returns the position behind them, an error, or NO_ROOM where
    they do not fit."""
    begin = at
    value = value_end = at
    ts = np.int64(0)
    while at < end:
        number, wire, start, at = read_field(body, at, end)
        if at < 0:
            return at
        if number == 6:
            if wire != VARINT:
                return np.int64(BAD_WIRE_TYPE)
            bits, _ = read_varint(body, start, at)
            ts = np.int64(bits)
        elif number <= 7 and wire != LENGTH:
            return np.int64(BAD_WIRE_TYPE)
        elif number == _FIELD_OF_TYPE[type_]:
            value, value_end = start, at
    labels_size, problem = write_labels(body, begin, end, labels, np.int64(0))
    if problem != DONE:
        return problem
    room = ROOM + name_end - name + labels_size
    if out.size - to < 4 * room:
        return NO_ROOM

    # Of all types: count or value, sum, and what repeats
    plain, bucket = np.int64(PLAIN), np.int64(BUCKET)  # a literal would make numba compile a function once more
    le, quantile = np.int64(LE), np.int64(QUANTILE)
    distribution = type_ == SUMMARY or type_ == HISTOGRAM or type_ == GAUGE_HISTOGRAM
    histogram = distribution and type_ != SUMMARY
    first = second = float_count = np.uint64(0)
    exemplar = exemplar_end = np.int64(-1)
    at = value
    while at < value_end:
        number, wire, start, at = read_field(body, at, value_end)
        if at < 0:
            return at
        if number == 1 or (distribution and number == 2) or (histogram and number == 4):
            if wire != (VARINT if distribution and number == 1 else FIXED64):
                return np.int64(BAD_WIRE_TYPE)
            bits, _ = number_bits(body, wire, start, at)
            if number == 1:
                first = bits
            elif number == 2:
                second = bits
            else:
                float_count = bits
        elif type_ == COUNTER and number == 2:
            if wire != LENGTH:
                return np.int64(BAD_WIRE_TYPE)
            exemplar, exemplar_end = start, at
    if not distribution:
        record = to
        to = write_sample(body, name, name_end, plain, labels, labels_size, plain, first, first, ts, out, to)
        return to if exemplar < 0 else add_exemplar(body, exemplar, exemplar_end, out, record, to)
    if float_count << np.uint64(1) != np.uint64(0):
        first = float_count
    to = write_sample(body, name, name_end, np.int64(COUNT), labels, labels_size, plain, first, first, ts, out, to)
    to = write_sample(body, name, name_end, np.int64(SUM), labels, labels_size, plain, first, second, ts, out, to)
    infinite = not histogram
    at = value
    while at < value_end:
        number, wire, start, at = read_field(body, at, value_end)
        if number != 3:
            continue
        if wire != LENGTH:
            return np.int64(BAD_WIRE_TYPE)
        if histogram and infinite:
            break
        count = bound = float_count = np.uint64(0)
        exemplar = exemplar_end = np.int64(-1)
        inner = start
        while inner < at:
            number, wire, start, inner = read_field(body, inner, at)
            if inner < 0:
                return inner
            if number <= 2 or (histogram and number == 4):
                if wire != (VARINT if histogram and number == 1 else FIXED64):
                    return np.int64(BAD_WIRE_TYPE)
                bits, _ = number_bits(body, wire, start, inner)
                if number == (1 if histogram else 2):
                    count = bits
                elif number == 4:
                    float_count = bits
                else:
                    bound = bits
            elif histogram and number == 3:
                if wire != LENGTH:
                    return np.int64(BAD_WIRE_TYPE)
                exemplar, exemplar_end = start, inner
        if out.size - to < 2 * room:
            return NO_ROOM
        record = to
        if not histogram:
            to = write_sample(body, name, name_end, plain, labels, labels_size, quantile, bound, count, ts, out, to)
            continue
        infinite = bound == INFINITY
        if float_count << np.uint64(1) != np.uint64(0):
            count = float_count
        to = write_sample(body, name, name_end, bucket, labels, labels_size, le, bound, count, ts, out, to)
        if exemplar >= 0:
            to = add_exemplar(body, exemplar, exemplar_end, out, record, to)
            if to < 0:
                return to
    if not infinite:
        to = write_sample(body, name, name_end, bucket, labels, labels_size, le, INFINITY, first, ts, out, to)
    return to


@kernel("int64(Array(uint8, 1, 'C', readonly=True), uint8[::1], uint8[::1], int64[::1])", stage="query")
def write_records(body: NDArray[np.uint8], labels: NDArray[np.uint8], out: NDArray[np.uint8],
                  state: NDArray[np.int64]) -> int:
    """Writes the records of a body (u8). labels u8[twice the body]: scratch. state i64[STATE]: zeros.

    Returns DONE; MORE_OUTPUT: call again with a larger `out`, it goes on; or an error.
    """
    size = body.size
    while state[AT] < size:
        length, begin = read_varint(body, state[AT], min(size, state[AT] + 5))
        if begin < 0:
            return begin
        if length > np.uint64(size - begin):
            return np.int64(LENGTH_TOO_LARGE)
        end = begin + np.int64(length)
        name = name_end = help_ = help_end = unit = unit_end = begin
        type_ = np.int64(COUNTER)
        metrics = np.int64(0)
        at = begin
        while at < end:
            number, wire, start, at = read_field(body, at, end)
            if at < 0:
                return at
            if number <= 5 and wire != (VARINT if number == 3 else LENGTH):
                return np.int64(BAD_WIRE_TYPE)
            if number == 1:
                name, name_end = start, at
            elif number == 2:
                help_, help_end = start, at
            elif number == 3:
                value, _ = read_varint(body, start, at)
                type_ = np.int64(value)
            elif number == 4:
                metrics += 1
            elif number == 5:
                unit, unit_end = start, at
        if metrics > 0:
            if type_ < COUNTER or type_ > GAUGE_HISTOGRAM:
                return np.int64(BAD_TYPE)
            if has_mark(body, name, name_end) or has_mark(body, unit, unit_end):
                return np.int64(NOT_UTF8)
            to = state[OUT]
            if out.size - to < 3 * (8 + name_end - name) + help_end - help_ + unit_end - unit:
                return MORE_OUTPUT
            to = write_metadata(np.int64(0x48), body, name, name_end, help_, help_end, np.int64(-1), out, to)
            if unit_end > unit:
                to = write_metadata(np.int64(0x55), body, name, name_end, unit, unit_end, type_, out, to)
            to = write_metadata(np.int64(0x54), body, name, name_end, name, name, type_, out, to)
            at = begin
            while at < end:
                number, _, start, at = read_field(body, at, end)
                if number == 4:
                    to = write_metric(body, start, at, type_, name, name_end, labels, out, to)
                    if to == NO_ROOM:
                        return MORE_OUTPUT
                    if to < 0:
                        return to
            state[OUT] = to
            state[FAMILY] += 1
        state[AT] = end
    return DONE
