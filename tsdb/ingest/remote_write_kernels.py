"""Prometheus remote_write 1.0: protobuf bytes straight into the columns of a batch.

::

    WriteRequest { repeated TimeSeries timeseries = 1; repeated MetricMetadata metadata = 3 }
    TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; exemplars = 3; histograms = 4 }
    Label        { string name = 1; string value = 2 }
    Sample       { double value = 1; int64 timestamp = 2 }

The label bytes of a TimeSeries are its canonical key already where they are sorted, unique, not empty, minimal and in
one piece, as Prometheus sends them: the row points at them. Series in any other form are left *pending* by the first
kernel, and judged and brought into that form by the second, which most requests do not need.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import (
    MAX_LABELS,
    METRIC_NAME,
    TOO_MANY_LABELS,
    VALID,
    check_labels,
    compare,
    is_utf8,
    sort_labels,
    write_key,
)
from tsdb.ingest.protobuf_kernels import BAD_WIRE_TYPE, FIXED64, LENGTH, VARINT, read_field, read_varint
from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX, NORMAL_NAN

# `state`, i64[STATE].
AT, ROWS, SAMPLES, HISTOGRAMS, EXEMPLARS, PENDING, METADATA, SERIES, KEYS, SYMBOLS, JUDGED, REJECTED_METADATA, \
    STATE = range(13)
"""Next byte of the request; rows, samples, histograms among them, exemplars, pending rows and metadata made; series
read; end of the keys; symbols found, pending rows judged, metadata rejected (2.0 alone)."""

DONE, NEED_ROWS, NEED_SAMPLES, NEED_HISTOGRAMS, NEED_EXEMPLARS, NEED_METADATA, NEED_KEYS, NEED_SYMBOLS, \
    NEED_START_TIMES = range(9)
"""Results; negative ones are the errors of `protobuf_kernels`, with the position in state[AT]."""

SIX_BYTES = np.uint64(0x0080808080800000)
"""Continuation bits of a varint of six bytes in the upper part of a word."""


@device
def read_sample(data: NDArray[np.uint8], at: int, end: int, last_field: int) -> tuple[int, int, int, int]:
    """A Sample in any form at data[at:end], with fields up to `last_field`: (u64 value bits, i64 ms, i64 ms of the
    start, `end` or error). Encoders leave out zeros."""
    bits = np.uint64(0)
    ts = np.uint64(0)
    start = np.uint64(0)
    while at < end:
        field, wire_type, begin, at = read_field(data, at, end)
        if at < 0:
            break
        if field > last_field:
            continue
        if wire_type != (FIXED64 if field == 1 else VARINT):
            at = np.int64(BAD_WIRE_TYPE)
            break
        if field == 1:
            bits = load_u64(data, begin)
        elif field == 2:
            ts, at = read_varint(data, begin, at)
        else:
            start, at = read_varint(data, begin, at)
    return bits, np.int64(ts), np.int64(start), at


@device
def six_byte_varint(word: int) -> int:
    """i64 of the six bytes in the upper part of a word."""
    return np.int64(word >> np.uint64(16) & np.uint64(0x7F)
                    | word >> np.uint64(17) & np.uint64(0x7F << 7)
                    | word >> np.uint64(18) & np.uint64(0x7F << 14)
                    | word >> np.uint64(19) & np.uint64(0x7F << 21)
                    | word >> np.uint64(20) & np.uint64(0x7F << 28)
                    | word >> np.uint64(21) & np.uint64(0x7F << 35))


@device
def read_sample_field(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int]:
    """The field of a Sample whose tag 12 is at `at`: (u64 value bits, i64 ms, next position or error)."""
    # Fast: 12 10 09 <value> 10 <six bytes> or, for zero, 12 07 10 <six bytes>: the years 1971 to 2109
    bits = np.uint64(0)
    stop = at + 9
    if end - at >= 18 and data[at + 1] == 0x10 and data[at + 2] == 0x09 and data[at + 11] == 0x10:
        bits = load_u64(data, at + 3)
        stop = at + 18
    elif stop > end or data[at + 1] != 0x07 or data[at + 2] != 0x10:
        stop = np.int64(0)
    word = load_u64(data, stop - 8) if stop > 0 else np.uint64(0)
    if stop > 0 and word & np.uint64(0x8080808080800000) == SIX_BYTES:
        ts = six_byte_varint(word)
    else:
        _, _, inner, stop = read_field(data, at, end)
        ts = np.int64(0)
        if stop >= 0:
            bits, ts, _, stop = read_sample(data, inner, stop, np.int64(2))
    if bits >= np.uint64(BOX):
        bits = np.uint64(NORMAL_NAN)
    return bits, ts, stop


@kernel("int64(uint8[::1], int64, uint64[::1], int64, uint64[::1], uint32[::1], uint32[::1], uint32[::1], uint32[::1],"
        " int64[::1], uint64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1])")
def decode_request(data: NDArray[np.uint8], size: int, secret: NDArray[np.uint64], max_key: int,
                   row_hash: NDArray[np.uint64], row_offset: NDArray[np.uint32], row_length: NDArray[np.uint32],
                   pending: NDArray[np.uint32], sample_row: NDArray[np.uint32], ts: NDArray[np.int64],
                   values: NDArray[np.uint64], histograms: NDArray[np.int64], exemplars: NDArray[np.int64],
                   metadata: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Decodes the WriteRequest at data[:size], where data is eight bytes longer, into the columns of a `Batch`. Call
    with state i64[STATE] zeros.

    pending u32[rows] takes the rows that `transcode_rows` has yet to judge: their offset and length are those of the
    TimeSeries. Begin and end of messages that are for others go to histograms i64[capacity, 3] with their sample, whose
    time and value are yet to be set, to exemplars i64[capacity, 3] with their row, and to metadata i64[capacity, 6].

    Returns DONE; NEED_… where these columns are full (call again with larger ones, it goes on); or an error.
    """
    at = state[AT]
    while at < size:
        # Fast: 0a <length in one or two bytes>
        begin = end = np.int64(0)
        if data[at] == 0x0A and at + 2 < size:
            if data[at + 1] < 0x80:
                begin = at + 2
                end = begin + np.int64(data[at + 1])
            elif data[at + 2] < 0x80:
                begin = at + 3
                end = begin + np.int64(data[at + 1] & 0x7F) + (np.int64(data[at + 2]) << 7)
        if begin == 0 or end > size:
            field, wire_type, begin, end = read_field(data, at, size)
            if end >= 0 and (field == 1 or field == 3) and wire_type != LENGTH:
                end = np.int64(BAD_WIRE_TYPE)
            if end < 0:
                state[AT] = at
                return end
            if field != 1:
                if field == 3:
                    if state[METADATA] == metadata.shape[0]:
                        state[AT] = at
                        return NEED_METADATA
                    metadata[state[METADATA], 0] = begin
                    metadata[state[METADATA], 1] = end
                    state[METADATA] += 1
                at = end
                continue

        # One TimeSeries. Nothing of it counts before it is whole.
        row = state[ROWS]
        sample = state[SAMPLES]
        if row == row_hash.size:
            state[AT] = at
            return NEED_ROWS
        series_at = at
        waiting = np.int64(0)  # histograms: their samples come behind the others
        exemplar = state[EXEMPLARS]
        labels = np.int64(0)
        canonical = True
        named = False
        key = begin
        key_end = begin
        name = begin
        name_length = np.int64(0)
        at = begin
        while at < end:
            tag = data[at]
            if tag == 0x0A:
                last, last_length = name, name_length
                stop = np.int64(0)
                # Fast: 0a <length> 0a <name length> name 12 <value length> value, each length in one byte
                head = load_u64(data, at)
                if head & np.uint64(0xFF80FF) == np.uint64(0x0A000A):
                    length = np.int64(head >> np.uint64(8) & np.uint64(0xFF))
                    name = at + 4
                    name_length = np.int64(head >> np.uint64(24) & np.uint64(0xFF))
                    value_length = length - 4 - name_length
                    if (at + 2 + length <= end and 0 < name_length and 0 < value_length
                            and load_u64(data, name + name_length) & np.uint64(0xFFFF)
                            == np.uint64(value_length << 8 | 0x12)):
                        stop = at + 2 + length
                if stop == 0:
                    _, _, inner, stop = read_field(data, at, end)
                    if stop < 0:
                        state[AT] = at
                        return stop
                    # In place of a canonical form any other is pending: both kernels look at what is inside
                    _, _, name, middle = read_field(data, inner, stop)
                    _, _, value, value_end = read_field(data, middle if middle >= 0 else stop, stop)
                    name_length = middle - name
                    if (middle < 0 or value_end != stop or name_length == 0 or value == value_end
                            or data[inner] != 0x0A or data[middle] != 0x12
                            or data[inner - 1] == 0 or data[name - 1] == 0 or data[value - 1] == 0):
                        canonical = False
                        name, name_length = inner, np.int64(0)
                if labels == 0:
                    key = at
                elif canonical and (at != key_end or (
                        data[last] >= data[name] and compare(data, last, last_length, name, name_length) >= 0)):
                    canonical = False
                if name_length == 8 and load_u64(data, name) == METRIC_NAME:
                    named = True
                labels += 1
                key_end = stop
                at = stop
            elif tag == 0x12:
                if sample + waiting == ts.size:
                    state[AT] = series_at
                    return NEED_SAMPLES
                values[sample], ts[sample], stop = read_sample_field(data, at, end)
                if stop < 0:
                    state[AT] = at
                    return stop
                sample_row[sample] = np.uint32(row)
                sample += 1
                at = stop
            else:
                # Exemplars, histograms, unknown fields. A label or sample with its tag in too many bytes comes here too
                field, wire_type, inner, stop = read_field(data, at, end)
                if stop >= 0 and (field <= 2 or (field <= 4 and wire_type != LENGTH)):
                    stop = np.int64(BAD_WIRE_TYPE)
                if stop < 0:
                    state[AT] = at
                    return stop
                if field == 3:
                    if exemplar == exemplars.shape[0]:
                        state[AT] = series_at
                        return NEED_EXEMPLARS
                    exemplars[exemplar, 0], exemplars[exemplar, 1], exemplars[exemplar, 2] = inner, stop, row
                    exemplar += 1
                elif field == 4:
                    place = state[HISTOGRAMS] + waiting
                    if sample + waiting == ts.size or place == histograms.shape[0]:
                        state[AT] = series_at
                        return NEED_SAMPLES if sample + waiting == ts.size else NEED_HISTOGRAMS
                    histograms[place, 0], histograms[place, 1] = inner, stop
                    waiting += 1
                at = stop

        state[SERIES] += 1
        for place in range(state[HISTOGRAMS], state[HISTOGRAMS] + waiting):
            histograms[place, 2] = sample
            sample_row[sample] = np.uint32(row)
            sample += 1
        if canonical and sample == state[SAMPLES] and exemplar == state[EXEMPLARS]:
            continue
        # Where all lengths are below 128, a key as a whole is UTF-8 if its names and values are. Else it may be pending
        if canonical and named and labels <= MAX_LABELS and key_end - key <= max_key and is_utf8(data, key, key_end):
            row_offset[row] = np.uint32(key)
            row_length[row] = np.uint32(key_end - key)
            row_hash[row] = hash_bytes(secret[0], secret[1], data, key, key_end)
        else:
            row_offset[row] = np.uint32(begin)
            row_length[row] = np.uint32(end - begin)
            row_hash[row] = np.uint64(0)
            pending[state[PENDING]] = np.uint32(row)
            state[PENDING] += 1
        state[ROWS] = row + 1
        state[SAMPLES] = sample
        state[HISTOGRAMS] += waiting
        state[EXEMPLARS] = exemplar
    state[AT] = at
    return DONE


