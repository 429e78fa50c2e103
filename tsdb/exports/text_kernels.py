# mypy: disable-error-code="call-overload,arg-type,return-value,assignment,operator,no-any-return"
"""Samples as lines of text, written straight from the columns of a tile."""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64
from numpy.typing import NDArray

from tsdb.kernels.intrinsics import load_u32, store_u64
from tsdb.kernels.number_kernels import digit_count, write_digits, write_text, write_time, write_value
from tsdb.kernels.registry import device, kernel
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import BOX, NORMAL_NAN, OFFSET_MASK

OPENMETRICS, CSV = range(2)
"""A line of `write_lines` is the series, value and time; or time, value and the series."""
SECONDS, MILLISECONDS, NANOSECONDS, RFC3339 = range(4)
"""How times are written: seconds with as many decimals as they need, at most three; whole ms or ns; UTC with ms."""
HISTOGRAMS, STALE_MARKERS, NAN_BITS, START_TIMES = range(4)
"""Places of what is counted as lost."""

SAMPLE_BYTES = 56
"""Most bytes of a value and its time, with what stands between."""
NAN_BYTES = 32
"""Most bytes of ``[i,"7ff0000000000002"],``."""
ENTRY_BYTES = 24
"""Most bytes of ``[i,""],`` and of a time."""
LINE_BYTES = 1 << 20
"""Of JSON, about: a longer line is ended, and another begun."""
SPARE = 192
"""More than a line has besides its series and samples, and what the last store of eight bytes may spoil."""
LINE_SPARE = 80
"""The same of `write_lines`."""

WORDS = tuple(word.encode() for word in (
    '],"timestamps":[', '],"nan_bits":[', '],"histograms":[', '],"start_timestamps":[', "]}\n", '"Infinity"',
    '"-Infinity"', "null"))
BETWEEN_TIMES, BETWEEN_NANS, BETWEEN_HISTOGRAMS, BETWEEN_STARTS, END, INFINITY, NEGATIVE_INFINITY, NULL = range(8)
WORD_TEXT = np.frombuffer(b"".join(WORDS) + bytes(8), np.uint8)
WORD_AT = np.cumsum([0, *map(len, WORDS)])
BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

EXPONENT = np.uint64(0x7FF << 52)
NEGATIVE_ZERO = np.uint64(1 << 63)
READ, U8, I64, U64 = types.Array(uint8, 1, "C", readonly=True), uint8[::1], int64[::1], uint64[::1]


