"""Rows of CSV (RFC 4180) to samples, for kernels.

A series is known by its *text*: the number of its value column as a byte, then the fields of the label columns, each
with 0xff behind it, which UTF-8 has not. Texts are looked up in a cache of `series_cache_kernels`.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.line_kernels import is_blank
from tsdb.ingest.exposition.series_cache_kernels import OFFSET, add_entry, find_entry
from tsdb.ingest.float_kernels import FLOAT_DONE, FLOAT_SLOW, FLOAT_WRONG, read_float, read_number
from tsdb.kernels.intrinsics import bits_float
from tsdb.kernels.registry import device, kernel

IGNORED, TIME, VALUES, LABELS = -1, 0, 1, 1 << 20
"""What a column is: none of ours; the time; VALUES + number of a value; LABELS + number of a label."""

DECIMAL, RFC3339, OTHER = range(3)
"""Forms of times: a number, to be made milliseconds by a power of ten; a date and a time; what Python reads."""

AT, ENTRIES, SAMPLES, ODD, INVALID, WRONG_AT, WRONG_COLUMN, STATE = range(8)
"""`state`: next byte; entries in use; how much of the arrays is filled; wrong rows that were passed over; the row and
column of the one that was not."""

DONE, MORE_ROOM, MORE_ENTRIES = range(3)
"""Results: all rows that end; an array for output, or the cache, is full. Negative ones are errors."""
OPEN_QUOTE, BEHIND_QUOTE, FEW_FIELDS, MANY_FIELDS, BAD_TIME, BAD_VALUE, NOT_TEXT = range(-1, -8, -1)

ODD_VALUE, ODD_TIME = range(2)
QUOTE, FEED, RETURN, SEPARATOR = 0x22, 0x0A, 0x0D, 0xFF
MOST = 922_337_203_685_477_579
"""Numbers up to it can have one more digit."""


@device
def split_row(data: NDArray[np.uint8], at: int, size: int, delimiter: int, columns: int, exact: bool,
              fields: NDArray[np.int64], work: NDArray[np.uint8]) -> tuple[int, int, int]:
    """(position behind the row's line feed, or an error; its column; bytes of `work` in use). OPEN_QUOTE also where the
    row may go on behind the data. fields i64[columns, 3]: position and length of each, 1 where they are in `work`."""
    used = np.int64(0)
    column = np.int64(0)
    while True:
        begin = at
        in_work = np.int64(0)
        if at < size and data[at] == QUOTE:
            begin = at + 1
            at = begin
            while at < size and data[at] != QUOTE:
                at += 1
            length = at - begin
            if at + 1 < size and data[at + 1] == QUOTE:
                in_work = np.int64(1)
                text = used
                at = begin
                while at < size and (data[at] != QUOTE or (at + 1 < size and data[at + 1] == QUOTE)):
                    work[used] = data[at]
                    used += 1
                    at += 2 if data[at] == QUOTE else 1
                begin = text
                length = used - text
            if at >= size:
                return np.int64(OPEN_QUOTE), column, used
            at += 1
            if at < size and data[at] == RETURN and (at + 1 == size or data[at + 1] == FEED):
                at += 1
            if at < size and data[at] != delimiter and data[at] != FEED:
                return np.int64(BEHIND_QUOTE), column, used
        else:
            while at < size and data[at] != delimiter and data[at] != FEED:
                at += 1
            length = at - begin
            if length > 0 and (at == size or data[at] == FEED) and data[at - 1] == RETURN:
                length -= 1
        if column < columns:
            fields[column, 0], fields[column, 1], fields[column, 2] = begin, length, in_work
        elif exact:
            return np.int64(MANY_FIELDS), column, used
        column += 1
        if at >= size or data[at] == FEED:
            break
        at += 1
    return at + 1 if column >= columns else np.int64(FEW_FIELDS), column, used


@device
def skip_row(data: NDArray[np.uint8], at: int, size: int) -> int:
    """Behind the next line feed: of a row that cannot be split."""
    while at < size and data[at] != FEED:
        at += 1
    return at + 1


@device
def read_scaled(data: NDArray[np.uint8], at: int, end: int, power: int) -> tuple[int, bool]:
    """(the decimal data[at:end] times 10^power, cut off; whether it is one)."""
    begin = at
    negative = at < end and data[at] == 0x2D
    at += 1 if negative or (at < end and data[at] == 0x2B) else 0
    number = np.int64(0)
    digits = np.int64(0)
    point = False
    taken = np.int64(0)  # digits behind the point
    while at < end and (0x30 <= data[at] <= 0x39 or (data[at] == 0x2E and not point)):
        if data[at] == 0x2E:
            point = True
        else:
            digits += 1
            if not point or taken < power:
                if number > MOST:
                    return np.int64(0), False
                number = 10 * number + np.int64(data[at] - np.uint8(0x30))
                taken += 1 if point else 0
        at += 1
    if digits > 0 and at < end and data[at] | 0x20 == 0x65:
        bits, verdict = read_float(data, begin, end)
        value = bits_float(bits)
        for _ in range(power):
            value *= 10.0
        for _ in range(-power):
            value /= 10.0
        good = verdict == FLOAT_DONE and -9.2e18 < value < 9.2e18
        return np.int64(np.rint(value)) if good else np.int64(0), good
    if at != end or digits == 0:
        return np.int64(0), False
    for _ in range(power - taken):
        if number > MOST:
            return np.int64(0), False
        number *= 10
    for _ in range(-power):
        number //= 10
    return -number if negative else number, True


@device
def read_digits_of(data: NDArray[np.uint8], at: int, end: int, count: int) -> int:
    """The number in so many digits, or -1."""
    if end - at < count:
        return np.int64(-1)
    number = np.int64(0)
    for i in range(count):
        c = data[at + i]
        if c < 0x30 or c > 0x39:
            return np.int64(-1)
        number = 10 * number + np.int64(c - np.uint8(0x30))
    return number


@device
def read_rfc3339(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, bool]:
    """(ms, whether it is one) of a date, or a date and a time behind T or a blank, perhaps with an offset, else UTC.
    Years may have a sign, and more than four digits. The calendar is H. Hinnant's days_from_civil."""
    negative = at < end and data[at] == 0x2D
    at += 1 if negative or (at < end and data[at] == 0x2B) else 0
    begin = at
    year = np.int64(0)
    while at < end and 0x30 <= data[at] <= 0x39 and at - begin < 9:
        year = 10 * year + np.int64(data[at] - np.uint8(0x30))
        at += 1
    if at - begin < 4 or end - at < 6 or data[at] != 0x2D or data[at + 3] != 0x2D:
        return np.int64(0), False
    if negative:
        year = -year
    month = read_digits_of(data, at + 1, end, 2)
    day = read_digits_of(data, at + 4, end, 2)
    last = np.int64(31)
    if month == 4 or month == 6 or month == 9 or month == 11:
        last = np.int64(30)
    elif month == 2:
        last = np.int64(29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28)
    if month < 1 or month > 12 or day < 1 or day > last:
        return np.int64(0), False
    at += 6
    if month <= 2:
        year -= 1
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    ms = (era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468) * 86_400_000
    if at == end:
        return ms, True
    if (data[at] != 0x20 and data[at] | 0x20 != 0x74) or end - at < 9 or data[at + 3] != 0x3A or data[at + 6] != 0x3A:
        return np.int64(0), False
    hour = read_digits_of(data, at + 1, end, 2)
    minute = read_digits_of(data, at + 4, end, 2)
    second = read_digits_of(data, at + 7, end, 2)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 60:
        return np.int64(0), False
    at += 9
    ms += (hour * 3600 + minute * 60 + second) * 1000
    if at < end and (data[at] == 0x2E or data[at] == 0x2C):
        at += 1
        begin = at
        part = np.int64(100)
        while at < end and 0x30 <= data[at] <= 0x39:
            ms += part * np.int64(data[at] - np.uint8(0x30))
            part //= 10
            at += 1
        if at == begin:
            return np.int64(0), False
    if at < end and (data[at] == 0x2B or data[at] == 0x2D):
        hour = read_digits_of(data, at + 1, end, 2)
        colon = 1 if at + 3 < end and data[at + 3] == 0x3A else 0
        minute = read_digits_of(data, at + 3 + colon, end, 2)
        if hour < 0 or hour > 23 or minute < 0 or minute > 59:
            return np.int64(0), False
        ms += (hour * 60 + minute) * (60_000 if data[at] == 0x2D else -60_000)
        at += 5 + colon
    elif at < end and data[at] | 0x20 == 0x7A:
        at += 1
    return ms, at == end


@kernel("int64(Array(uint8, 1, 'C', readonly=True), boolean, int64, boolean, int64[::1], int64, int64, int64, int64,"
        " boolean, uint64[::1], uint8[::1], int32[:, ::1], uint64[::1], uint8[::1], int32[::1], int64[:, ::1],"
        " uint8[::1], int32[::1], int64[::1], uint64[::1], int64[::1], int64[:, ::1], int64[::1])", stage="later")
def read_rows(data: NDArray[np.uint8], last: bool, delimiter: int, exact: bool, roles: NDArray[np.int64],
              labels: int, metrics: int, form: int, power: int, skip: bool, secret: NDArray[np.uint64],
              texts: NDArray[np.uint8], cached: NDArray[np.int32], refs: NDArray[np.uint64], tracked: NDArray[np.uint8],
              table: NDArray[np.int32], fields: NDArray[np.int64], work: NDArray[np.uint8], entry: NDArray[np.int32],
              ts: NDArray[np.int64], values: NDArray[np.uint64], place: NDArray[np.int64], odd: NDArray[np.int64],
              state: NDArray[np.int64]) -> int:
    """Samples of the rows of `data` (u8), the `last` of which may be without a line feed; others that do not end are
    left.

    roles i64[columns]: what each column is; of `labels` and `metrics` there are so many. `exact`: rows have no more
    columns. form: of times; power: of ten, by which DECIMAL ones become ms. `skip`: wrong rows are passed over. From
    `texts` to `table` the cache (`series_cache_kernels`; its fields are `cached`). fields i64[columns + labels, 3] and
    work u8[2 * data + labels + 16] are scratch.

    Output, of each sample: its entry, ms, bits, and where its row begins; odd i64[n, 4]: ODD_*, sample, position and
    length of a number or a time that is left to Python.

    Returns DONE; MORE_*: call again with more room, it goes on; or an error.
    """
    size = data.size
    columns = roles.size
    at = state[AT]
    count = state[ENTRIES]
    samples = state[SAMPLES]
    odds = state[ODD]
    result = np.int64(DONE)
    while at < size:
        row = at
        if samples + metrics > ts.size or odds + 2 * metrics > odd.shape[0]:
            result = np.int64(MORE_ROOM)
            break
        if data[at] == FEED or (data[at] == RETURN and at + 1 < size and data[at + 1] == FEED):
            at += 1 if data[at] == FEED else 2
            continue
        past, column, used = split_row(data, at, size, delimiter, columns, exact, fields, work)
        if past == OPEN_QUOTE and not last:
            break
        wrong = min(past, 0)
        if wrong == 0:
            # the time
            time = np.int64(0)
            odd_time = False
            time_at = np.int64(0)
            time_end = np.int64(0)
            for c in range(columns):
                if roles[c] >= LABELS:
                    for k in range(3):
                        fields[columns + roles[c] - LABELS, k] = fields[c, k]
                elif roles[c] == TIME:
                    column = np.int64(c)
                    time_at = fields[c, 0]
                    time_end = time_at + fields[c, 1]
                    while time_at < time_end and is_blank(data[time_at]):
                        time_at += 1
                    while time_at < time_end and is_blank(data[time_end - 1]):
                        time_end -= 1
                    good = fields[c, 2] == 0 and time_end > time_at
                    if good and form == DECIMAL:
                        time, good = read_scaled(data, time_at, time_end, power)
                    elif good and form == RFC3339:
                        time, good = read_rfc3339(data, time_at, time_end)
                    else:
                        odd_time = True
                    if not good:
                        wrong = np.int64(BAD_TIME)
            # the labels, behind a byte for the value's number
            text = used
            end = text + 1
            for k in range(columns, columns + labels):
                begin, length = fields[k, 0], fields[k, 1]
                for i in range(length):
                    c = work[begin + i] if fields[k, 2] else data[begin + i]
                    if c == SEPARATOR:
                        wrong = np.int64(NOT_TEXT)
                    work[end + i] = c
                work[end + length] = SEPARATOR
                end += length + 1
            # the values
            first, first_odd = samples, odds
            if wrong == 0:
                for c in range(columns):
                    number = roles[c] - VALUES
                    if number < 0 or number >= metrics:
                        continue
                    begin = fields[c, 0]
                    stop = begin + fields[c, 1]
                    while begin < stop and is_blank(data[begin]):
                        begin += 1
                    while begin < stop and is_blank(data[stop - 1]):
                        stop -= 1
                    if begin == stop:
                        continue
                    bits, behind, verdict = read_number(data, begin, stop)
                    if verdict != FLOAT_DONE or behind != stop:
                        bits, verdict = read_float(data, begin, stop)
                    if verdict == FLOAT_WRONG or fields[c, 2]:
                        wrong = np.int64(BAD_VALUE)
                        column = np.int64(c)
                        break
                    work[text] = np.uint8(number)
                    found, slot = find_entry(secret, work, text, end, texts, cached, table)
                    if found == 0:
                        if count + 2 > cached.shape[0] or 4 * count + 4 > 3 * table.size \
                                or texts.size - np.int64(cached[count, OFFSET]) < end - text:
                            result = np.int64(MORE_ENTRIES)
                            break
                        found = count
                        count += 1
                        add_entry(work, text, end, found, np.int64(0), np.int64(0), texts, cached, refs, tracked)
                        table[slot] = np.int32(found)
                    if odd_time:
                        odd[odds, 0], odd[odds, 1], odd[odds, 2], odd[odds, 3] = \
                            ODD_TIME, samples, time_at, time_end - time_at
                        odds += 1
                    if verdict == FLOAT_SLOW:
                        odd[odds, 0], odd[odds, 1], odd[odds, 2], odd[odds, 3] = ODD_VALUE, samples, begin, stop - begin
                        odds += 1
                    entry[samples], ts[samples], values[samples], place[samples] = np.int32(found), time, bits, row
                    samples += 1
            if result != DONE or wrong != 0:
                samples, odds = first, first_odd
            if result != DONE:
                break
        if wrong != 0:
            if not skip:
                state[WRONG_AT], state[WRONG_COLUMN] = row, column
                result = wrong
                break
            state[INVALID] += 1
        at = past if past > 0 else skip_row(data, row, size)
    state[AT] = min(at, size)
    state[ENTRIES] = count
    state[SAMPLES] = samples
    state[ODD] = odds
    return result