@kernel("int64(uint8[::1], uint64[::1], int64, uint32[::1], uint8[::1], uint64[::1], uint32[::1], uint32[::1],"
        " int64[:, ::1], int64[::1])", stage="later")
def transcode_rows(data: NDArray[np.uint8], secret: NDArray[np.uint64], max_key: int, pending: NDArray[np.uint32],
                   wrong: NDArray[np.uint8], row_hash: NDArray[np.uint64], row_offset: NDArray[np.uint32],
                   row_length: NDArray[np.uint32], labels: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Judges the pending rows into `wrong` u8[pending] (`canonical_kernels`). Writes the canonical keys of the valid at
    data[state[KEYS]:], where there is room for all pending TimeSeries, and points the rows at them.

    labels i64[MAX_LABELS, 4] is scratch. Returns DONE or an error.
    """
    for i in range(pending.size):
        row = np.int64(pending[i])
        at = np.int64(row_offset[row])
        end = at + np.int64(row_length[row])
        count = np.int64(0)
        while at < end:
            field_at = at
            field, _, inner, at = read_field(data, at, end)
            if field != 1:
                continue
            name = value = inner
            name_length = value_length = np.int64(0)
            while inner < at:
                number, wire_type, content, inner = read_field(data, inner, at)
                if inner >= 0 and number <= 2 and wire_type != LENGTH:
                    inner = np.int64(BAD_WIRE_TYPE)
                if inner < 0:
                    state[AT] = field_at
                    return inner
                if number == 1:
                    name, name_length = content, inner - content
                elif number == 2:
                    value, value_length = content, inner - content
            if count < MAX_LABELS:
                labels[count, 0], labels[count, 1] = name, name_length
                labels[count, 2], labels[count, 3] = value, value_length
            count += 1
        if count > MAX_LABELS:
            wrong[i] = TOO_MANY_LABELS
            continue
        sort_labels(data, labels, count)
        verdict, size = check_labels(data, labels, count, max_key)
        wrong[i] = verdict
        if verdict == VALID:
            key = state[KEYS]
            key_end = write_key(data, labels, count, data, key)
            row_offset[row] = np.uint32(key)
            row_length[row] = np.uint32(size)
            row_hash[row] = hash_bytes(secret[0], secret[1], data, key, key_end)
            state[KEYS] = key_end
    return DONE
