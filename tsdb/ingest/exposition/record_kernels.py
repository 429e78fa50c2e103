"""Records that `metric_family_kernels` makes of messages, for `exposition_kernels`, which reads them as it reads lines.

A record is its kind (u8), the length of its text (u32), and the text; those of samples go on with the value's bits
(u64), the time (i64, ms) and whether there is one (u8); those with exemplars with the position, length, value's bits,
time of each and whether it has one (5 i64). The value of a native histogram is boxed and leads to a payload
(`tsdb.model.native_histograms`).

Text of metadata: H, name, 0xff, help; T, name, 0xff, digit of the type; U, name, 0xff, unit, 0xff, digit of the type;
S and since when (i64, ms) the samples have been counting that follow, up to other metadata.
Of samples: name, then for each label 0xff, name, 0xff, value. Bounds of buckets and quantiles are 0xfe and the bits in
hex.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.exposition_kernels import EXEMPLAR_RECORD, METADATA_RECORD, SAMPLE_RECORD, START_RECORD
from tsdb.ingest.exposition.label_kernels import RAW_BOUND, SEPARATOR
from tsdb.ingest.protobuf_kernels import BAD_WIRE_TYPE, FIXED64, LENGTH, VARINT, read_field, read_varint
from tsdb.kernels.intrinsics import load_u64, store_u64
from tsdb.kernels.registry import device
from tsdb.model.native_histograms import BOX, NORMAL_NAN

DONE = 0
NOT_UTF8, NO_ROOM = -21, -22
"""Errors beside those of `protobuf_kernels`."""

PLAIN, COUNT, SUM, BUCKET, LE, QUANTILE = range(6)
"""Endings of names, and names of labels, in"""
_WORDS = np.zeros((6, 8), np.uint8)
_WORD_LENGTHS = np.zeros(6, np.int64)
for _row, _word in ((COUNT, b"_count"), (SUM, b"_sum"), (BUCKET, b"_bucket"), (LE, b"le"), (QUANTILE, b"quantile")):
    _WORDS[_row, : len(_word)] = np.frombuffer(_word, np.uint8)
    _WORD_LENGTHS[_row] = len(_word)

_LOW_BITS = np.uint64(0x0101010101010101)

MOST_EXEMPLARS = 100
"""Of a native histogram."""
START_BYTES = 14
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
def write_start(ms: int, out: NDArray[np.uint8], at: int) -> int:
    """A record that says since when the samples count that follow; START_BYTES. Returns the position behind it."""
    out[at] = METADATA_RECORD
    write_u32(out, at + 1, np.int64(9))
    out[at + 5] = START_RECORD
    store_u64(out, at + 6, np.uint64(ms))
    return at + START_BYTES


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
    store_u64(out, end, bits if bits < np.uint64(BOX) else np.uint64(NORMAL_NAN))
    store_u64(out, end + 8, np.uint64(ts))
    out[end + 16] = 1 if ts != 0 else 0
    return end + 17


@device
def add_exemplar(body: NDArray[np.uint8], at: int, end: int, native: bool, out: NDArray[np.uint8], record: int,
                 to: int) -> int:
    """Adds the exemplar body[at:end] to the record at `record`, which ends at `to`; to that of a `native` histogram
    only with a time, and not too many. Returns the position behind it, or an error."""
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
    kind = max(np.int64(out[record]), EXEMPLAR_RECORD - 1)  # that is no record of a sample
    if native and (has_ts == 0 or kind >= EXEMPLAR_RECORD - 1 + MOST_EXEMPLARS):
        return to
    out[record] = kind + 1
    store_u64(out, to, np.uint64(begin))
    store_u64(out, to + 8, np.uint64(end - begin))
    store_u64(out, to + 16, bits)
    store_u64(out, to + 24, np.uint64(ts))
    store_u64(out, to + 32, np.uint64(has_ts))
    return to + 40


@device
def write_native_exemplars(body: NDArray[np.uint8], at: int, end: int, out: NDArray[np.uint8], record: int,
                           to: int) -> tuple[int, bool]:
    """(position behind the exemplars of the Histogram body[at:end], an error, or NO_ROOM; whether there are classic
    buckets). Exemplars are its own, else those of classic buckets."""
    own = classic = False
    begin = at
    while at < end:
        number, _, _, at = read_field(body, at, end)
        own |= number == 16
        classic |= number == 3
    at = begin
    while at < end and to >= 0:
        number, wire, start, at = read_field(body, at, end)
        if number == 16 and out.size - to < 40:
            return NO_ROOM, classic
        if number == 16:
            to = add_exemplar(body, start, at, True, out, record, to)
        elif number == 3 and not own and wire == LENGTH:
            inner = start
            while inner < at and to >= 0:
                number, wire, start, inner = read_field(body, inner, at)
                if inner < 0:
                    return inner, classic
                if number == 3 and wire == LENGTH:
                    if out.size - to < 40:
                        return NO_ROOM, classic
                    to = add_exemplar(body, start, inner, True, out, record, to)
    return to, classic