@kernel(int64(READ, I64, I64, I64, I64, U64, READ, I64, int64, I64, U8), stage="later")
def write_json_lines(heads: NDArray[np.uint8], head_offsets: NDArray[np.int64], begin: NDArray[np.int64],
                     end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64],
                     payload: NDArray[np.uint8], starts: NDArray[np.int64], most: int, place: NDArray[np.int64],
                     out: NDArray[np.uint8]) -> int:
    """Lines of JSON of the rows from place[0] on, into `out` u8[] while they are sure to fit; returns the bytes.

    A line begins with head_offsets[row]:head_offsets[row + 1] of `heads` (eight bytes to spare behind them), which ends
    with ``"values":[``, and has at most `most` of the row's samples begin[row]:end[row] of `ts` (ms), `values` (u64
    bits, or boxed where `payload` is not empty) and `starts` (ms; empty: none is known). `place` i64[2] is the row and
    how many of its samples are written; it is moved on. Where not even one line fits, 0 is returned, place[0] is a row.
    """
    at = np.int64(0)
    rows = begin.size
    while place[0] < rows:
        row = place[0]
        first = begin[row] + place[1]
        if first >= end[row]:
            place[0] = row + 1
            place[1] = 0
            continue
        nans = np.int64(0)
        boxes = np.int64(0)
        since = False
        size = head_offsets[row + 1] - head_offsets[row] + SPARE
        last = first
        while last < end[row] and last - first < most:
            bits = values[last]
            more = np.int64(SAMPLE_BYTES)
            if starts.size:
                more += ENTRY_BYTES
                since = since or starts[last] != 0
            if is_nan(bits):
                if payload.size and bits >= np.uint64(BOX):
                    length = np.int64(load_u32(payload, np.int64(bits & np.uint64(OFFSET_MASK))))
                    more += ENTRY_BYTES + (length + 2) // 3 * 4
                    boxes += 1
                elif bits != np.uint64(NORMAL_NAN):
                    more += NAN_BYTES
                    nans += 1
            if last > first and size + more > LINE_BYTES:
                break
            size += more
            last += 1
        if at + size > out.size:
            break
        at = write_text(out, at, heads, head_offsets[row], head_offsets[row + 1])
        for i in range(first, last):
            at = write_json_value(out, at, values[i])
            out[at] = 44
            at += 1
        at = write_word(out, at - 1, BETWEEN_TIMES)
        for i in range(first, last):
            at = write_whole(out, at, ts[i])
            out[at] = 44
            at += 1
        at -= 1
        if nans:
            at = write_word(out, at, BETWEEN_NANS)
            for i in range(first, last):
                bits = values[i]
                if is_nan(bits) and bits != np.uint64(NORMAL_NAN) and not (payload.size and bits >= np.uint64(BOX)):
                    at = write_entry(out, at, i - first)
                    for digit in range(16):
                        out[at + digit] = HEX[np.int64(bits >> np.uint64(60 - 4 * digit) & np.uint64(15))]
                    at = end_entry(out, at + 16)
            at -= 1
        if boxes:
            at = write_word(out, at, BETWEEN_HISTOGRAMS)
            for i in range(first, last):
                if values[i] >= np.uint64(BOX):
                    at = write_entry(out, at, i - first)
                    at = write_base64(out, at, payload, np.int64(values[i] & np.uint64(OFFSET_MASK)))
                    at = end_entry(out, at)
            at -= 1
        if since:
            at = write_word(out, at, BETWEEN_STARTS)
            for i in range(first, last):
                at = write_whole(out, at, starts[i])
                out[at] = 44
                at += 1
            at -= 1
        at = write_word(out, at, END)
        place[1] += last - first
    return at


@kernel(int64(READ, I64, I64, I64, I64, U64, READ, I64, int64, int64, I64, I64, U8), stage="later")
def write_lines(texts: NDArray[np.uint8], text_offsets: NDArray[np.int64], begin: NDArray[np.int64],
                end: NDArray[np.int64], ts: NDArray[np.int64], values: NDArray[np.uint64], payload: NDArray[np.uint8],
                starts: NDArray[np.int64], layout: int, times: int, lost: NDArray[np.int64], place: NDArray[np.int64],
                out: NDArray[np.uint8]) -> int:
    """Lines of one sample each, in a layout and with times as named above; otherwise as `write_json_lines`.

    The text of a row, the series, has what separates it from the numbers; of CSV also the line's end. Stale markers and
    histograms are left out. `lost` i64[4] counts what gets lost on.
    """
    at = np.int64(0)
    rows = begin.size
    while place[0] < rows:
        row = place[0]
        text, past = text_offsets[row], text_offsets[row + 1]
        size = past - text + LINE_SPARE
        i = begin[row] + place[1]
        while i < end[row] and at + size <= out.size:
            bits = values[i]
            if is_nan(bits) and bits != np.uint64(NORMAL_NAN):
                if bits == np.uint64(STALE_NAN):
                    lost[STALE_MARKERS] += 1
                    i += 1
                    continue
                if payload.size and bits >= np.uint64(BOX):
                    lost[HISTOGRAMS] += 1
                    i += 1
                    continue
                lost[NAN_BITS] += 1
            if starts.size and starts[i] != 0:
                lost[START_TIMES] += 1
            if layout == OPENMETRICS:
                at = write_text(out, at, texts, text, past)
                at = write_value(out, at, bits)
                out[at] = 32
                at = write_moment(out, at + 1, ts[i], times)
                out[at] = 10
                at += 1
            else:
                at = write_moment(out, at, ts[i], times)
                out[at] = 44
                at = write_value(out, at + 1, bits)
                at = write_text(out, at, texts, text, past)
            i += 1
        place[1] = i - begin[row]
        if i < end[row]:
            break
        place[0] = row + 1
        place[1] = 0
    return at


@device
def is_nan(bits: int) -> bool:
    return bits & EXPONENT == EXPONENT and bits << np.uint64(12) != np.uint64(0)


