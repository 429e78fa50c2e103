"""How lines of the text formats are built: where names, labels and numbers end. For kernels."""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.series_cache_kernels import COUNTER, HISTOGRAM, NO_TYPE, OTHER_TYPE, SUMMARY
from tsdb.ingest.float_kernels import FLOAT_DONE, FLOAT_SLOW, FLOAT_WRONG, read_float
from tsdb.kernels.intrinsics import bits_float, load_u32, load_u64
from tsdb.kernels.registry import device

TEXT, OPENMETRICS, PROTOBUF = range(3)
"""Formats. PROTOBUF: records as `metric_family_kernels` writes them."""

NO_NAME, BAD_LABELS, NO_VALUE, BAD_VALUE, BAD_TIMESTAMP, BEHIND, NO_EOF, BEHIND_EOF, BAD_EXEMPLAR, BAD_RECORD = \
    range(-1, -11, -1)
"""What may be wrong with a line."""

SERIES_LINE, METADATA_LINE, BETWEEN, EOF = range(4)
"""What a line is. BETWEEN: nothing, or a comment."""

ODD_VALUE, ODD_TIME, ODD_EXEMPLAR, ODD_EXEMPLAR_TIME = range(4)
"""Numbers that need all of more than 19 digits, for Python. They are rows of ``odd`` i64[n, 4]: one of these, sample or
exemplar, position, length."""
ODD_OF_LINE = 4

ROW, LABELS_AT, LABELS_LENGTH, VALUE, TIMESTAMP, HAS_TIMESTAMP, EXEMPLAR_COLUMNS = range(7)
"""Columns of ``exemplars``, i64[n, EXEMPLAR_COLUMNS]: sample, or -1; where the labels are; bits; ms, if any."""


@device
def is_blank(c: int) -> bool:
    return c == 0x20 or c == 0x09


@device
def skip_blanks(data: NDArray[np.uint8], at: int, end: int) -> int:
    while at < end and is_blank(data[at]):
        at += 1
    return at


