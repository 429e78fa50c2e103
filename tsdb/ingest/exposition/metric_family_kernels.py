"""Prometheus' protobuf exposition to records, which `exposition_kernels` reads as it reads lines.

A body is MetricFamily messages (io/prometheus/client/metrics.proto), each behind its length. What records
are, `record_kernels` says. Where native histograms are not taken, what classic ones have too is.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.native_histogram_kernels import (
    CLASSIC,
    NATIVE,
    OVER_LIMIT,
    add_histogram,
    read_native,
    room_of,
)
from tsdb.ingest.exposition.record_kernels import (
    BUCKET,
    COUNT,
    DONE,
    LE,
    NO_ROOM,
    NOT_UTF8,
    PLAIN,
    QUANTILE,
    ROOM,
    START_BYTES,
    SUM,
    add_exemplar,
    has_mark,
    write_labels,
    write_metadata,
    write_native_exemplars,
    write_sample,
    write_start,
)
from tsdb.ingest.float_kernels import INFINITY
from tsdb.ingest.histogram_kernels import START
from tsdb.ingest.protobuf_kernels import (
    BAD_WIRE_TYPE,
    FIXED64,
    LENGTH,
    LENGTH_TOO_LARGE,
    VARINT,
    read_field,
    read_timestamp,
    read_varint,
)
from tsdb.kernels.intrinsics import float_bits, load_u64, store_u64
from tsdb.kernels.registry import device, kernel

# `state`, i64[STATE].
AT, OUT, FAMILY, PAYLOAD, PAYLOAD_NEXT, REFUSED, PROBLEM, STARTED, STARTS, STATE = range(10)
"""Next byte of the body; bytes written; families read; bytes of the payload, and with those of a family that is not
complete; native histograms with too many buckets; what is wrong, of `histogram_kernels`, with the one of
BAD_HISTOGRAM; since when the last samples of the family count (ms, or 0); how many changes of that there are."""

MORE_OUTPUT = 1
"""A result beside DONE; negative ones are errors in the family at AT: those of `protobuf_kernels`, NOT_UTF8, or"""
BAD_TYPE, BAD_HISTOGRAM = -20, -23

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
"""MetricType."""
_FIELD_OF_TYPE = np.array([3, 2, 4, 5, 7, 7])
"""Field of Metric with the value, by type."""
_CREATED_FIELD = np.array([3, 0, 4, 0, 15, 15])
"""Field of that with the created_timestamp."""


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
def start_samples(ms: int, out: NDArray[np.uint8], to: int, state: NDArray[np.int64]) -> int:
    """Says since when the samples count that follow, where it is another time than before. Returns the position behind
    the record."""
    if ms == state[STARTED]:
        return to
    state[STARTED] = ms
    state[STARTS] += 1
    return write_start(ms, out, to)


@device
def write_metric(body: NDArray[np.uint8], at: int, end: int, type_: int, name: int, name_end: int,
                 options: NDArray[np.int64], labels: NDArray[np.uint8], fields: NDArray[np.int64],
                 spans: NDArray[np.int64], lists: NDArray[np.int64], runs: NDArray[np.int64],
                 details: NDArray[np.int64], out: NDArray[np.uint8], to: int, payload: NDArray[np.uint8],
                 state: NDArray[np.int64]) -> int:
    """Records of the Metric body[at:end]; labels and what follows: scratch. Returns the position behind them, an error,
    or NO_ROOM where they do not fit."""
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
    if out.size - to < 5 * room + 2 * START_BYTES:
        return NO_ROOM

    # Of all types: count or value, sum, and what repeats
    plain, bucket = np.int64(PLAIN), np.int64(BUCKET)  # a literal would make numba compile a function once more
    le, quantile = np.int64(LE), np.int64(QUANTILE)
    distribution = type_ == SUMMARY or type_ == HISTOGRAM or type_ == GAUGE_HISTOGRAM
    histogram = distribution and type_ != SUMMARY
    first = second = float_count = np.uint64(0)
    exemplar = exemplar_end = np.int64(-1)
    if histogram and options[NATIVE]:
        native = read_native(body, value, value_end, type_ == GAUGE_HISTOGRAM, fields, spans, lists)
        if native < 0:
            return native
        if native:
            if payload.size - state[PAYLOAD_NEXT] < room_of(value_end - value):
                return NO_ROOM
            problem, bits, end = add_histogram(fields, spans, lists, value_end - value, options, payload,
                                               state[PAYLOAD_NEXT], runs, details)
            if problem > 0:
                state[PROBLEM] = problem
                return np.int64(BAD_HISTOGRAM)
            state[REFUSED] += 1 if problem == OVER_LIMIT else 0
            state[PAYLOAD_NEXT] = end
            to = start_samples(fields[START], out, to, state)
            record = to
            to = write_sample(body, name, name_end, plain, labels, labels_size, plain, first, first, ts, out, to)
            store_u64(out, to - 17, bits)
            to, classic = write_native_exemplars(body, value, value_end, out, record, to)
            if to < 0 or not classic or not options[CLASSIC]:
                return to
            if out.size - to < 4 * room + START_BYTES:
                return NO_ROOM
    started = np.int64(0)
    at = value
    while at < value_end:
        number, wire, start, at = read_field(body, at, value_end)
        if at < 0:
            return at
        if number == _CREATED_FIELD[type_]:
            if wire != LENGTH:
                return np.int64(BAD_WIRE_TYPE)
            started, status = read_timestamp(body, start, at)
            if status < 0:
                return status
        elif number == 1 or (distribution and number == 2) or (histogram and number == 4):
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
    to = start_samples(started, out, to, state)
    if not distribution:
        record = to
        to = write_sample(body, name, name_end, plain, labels, labels_size, plain, first, first, ts, out, to)
        return to if exemplar < 0 else add_exemplar(body, exemplar, exemplar_end, False, out, record, to)
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
            to = add_exemplar(body, exemplar, exemplar_end, False, out, record, to)
            if to < 0:
                return to
    if not infinite:
        to = write_sample(body, name, name_end, bucket, labels, labels_size, le, INFINITY, first, ts, out, to)
    return to


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64[::1], uint8[::1], int64[::1], int64[:, :, ::1],"
        " int64[:, ::1], int64[:, ::1], int64[::1], uint8[::1], uint8[::1], int64[::1])", stage="query")
def write_records(body: NDArray[np.uint8], options: NDArray[np.int64], labels: NDArray[np.uint8],
                  fields: NDArray[np.int64], spans: NDArray[np.int64], lists: NDArray[np.int64],
                  runs: NDArray[np.int64], details: NDArray[np.int64], out: NDArray[np.uint8],
                  payload: NDArray[np.uint8], state: NDArray[np.int64]) -> int:
    """Writes the records of a body (u8). labels u8[twice the body] and, of `native_histogram_kernels`, fields to
    `details` are scratch, runs i64[capacity, 2]. state i64[STATE]: zeros. `details` say more of BAD_HISTOGRAM.

    Returns DONE; MORE_OUTPUT: call again with a larger `out` and `payload`, it goes on; or an error.
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
            refused = state[REFUSED]
            state[PAYLOAD_NEXT] = state[PAYLOAD]
            state[STARTED] = 0
            at = begin
            while at < end:
                number, _, start, at = read_field(body, at, end)
                if number == 4:
                    to = write_metric(body, start, at, type_, name, name_end, options, labels, fields, spans, lists,
                                      runs, details, out, to, payload, state)
                    if to == NO_ROOM:
                        state[REFUSED] = refused
                        return MORE_OUTPUT
                    if to < 0:
                        return to
            state[OUT] = to
            state[PAYLOAD] = state[PAYLOAD_NEXT]
            state[FAMILY] += 1
        state[AT] = end
    return DONE