@device
def write_json_value(out: NDArray[np.uint8], at: int, bits: int) -> int:
    """As VictoriaMetrics has values in JSON. -0 has a decimal: to parsers of JSON -0 is the integer 0."""
    if bits & EXPONENT == EXPONENT:
        if bits << np.uint64(12) != np.uint64(0):
            return write_word(out, at, NULL)
        return write_word(out, at, INFINITY if bits == EXPONENT else NEGATIVE_INFINITY)
    if bits == NEGATIVE_ZERO:
        store_u64(out, at, np.uint64(0x302E302D))  # -0.0
        return at + 4
    return write_value(out, at, bits)


@device
def write_word(out: NDArray[np.uint8], at: int, word: int) -> int:
    return write_text(out, at, WORD_TEXT, WORD_AT[word], WORD_AT[word + 1])


@device
def write_whole(out: NDArray[np.uint8], at: int, number: int) -> int:
    """An i64."""
    size = np.uint64(number)
    if number < 0:
        out[at] = 45
        at += 1
        size = np.uint64(0) - size
    return write_digits(out, at, size, digit_count(size))


@device
def write_entry(out: NDArray[np.uint8], at: int, index: int) -> int:
    """``[index,"``"""
    out[at] = 91
    at = write_whole(out, at + 1, index)
    out[at] = 44
    out[at + 1] = 34
    return at + 2


@device
def end_entry(out: NDArray[np.uint8], at: int) -> int:
    store_u64(out, at, np.uint64(0x2C5D22))  # "],
    return at + 3


@device
def write_base64(out: NDArray[np.uint8], at: int, payload: NDArray[np.uint8], begin: int) -> int:
    """The histogram at `begin` of a payload."""
    end = begin + np.int64(load_u32(payload, begin))
    i = begin
    while i < end:
        left = end - i
        triple = np.int64(payload[i]) << 16
        if left > 1:
            triple |= np.int64(payload[i + 1]) << 8
        if left > 2:
            triple |= np.int64(payload[i + 2])
        out[at] = BASE64[triple >> 18]
        out[at + 1] = BASE64[triple >> 12 & 63]
        out[at + 2] = BASE64[triple >> 6 & 63] if left > 1 else 61
        out[at + 3] = BASE64[triple & 63] if left > 2 else 61
        at += 4
        i += 3
    return at


@device
def write_moment(out: NDArray[np.uint8], at: int, ms: int, form: int) -> int:
    """A time in a form."""
    if form == SECONDS:
        return write_time(out, at, ms)
    if form == RFC3339:
        return write_rfc3339(out, at, ms)
    at = write_whole(out, at, ms)
    if form == NANOSECONDS and ms != 0:
        store_u64(out, at, np.uint64(0x303030303030))
        at += 6
    return at


@device
def write_rfc3339(out: NDArray[np.uint8], at: int, ms: int) -> int:
    """``2026-11-23T12:00:00.000Z``; years of more digits, or before the year 0, have them all, with a sign. The
    calendar is H. Hinnant's ("chrono-compatible low-level date algorithms", days_from_civil's inverse)."""
    days = ms // 86_400_000
    rest = np.uint64(ms - days * 86_400_000)
    days += 719_468
    era = days // 146_097
    day = days - era * 146_097
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (1 if month <= 2 else 0)
    if year < 0 or year > 9999:
        out[at] = 45 if year < 0 else 43
        at += 1
    size = np.uint64(abs(year))
    at = write_digits(out, at, size, max(np.int64(4), digit_count(size)))
    at = write_field(out, at, 45, np.uint64(month), 2)
    at = write_field(out, at, 45, np.uint64(day), 2)
    at = write_field(out, at, 84, rest // np.uint64(3_600_000), 2)
    at = write_field(out, at, 58, rest // np.uint64(60_000) % np.uint64(60), 2)
    at = write_field(out, at, 58, rest // np.uint64(1000) % np.uint64(60), 2)
    at = write_field(out, at, 46, rest % np.uint64(1000), 3)
    out[at] = 90
    return at + 1


@device
def write_field(out: NDArray[np.uint8], at: int, before: int, number: int, digits: int) -> int:
    out[at] = before
    return write_digits(out, at + 1, number, digits)
