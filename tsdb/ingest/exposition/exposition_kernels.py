"""The lines of a scraped body to samples, for all formats: what every scrape goes through.

A line that the last scrape had too costs a comparison with the text of the entry that followed the one before: names
and labels are neither split nor hashed. Others are looked up by their text; what is new is remembered, to be read by
`label_kernels` (series) and `metadata_lines` (HELP, TYPE, UNIT).
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.line_kernels import (
    BAD_LABELS,
    BAD_RECORD,
    BAD_VALUE,
    BEHIND,
    BETWEEN,
    EOF,
    EXEMPLAR_COLUMNS,
    LABELS_AT,
    METADATA_LINE,
    NO_EOF,
    NO_VALUE,
    ODD_OF_LINE,
    ODD_TIME,
    ODD_VALUE,
    OPENMETRICS,
    PROTOBUF,
    ROW,
    SERIES_LINE,
    TEXT,
    ends_token,
    look_at_line,
    note_odd,
    read_milliseconds,
    read_openmetrics_rest,
    skip_blanks,
    skip_token,
    type_on_line,
)
from tsdb.ingest.exposition.series_cache_kernels import (
    BRACED,
    DROPPED,
    FIRST_ROW,
    FLAGS,
    FORMAT_MASK,
    FORMAT_SHIFT,
    METADATA,
    NEXT,
    NO_TYPE,
    OFFSET,
    OTHER_TYPE,
    SEEN,
    SLOT,
    TYPE_MASK,
    TYPE_SHIFT,
    UNKNOWN_SLOT,
    add_entry,
    find_entry,
    same_bytes,
)
from tsdb.ingest.float_kernels import FLOAT_SLOW, FLOAT_WRONG, read_float, read_number
from tsdb.kernels.intrinsics import load_u32, load_u64
from tsdb.kernels.registry import kernel

# `state`, i64[STATE].
AT, ENTRIES, PREVIOUS, TYPE, SAMPLES, KNOWN, NEW, LINES, ODD, EXEMPLARS = range(10)
"""Next byte; entries in use; entry of the last line; type of the last TYPE line; how much of the arrays is filled."""
SCRAPED, KEPT, ADDED, REPEATED, EXPLICIT, AGAIN = range(10, 16)
"""Samples; those that relabeling leaves; of series that the last scrape had not; of a series that had one already;
with a time of their own; series that the last scrape had too and whose disappearance would be marked."""
LIVE, NOW, LAST, TIME, OWN_TIMES, WRONG, START, STATE = range(16, 24)
"""Entries seen. Given: number of this scrape and of the last that succeeded, its time (ms), whether lines' own times
count (EXACT: to the millisecond, where Prometheus cuts off floats of seconds). Where labels that do not end begin;
since when the samples of PROTOBUF count that follow."""
EXACT = 2

DONE, MORE_ROOM, MORE_ENTRIES = range(3)
"""Results: the end; an array for output, or the cache, is full. Negative ones are errors in the line at state[AT],
those of `line_kernels`."""

NEW_ROW = np.uint32(1 << 31)
"""Set in sample_row of samples of new rows, which are numbered apart."""
SAMPLE_RECORD, METADATA_RECORD, EXEMPLAR_RECORD = SERIES_LINE, METADATA_LINE, METADATA_LINE + 1
"""Kinds of records in PROTOBUF; those with more exemplars than one follow."""
START_RECORD = 0x53
"""First letter of metadata of PROTOBUF that says since when samples count."""


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, uint64[::1], uint8[::1], int32[:, ::1], uint64[::1],"
        " uint8[::1], int32[::1], int32[::1], uint32[::1], int64[::1], uint64[::1], uint8[::1], int64[::1],"
        " int32[::1], uint64[::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1])",
        stage="query")
def read_lines(body: NDArray[np.uint8], format_: int, secret: NDArray[np.uint64], texts: NDArray[np.uint8],
               fields: NDArray[np.int32], refs: NDArray[np.uint64], tracked: NDArray[np.uint8],
               table: NDArray[np.int32], sample_entry: NDArray[np.int32], sample_row: NDArray[np.uint32],
               ts: NDArray[np.int64], values: NDArray[np.uint64], explicit: NDArray[np.uint8],
               start_ts: NDArray[np.int64], slot: NDArray[np.int32], ref: NDArray[np.uint64],
               new: NDArray[np.int64], lines: NDArray[np.int64], odd: NDArray[np.int64],
               exemplars: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Reads a body (u8) in one of the formats, with the cache of `series_cache_kernels` before `tracked` and `table`.

    Output: of each sample its entry, its row (among slot i32 and ref u64 of known rows,
    or with NEW_ROW among new ones), ts in ms, bits of the value, whether the time is its own, since when it counts
    (PROTOBUF, ms; not wanted if start_ts is empty). Of what relabeling drops refs take the value. new i64[n, 6]: entry
    of a series without a slot, position of its line, SCRAPED and KEPT before it, its first sample, whether its series
    counts as added. lines i64[n, 4]: the first four of these for metadata that the last scrape had not. odd i64[n, 4]:
    ODD_*, sample or exemplar, position and length of a number that is left to Python. exemplars i64[n,
    EXEMPLAR_COLUMNS], of sample -1 where that is not taken.

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
    exact_times = state[OWN_TIMES] == EXACT
    start = state[START]
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
        kind = np.int64(SERIES_LINE)
        hit = False
        if format_ == PROTOBUF:
            if size - at < 5 or size - at - 5 < np.int64(load_u32(body, at + 1)):
                result = np.int64(BAD_RECORD)
                break
            kind = np.int64(body[at])
            end = at + 5 + np.int64(load_u32(body, at + 1))
            at += 5
            if kind == METADATA_RECORD:
                start = np.int64(0)
                if body[at] == START_RECORD:
                    start = np.int64(load_u64(body, at + 1))
                    at = end
                    continue
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
                kind, at, end, braced = look_at_line(body, at, size, format_)
                if kind == BETWEEN:
                    at = end
                    continue
                if kind == EOF:
                    ended = True
                    break
                if kind < 0:
                    result = kind
                    state[WRONG] = at
                    break
            entry, place = find_entry(secret, body, at, end, texts, fields, table)
            if entry == 0:
                begin = np.int64(fields[count, OFFSET])
                if count + 2 > fields.shape[0] or 4 * count + 4 > 3 * table.size or texts.size - begin < end - at:
                    result = np.int64(MORE_ENTRIES)
                    break
                entry = count
                count += 1
                flags = np.int64(format_ << FORMAT_SHIFT) | (BRACED if braced else 0)
                if kind == METADATA_LINE:
                    flags |= METADATA | (type_on_line(body, at, end) << TYPE_SHIFT if format_ != PROTOBUF else 0)
                else:
                    flags |= type_ << TYPE_SHIFT
                add_entry(body, at, end, entry, flags, np.int64(fields[previous, NEXT]), texts, fields, refs, tracked)
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
        exemplar = 0
        if format_ == PROTOBUF and kind >= EXEMPLAR_RECORD:
            exemplar = kind - EXEMPLAR_RECORD + 1
        odd_value = odds
        if odds + ODD_OF_LINE > odd.shape[0] or examples + max(exemplar, 1) > exemplars.shape[0]:
            result = np.int64(MORE_ROOM)
            break
        if format_ == PROTOBUF:
            if size - at < 17 + 40 * exemplar:
                result = np.int64(BAD_RECORD)
                break
            bits = load_u64(body, at)
            time = np.int64(load_u64(body, at + 8))
            own = body[at + 16] != 0
            at += 17
            for example in range(examples, examples + exemplar):
                for column in range(1, EXEMPLAR_COLUMNS):
                    exemplars[example, column] = np.int64(load_u64(body, at + 8 * column - 8))
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
                at = skip_token(body, token, size, format_)
                if at == token:
                    result = np.int64(NO_VALUE)
                    break
                bits, verdict = read_float(body, token, at)
                if verdict == FLOAT_WRONG:
                    result = np.int64(BAD_VALUE)
                    break
                if verdict == FLOAT_SLOW:
                    odd_value = note_odd(odd, odd_value, np.int64(ODD_VALUE), np.int64(-1), token, at)
            if format_ == OPENMETRICS:
                if at < size and body[at] == 0x20:
                    at, time, own, shown, odd_value = read_openmetrics_rest(
                        body, at, size, odd, odd_value, exemplars, examples, exact_times
                    )
                    exemplar = 1 if shown else 0
                if at >= size:
                    at = np.int64(NO_EOF)
            else:
                at = skip_blanks(body, at, size)
                if at < size and body[at] != 0x0A:
                    time, at = read_milliseconds(body, at, size)
                    own = True
                    at = skip_blanks(body, at, size) if at > 0 else at
            if at < 0 or (at < size and body[at] != 0x0A):
                result = at if at < 0 else np.int64(BEHIND)
                if result == BAD_LABELS:
                    state[WRONG] = exemplars[examples, LABELS_AT]
                break
            at += 1

        # The sample
        own = own and own_times
        time = time if own else default_time
        place = np.int64(fields[entry, SLOT])
        if place == UNKNOWN_SLOT and fresh == new.shape[0] and not flags & DROPPED:
            result = np.int64(MORE_ROOM)
            break
        scraped += 1
        previous = entry
        live += 1 if seen != now else 0
        fields[entry, SEEN] = np.int32(now)
        sample = np.int64(-1)
        if flags & DROPPED:
            refs[entry] = bits
        else:
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
                if start_ts.size > 0:
                    start_ts[samples] = start
                owns += 1 if own else 0
                samples += 1
        while odds < odd_value:
            if odd[odds, 0] == ODD_VALUE or (odd[odds, 0] == ODD_TIME and own):
                odd[odds, 1] = sample
            odds += 1
        for _ in range(exemplar):
            exemplars[examples, ROW] = sample
            examples += 1
    if result == DONE and format_ == OPENMETRICS and not ended:
        result = np.int64(NO_EOF)
        line = size
    state[AT] = line if result != DONE else size
    state[ENTRIES] = count
    state[PREVIOUS] = previous
    state[TYPE] = type_
    state[START] = start
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
