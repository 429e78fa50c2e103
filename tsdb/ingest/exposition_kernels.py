"""The lines of a scraped body to samples, for all formats: what every scrape goes through.

A line that the last scrape had too costs a comparison with the text of the entry that followed the one before: names
and labels are neither split nor hashed. Others are looked up by their text; what is new is remembered, to be read by
`label_kernels` (series) and `metadata_lines` (HELP, TYPE, UNIT).
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.float_kernels import FLOAT_DONE, FLOAT_SLOW, FLOAT_WRONG, read_float, read_number
from tsdb.ingest.series_cache_kernels import (
    BRACED,
    DROPPED,
    FIRST_ROW,
    FLAGS,
    FORMAT_MASK,
    FORMAT_SHIFT,
    HISTOGRAM,
    METADATA,
    NEXT,
    NO_TYPE,
    OFFSET,
    OTHER_TYPE,
    SEEN,
    SLOT,
    SUMMARY,
    TYPE_MASK,
    TYPE_SHIFT,
    UNKNOWN_SLOT,
    find_entry,
    same_bytes,
)
from tsdb.kernels.intrinsics import bits_float, load_u32, load_u64
from tsdb.kernels.registry import device, kernel

TEXT, OPENMETRICS, PROTOBUF = range(3)
"""Formats. PROTOBUF: records as `metric_family_kernels` writes them."""

# `state`, i64[STATE].
AT, ENTRIES, PREVIOUS, TYPE, SAMPLES, KNOWN, NEW, LINES, ODD, EXEMPLARS = range(10)
"""Next byte; entries in use; entry of the last line; type of the last TYPE line; how much of the arrays is filled."""
SCRAPED, KEPT, ADDED, REPEATED, EXPLICIT, AGAIN = range(10, 16)
"""Samples; those that relabeling leaves; of series that the last scrape had not; of a series that had one already;
with a time of their own; series that the last scrape had too and whose disappearance would be marked."""
LIVE, NOW, LAST, TIME, OWN_TIMES, WRONG, STATE = range(16, 23)
"""Entries seen. Given: number of this scrape and of the last that succeeded, its time (ms), whether lines' own times
count. Where labels that do not end begin."""

DONE, MORE_ROOM, MORE_ENTRIES = range(3)
"""Results: the end; an array for output, or the cache, is full. Negative ones are errors in the line at state[AT]."""
NO_NAME, BAD_LABELS, NO_VALUE, BAD_VALUE, BAD_TIMESTAMP, BEHIND, NO_EOF, BEHIND_EOF, BAD_EXEMPLAR, BAD_RECORD = \
    range(-1, -11, -1)

NEW_ROW = np.uint32(1 << 31)
"""Set in sample_row of samples of new rows, which are numbered apart."""
ODD_VALUE, ODD_TIME, ODD_EXEMPLAR, ODD_EXEMPLAR_TIME = range(4)
"""Numbers that need all of more than 19 digits, for Python."""
SAMPLE_RECORD, METADATA_RECORD, EXEMPLAR_RECORD = range(3)
ROW, LABELS_AT, LABELS_LENGTH, VALUE, TIMESTAMP, HAS_TIMESTAMP, EXEMPLAR_COLUMNS = range(7)


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
def skip_token(data: NDArray[np.uint8], at: int, end: int, tabs: bool) -> int:
    """Behind what no blank or line feed interrupts."""
    while at < end and data[at] != 0x20 and data[at] != 0x0A and not (tabs and data[at] == 0x09):
        at += 1
    return at


@device
def ends_token(c: int, format_: int) -> bool:
    return c == 0x0A or c == 0x20 or (c == 0x09 and format_ == TEXT)


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
    """SUMMARY, HISTOGRAM or OTHER_TYPE of the metadata line data[at:end] if it is a TYPE line, else NO_TYPE."""
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


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, uint64[::1], uint8[::1], int32[:, ::1], uint64[::1],"
        " uint8[::1], int32[::1], int32[::1], uint32[::1], int64[::1], uint64[::1], uint8[::1], int32[::1],"
        " uint64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1])", stage="query")
def read_lines(body: NDArray[np.uint8], format_: int, secret: NDArray[np.uint64], texts: NDArray[np.uint8],
               fields: NDArray[np.int32], refs: NDArray[np.uint64], tracked: NDArray[np.uint8],
               table: NDArray[np.int32], sample_entry: NDArray[np.int32], sample_row: NDArray[np.uint32],
               ts: NDArray[np.int64], values: NDArray[np.uint64], explicit: NDArray[np.uint8],
               slot: NDArray[np.int32], ref: NDArray[np.uint64], new: NDArray[np.int64], lines: NDArray[np.int64],
               odd: NDArray[np.int64], exemplars: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Reads a body (u8) in one of the formats, with the cache of `series_cache_kernels` before `tracked` and `table`.

    Output, arrays of one capacity each: of each sample its entry, its row (among slot i32 and ref u64 of known rows,
    or with NEW_ROW among new ones), ts in ms, bits of the value, whether the time is its own. new i64[n, 6]: entry of a
    series without a slot, position of its line, SCRAPED and KEPT before it, its first sample, whether its series counts
    as added. lines i64[n, 4]: the first four of these for metadata that the last scrape had not. odd i64[n, 4]: ODD_*,
    sample or exemplar, position and length of a number that is left to Python. exemplars i64[n, EXEMPLAR_COLUMNS], of
    sample -1 where that is not taken.

    Returns DONE; MORE_*: call again with more room, it goes on; or an error.
    """
    size = body.size
    at = state[AT]
    count = state[ENTRIES]
    previous = state[PREVIOUS]
    type_ = state[TYPE]
    now = state[NOW]
    last = state[LAST]
    samples = state[SAMPLES]
    known = state[KNOWN]
    fresh = state[NEW]
    odds = state[ODD]
    examples = state[EXEMPLARS]
    scraped = state[SCRAPED]
    kept = state[KEPT]
    repeated = state[REPEATED]
    added = state[ADDED]
    owns = state[EXPLICIT]
    again = state[AGAIN]
    live = state[LIVE]
    default_time = state[TIME]
    own_times = state[OWN_TIMES] != 0
    room = values.size
    result = np.int64(DONE)
    ended = False
    line = at
    while at < size:
        line = at
        if samples >= room:
            result = np.int64(MORE_ROOM)
            break

        # The entry of the line: the predicted one, or by its text
        entry = np.int64(fields[previous, NEXT])
        begin = np.int64(fields[entry, OFFSET])
        length = np.int64(fields[entry + 1, OFFSET]) - begin if entry > 0 else np.int64(0)
        flags = np.int64(fields[entry, FLAGS])
        kind = np.int64(SAMPLE_RECORD)
        hit = False
        if format_ == PROTOBUF:
            if size - at < 5 or size - at - 5 < np.int64(load_u32(body, at + 1)):
                result = np.int64(BAD_RECORD)
                break
            kind = np.int64(body[at])
            end = at + 5 + np.int64(load_u32(body, at + 1))
            at += 5
            hit = end - at == length and entry > 0 and same_bytes(body, at, texts, begin, length)
        else:
            end = at + length
            if entry > 0 and end < size and same_bytes(body, at, texts, begin, length):
                c = body[end]
                if flags & METADATA:
                    hit = c == 0x0A
                elif flags & BRACED:
                    hit = True
                elif c == 0x20:  # and no brace behind it
                    hit = format_ == OPENMETRICS or (end + 1 < size and body[end + 1] > 0x20 and body[end + 1] != 0x7B)
        if not hit:
            braced = False
            if format_ != PROTOBUF:
                if format_ == TEXT:
                    at = skip_blanks(body, at, size)
                    if at == size:
                        break
                    if body[at] == 0x0A:
                        at += 1
                        continue
                if body[at] == 0x23:
                    end = skip_line(body, at, size)
                    if format_ == TEXT:
                        if metadata_keyword(body, at, end) < 0:
                            at = end + 1
                            continue
                    elif end - at >= 5 and load_u32(body, at) == np.uint32(0x4F452023) and body[at + 4] == 0x46:
                        if end > at + 5 or end + 1 < size:
                            result = np.int64(BEHIND_EOF)
                        ended = True
                        break
                    elif end == size:
                        result = np.int64(NO_EOF)
                        break
                    kind = np.int64(METADATA_RECORD)
                else:
                    end = skip_name(body, at, size)
                    brace = skip_blanks(body, end, size) if format_ == TEXT else end
                    if brace < size and body[brace] == 0x7B:
                        end = skip_braces(body, brace, size)
                        braced = True
                        if end < 0:
                            result = np.int64(BAD_LABELS)
                            state[WRONG] = at
                            break
                    elif end == at:
                        result = np.int64(NO_NAME)
                        break
            entry, place = find_entry(secret, body, at, end, texts, fields, table)
            if entry == 0:
                begin = np.int64(fields[count, OFFSET])
                if count + 2 > fields.shape[0] or 4 * count + 4 > 3 * table.size or texts.size - begin < end - at:
                    result = np.int64(MORE_ENTRIES)
                    break
                entry = count
                count += 1
                for i in range(end - at):
                    texts[begin + i] = body[at + i]
                fields[count, OFFSET] = np.int32(begin + end - at)
                flags = np.int64(format_ << FORMAT_SHIFT) | (BRACED if braced else 0)
                if kind == METADATA_RECORD:
                    flags |= METADATA | (type_on_line(body, at, end) << TYPE_SHIFT if format_ != PROTOBUF else 0)
                else:
                    flags |= type_ << TYPE_SHIFT
                fields[entry, FLAGS] = np.int32(flags)
                fields[entry, SLOT] = np.int32(UNKNOWN_SLOT)
                fields[entry, SEEN] = np.int32(-1)
                fields[entry, NEXT] = fields[previous, NEXT]
                tracked[entry] = np.uint8(0)
                refs[entry] = np.uint64(0)
                table[place] = np.int32(entry)
            flags = np.int64(fields[entry, FLAGS])
            fields[previous, NEXT] = np.int32(entry)
        seen = np.int64(fields[entry, SEEN])
        at = end

        if flags & METADATA:
            if seen < last:
                row = state[LINES]
                if row == lines.shape[0]:
                    result = np.int64(MORE_ROOM)
                    break
                lines[row, 0], lines[row, 1], lines[row, 2], lines[row, 3] = entry, line, scraped, kept
                state[LINES] = row + 1
            live += 1 if seen != now else 0
            fields[entry, SEEN] = np.int32(now)
            if flags >> TYPE_SHIFT & TYPE_MASK != NO_TYPE:
                type_ = flags >> TYPE_SHIFT & TYPE_MASK
                type_ = np.int64(NO_TYPE) if type_ == OTHER_TYPE else type_
            previous = entry
            at += 1 if format_ != PROTOBUF else 0
            continue

        # Value, time, exemplar
        time = default_time
        own = False
        exemplar = False
        odd_value = odds
        if format_ == PROTOBUF:
            if size - at < (17 if kind == SAMPLE_RECORD else 57):
                result = np.int64(BAD_RECORD)
                break
            bits = load_u64(body, at)
            own = body[at + 16] != 0
            if own:
                time = np.int64(load_u64(body, at + 8))
            at += 17
            if kind == EXEMPLAR_RECORD:
                if examples == exemplars.shape[0]:
                    result = np.int64(MORE_ROOM)
                    break
                exemplar = True
                for column in range(1, EXEMPLAR_COLUMNS):
                    exemplars[examples, column] = np.int64(load_u64(body, at + 8 * column - 8))
                at += 40
        else:
            if format_ == TEXT:
                at = skip_blanks(body, at, size)
            elif at < size and body[at] == 0x20:
                at += 1
            else:
                result = np.int64(NO_VALUE) if at < size else np.int64(NO_EOF)
                break
            token = at
            bits, at, verdict = read_number(body, at, size)
            if verdict == FLOAT_SLOW or at == size or not ends_token(body[at], format_):
                at = skip_token(body, token, size, format_ == TEXT)
                if at == token:
                    result = np.int64(NO_VALUE)
                    break
                bits, verdict = read_float(body, token, at)
            if verdict == FLOAT_SLOW:
                if odds + 4 > odd.shape[0]:
                    result = np.int64(MORE_ROOM)
                    break
                odd[odd_value, 0], odd[odd_value, 2], odd[odd_value, 3] = ODD_VALUE, token, at - token
                odd_value += 1
            elif verdict == FLOAT_WRONG:
                result = np.int64(BAD_VALUE)
                break
            if format_ == TEXT:
                at = skip_blanks(body, at, size)
                if at < size and body[at] != 0x0A:
                    number = np.uint64(0)
                    token = at
                    while at < size and 0x30 <= body[at] <= 0x39 and number < np.uint64(1 << 60):
                        number = number * np.uint64(10) + np.uint64(body[at] - np.uint8(0x30))
                        at += 1
                    if at == token or number > np.uint64(0x7FFFFFFFFFFFFFFF) \
                            or (at < size and 0x30 <= body[at] <= 0x39):
                        result = np.int64(BAD_TIMESTAMP)
                        break
                    own = True
                    time = np.int64(number)
                    at = skip_blanks(body, at, size)
            elif at + 1 < size and body[at] == 0x20:
                if not (body[at + 1] == 0x23 and at + 3 < size and body[at + 2] == 0x20 and body[at + 3] == 0x7B):
                    token = at + 1
                    at = skip_token(body, token, size, False)
                    time, verdict = read_time(body, token, at)
                    if verdict == FLOAT_WRONG:
                        result = np.int64(BAD_TIMESTAMP)
                        break
                    own = True
                    if verdict == FLOAT_SLOW and odds + 4 > odd.shape[0]:
                        result = np.int64(MORE_ROOM)
                        break
                    if verdict == FLOAT_SLOW:
                        odd[odd_value, 0], odd[odd_value, 2], odd[odd_value, 3] = ODD_TIME, token, at - token
                        odd_value += 1
                if at + 3 < size and body[at] == 0x20 and body[at + 1] == 0x23 and body[at + 2] == 0x20 \
                        and body[at + 3] == 0x7B:
                    if odds + 4 > odd.shape[0] or examples == exemplars.shape[0]:
                        result = np.int64(MORE_ROOM)
                        break
                    exemplar = True
                    token = at + 3
                    at = skip_braces(body, token, size)
                    if at < 0:
                        result = np.int64(BAD_LABELS)
                        state[WRONG] = token
                        break
                    exemplars[examples, LABELS_AT], exemplars[examples, LABELS_LENGTH] = token, at - token
                    exemplars[examples, TIMESTAMP], exemplars[examples, HAS_TIMESTAMP] = 0, 0
                    value = at + 1
                    at = skip_token(body, value, size, False) if at < size and body[at] == 0x20 else value
                    if at == value:
                        result = np.int64(BAD_EXEMPLAR)
                        break
                    example, verdict = read_float(body, value, at)
                    exemplars[examples, VALUE] = np.int64(example)
                    if verdict == FLOAT_SLOW:
                        odd[odd_value, 0], odd[odd_value, 1] = ODD_EXEMPLAR, examples
                        odd[odd_value, 2], odd[odd_value, 3] = value, at - value
                        odd_value += 1
                    elif verdict == FLOAT_WRONG:
                        result = np.int64(BAD_EXEMPLAR)
                        break
                    if at < size and body[at] == 0x20:
                        token = at + 1
                        at = skip_token(body, token, size, False)
                        instant, verdict = read_time(body, token, at)
                        if verdict == FLOAT_WRONG:
                            result = np.int64(BAD_EXEMPLAR)
                            break
                        exemplars[examples, TIMESTAMP], exemplars[examples, HAS_TIMESTAMP] = instant, 1
                        if verdict == FLOAT_SLOW:
                            odd[odd_value, 0], odd[odd_value, 1] = ODD_EXEMPLAR_TIME, examples
                            odd[odd_value, 2], odd[odd_value, 3] = token, at - token
                            odd_value += 1
            if at >= size and format_ == OPENMETRICS:
                result = np.int64(NO_EOF)
                break
            if at < size and body[at] != 0x0A:
                result = np.int64(BEHIND)
                break
            at += 1

        # The sample
        own = own and own_times
        time = time if own else default_time
        place = np.int64(fields[entry, SLOT])
        if place == UNKNOWN_SLOT and fresh == new.shape[0]:
            result = np.int64(MORE_ROOM)
            break
        scraped += 1
        previous = entry
        live += 1 if seen != now else 0
        fields[entry, SEEN] = np.int32(now)
        sample = np.int64(-1)
        if not flags & DROPPED:
            kept += 1
            if seen == now and not own:
                repeated += 1
            else:
                sample = samples
                if place >= 0:
                    sample_row[samples] = np.uint32(known)
                    slot[known] = np.int32(place)
                    ref[known] = refs[entry]
                    known += 1
                    if seen < last:
                        added += 1
                else:
                    if place == UNKNOWN_SLOT:
                        new[fresh, 0], new[fresh, 1], new[fresh, 2] = entry, line, scraped - 1
                        new[fresh, 3], new[fresh, 4], new[fresh, 5] = kept - 1, samples, 1 if seen < last else 0
                        place = FIRST_ROW - fresh
                        fields[entry, SLOT] = np.int32(place)
                        fields[entry, FLAGS] = np.int32(
                            flags & ~(FORMAT_MASK << FORMAT_SHIFT) | np.int64(format_ << FORMAT_SHIFT)
                        )
                        fresh += 1
                    sample_row[samples] = NEW_ROW | np.uint32(FIRST_ROW - place)
                if seen != now and tracked[entry]:
                    again += 1
                sample_entry[samples] = np.int32(entry)
                ts[samples] = time
                values[samples] = bits
                explicit[samples] = np.uint8(1) if own else np.uint8(0)
                owns += 1 if own else 0
                samples += 1
        while odds < odd_value:
            if odd[odds, 0] == ODD_VALUE or odd[odds, 0] == ODD_TIME:
                odd[odds, 1] = sample if own or odd[odds, 0] == ODD_VALUE else -1
            odds += 1
        if exemplar:
            exemplars[examples, ROW] = sample
            examples += 1
    if result == DONE and format_ == OPENMETRICS and not ended:
        result = np.int64(NO_EOF)
        line = size
    state[AT] = line if result != DONE else size
    state[ENTRIES] = count
    state[PREVIOUS] = previous
    state[TYPE] = type_
    state[SAMPLES] = samples
    state[KNOWN] = known
    state[NEW] = fresh
    state[ODD] = odds
    state[EXEMPLARS] = examples
    state[SCRAPED] = scraped
    state[KEPT] = kept
    state[REPEATED] = repeated
    state[ADDED] = added
    state[EXPLICIT] = owns
    state[AGAIN] = again
    state[LIVE] = live
    return result