@device
def skip_line(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Position of the line feed, or the end."""
    while at < end and data[at] != 0x0A:
        at += 1
    return at


@device
def ends_token(c: int, format_: int) -> bool:
    return c == 0x0A or c == 0x20 or (c == 0x09 and format_ == TEXT)


@device
def skip_token(data: NDArray[np.uint8], at: int, end: int, format_: int) -> int:
    """Behind what no blank or line feed interrupts."""
    while at < end and not ends_token(data[at], format_):
        at += 1
    return at


@device
def is_name_byte(c: int) -> bool:
    return 0x61 <= (c | 0x20) <= 0x7A or c == 0x5F or c == 0x3A or 0x30 <= c <= 0x39


@device
def skip_name(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind an unquoted metric name; `at` itself where there is none."""
    if at == end or 0x30 <= data[at] <= 0x39:
        return at
    while at < end and is_name_byte(data[at]):
        at += 1
    return at


@device
def skip_braces(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind the brace that closes the one at `at`, or -1: none does on this line. Quoted text may hold anything."""
    quoted = False
    at += 1
    while at < end:
        c = data[at]
        if c == 0x22:
            quoted = not quoted
        elif quoted:
            at += 1 if c == 0x5C else 0
        elif c == 0x7D:
            return at + 1
        elif c == 0x0A:
            break
        at += 1
    return np.int64(-1)


@device
def metadata_keyword(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind ``# HELP `` or ``# TYPE `` with any blanks, or -1. `at` is that of the hash sign."""
    word = skip_blanks(data, at + 1, end)
    if word == at + 1 or end - word < 5 or not is_blank(data[word + 4]):
        return np.int64(-1)
    head = load_u32(data, word)
    if head != np.uint32(0x504C4548) and head != np.uint32(0x45505954):
        return np.int64(-1)
    return word + 5


@device
def type_on_line(data: NDArray[np.uint8], at: int, end: int) -> int:
    """SUMMARY, HISTOGRAM, COUNTER or OTHER_TYPE of the metadata line data[at:end] if it is a TYPE line; or NO_TYPE."""
    word = skip_blanks(data, at + 1, end)
    if data[word] != 0x54:
        return np.int64(NO_TYPE)
    at = end
    while at > word and not is_blank(data[at - 1]):
        at -= 1
    if end - at == 9 and load_u64(data, at) == np.uint64(0x6172676F74736968):
        return np.int64(HISTOGRAM) if data[at + 8] == 0x6D else np.int64(OTHER_TYPE)
    if end - at == 7 and data[at] == 0x73 and data[at + 1] == 0x75 and data[at + 6] == 0x79:
        return np.int64(SUMMARY)
    if end - at == 7 and data[at] == 0x63 and data[at + 1] == 0x6F and data[at + 6] == 0x72:
        return np.int64(COUNTER)
    return np.int64(OTHER_TYPE)


@device
def read_time(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(ms, verdict of `read_float`) of seconds, cut off as in Go."""
    if at == end:
        return np.int64(0), np.int64(FLOAT_WRONG)
    bits, verdict = read_float(data, at, end)
    seconds = bits_float(bits)
    if verdict == FLOAT_DONE and not (seconds - seconds == 0.0):
        return np.int64(0), np.int64(FLOAT_WRONG)
    ms = seconds * 1000.0
    if not (-9.2e18 < ms < 9.2e18):
        return np.int64(-(1 << 63)), np.int64(verdict)
    return np.int64(ms), np.int64(verdict)


@device
def read_exact_time(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The same, but cut off where the decimals are, not where a float is below them."""
    begin = at
    negative = at < end and data[at] == 0x2D
    at += 1 if negative else 0
    digits = at
    ms = np.int64(0)
    while at < end and at - digits < 15 and 0x30 <= data[at] <= 0x39:
        ms = 10 * ms + np.int64(data[at] - np.uint8(0x30))
        at += 1
    plain = at > digits
    point = at
    if at < end and data[at] == 0x2E:
        at += 1
        while at < end and 0x30 <= data[at] <= 0x39:
            if at - point <= 3:
                ms = 10 * ms + np.int64(data[at] - np.uint8(0x30))
            at += 1
    if not plain or at != end:
        return read_time(data, begin, end)
    for _ in range(3 - min(max(at - point - 1, 0), 3)):
        ms *= 10
    return -ms if negative else ms, np.int64(FLOAT_DONE)


@device
def look_at_line(body: NDArray[np.uint8], at: int, size: int, format_: int) -> tuple[int, int, int, bool]:
    """(SERIES_LINE, METADATA_LINE, BETWEEN, EOF or an error; where its text, without value, begins and ends; whether a
    brace ends it) of the line of TEXT or OPENMETRICS that `at` is the beginning of. Of BETWEEN the end is that of the
    next line's beginning."""
    text = format_ == TEXT
    if text:
        at = skip_blanks(body, at, size)
        if at == size or body[at] == 0x0A:
            return np.int64(BETWEEN), at, at + 1, False
    if body[at] == 0x23:
        end = skip_line(body, at, size)
        if text:
            if metadata_keyword(body, at, end) < 0:
                return np.int64(BETWEEN), at, end + 1, False
        elif end - at >= 5 and load_u32(body, at) == np.uint32(0x4F452023) and body[at + 4] == 0x46:
            return np.int64(EOF if end == at + 5 and end + 1 >= size else BEHIND_EOF), at, end, False
        elif end == size:
            return np.int64(NO_EOF), at, end, False
        return np.int64(METADATA_LINE), at, end, False
    end = skip_name(body, at, size)
    brace = skip_blanks(body, end, size) if text else end
    if brace < size and body[brace] == 0x7B:
        end = skip_braces(body, brace, size)
        return np.int64(SERIES_LINE if end > 0 else BAD_LABELS), at, end, True
    return np.int64(SERIES_LINE if end > at else NO_NAME), at, end, False


@device
def read_milliseconds(body: NDArray[np.uint8], at: int, size: int) -> tuple[int, int]:
    """(a whole number from 0, position behind it or BAD_TIMESTAMP)."""
    number = np.uint64(0)
    begin = at
    while at < size and 0x30 <= body[at] <= 0x39 and number < np.uint64(1 << 60):
        number = number * np.uint64(10) + np.uint64(body[at] - np.uint8(0x30))
        at += 1
    if at == begin or number > np.uint64(0x7FFFFFFFFFFFFFFF) or (at < size and 0x30 <= body[at] <= 0x39):
        return np.int64(0), np.int64(BAD_TIMESTAMP)
    return np.int64(number), at


@device
def note_odd(odd: NDArray[np.int64], odds: int, kind: int, row: int, at: int, end: int) -> int:
    """Leaves the number at `at` to Python. Returns how many there are then."""
    odd[odds, 0], odd[odds, 1], odd[odds, 2], odd[odds, 3] = kind, row, at, end - at
    return odds + 1


@device
def begins_exemplar(body: NDArray[np.uint8], at: int, size: int) -> bool:
    return size - at >= 4 and load_u32(body, at) == np.uint32(0x7B202320)


@device
def read_openmetrics_rest(body: NDArray[np.uint8], at: int, size: int, odd: NDArray[np.int64], odds: int,
                          exemplars: NDArray[np.int64], example: int, exact: bool) -> tuple[int, int, bool, bool, int]:
    """What follows a value: (position behind or an error; ms; whether there is a time; an exemplar, then in row
    `example`; rows of `odd` in use). BAD_LABELS: the exemplar's begin at exemplars[example, LABELS_AT]. There is room
    for ODD_OF_LINE and for the exemplar. `exact`: times are as decimals say."""
    time = np.int64(0)
    own = False
    if at + 1 < size and body[at] == 0x20 and not begins_exemplar(body, at, size):
        end = skip_token(body, at + 1, size, np.int64(OPENMETRICS))
        time, verdict = read_exact_time(body, at + 1, end) if exact else read_time(body, at + 1, end)
        if verdict == FLOAT_WRONG:
            return np.int64(BAD_TIMESTAMP), time, own, False, odds
        if verdict == FLOAT_SLOW:
            odds = note_odd(odd, odds, np.int64(ODD_TIME), np.int64(-1), at + 1, end)
        own = True
        at = end
    if not begins_exemplar(body, at, size):
        return at, time, own, False, odds
    labels = at + 3
    exemplars[example, LABELS_AT] = labels
    at = skip_braces(body, labels, size)
    if at < 0:
        return np.int64(BAD_LABELS), time, own, False, odds
    exemplars[example, LABELS_LENGTH] = at - labels
    exemplars[example, TIMESTAMP], exemplars[example, HAS_TIMESTAMP] = 0, 0
    for number in range(2):
        if at == size or body[at] != 0x20:
            return at if number == 1 else np.int64(BAD_EXEMPLAR), time, own, True, odds
        begin = at + 1
        at = skip_token(body, begin, size, np.int64(OPENMETRICS))
        if at == begin:
            return np.int64(BAD_EXEMPLAR), time, own, True, odds
        if number == 0:
            bits, verdict = read_float(body, begin, at)
            exemplars[example, VALUE] = np.int64(bits)
        else:
            instant, verdict = read_time(body, begin, at)
            exemplars[example, TIMESTAMP], exemplars[example, HAS_TIMESTAMP] = instant, 1
        if verdict == FLOAT_WRONG:
            return np.int64(BAD_EXEMPLAR), time, own, True, odds
        if verdict == FLOAT_SLOW:
            odds = note_odd(odd, odds, np.int64(ODD_EXEMPLAR) + number, example, begin, at)
    return at, time, own, True, odds
