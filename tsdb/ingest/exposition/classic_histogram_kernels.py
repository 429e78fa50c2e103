"""Classic histograms of a scraped body to native ones with custom buckets, as Prometheus converts them
(model/textparse/nhcbparse.go, util/convertnhcb): before lines, or records of protobuf, are read.

Series of one histogram stand behind each other, in any order: what ends with ``_bucket``, ``_sum`` or ``_count`` under
a TYPE line of that name, with the same labels but for ``le``. Anything else ends the histogram, but for ``_created`` of
OpenMetrics, which is left out from the first histogram on.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import compare, is_utf8, sort_labels
from tsdb.ingest.exposition.classic_bucket_kernels import (
    BOUNDS,
    COUNT_BITS,
    EXAMPLES,
    FAILED,
    HAS_COUNT,
    KEPT,
    KEPT_RUNS,
    MOST_BOUNDS,
    ODD,
    ORIGIN,
    OWN_TIME,
    RECORDS,
    RESOLVED,
    SORTED,
    SUM_BITS,
    TEXT_SIZE,
    TIME,
    end_group,
)
from tsdb.ingest.exposition.created_kernels import BUCKET, COUNT, CREATED, SUM, without_ending
from tsdb.ingest.exposition.exposition_kernels import METADATA_RECORD, SAMPLE_RECORD
from tsdb.ingest.exposition.label_kernels import RAW_BOUND, SEPARATOR, split_record, split_series
from tsdb.ingest.exposition.line_kernels import (
    EOF,
    EXEMPLAR_COLUMNS,
    HAS_TIMESTAMP,
    LABELS_AT,
    METADATA_LINE,
    ODD_EXEMPLAR,
    ODD_TIME,
    ODD_VALUE,
    OPENMETRICS,
    PROTOBUF,
    SERIES_LINE,
    TEXT,
    TIMESTAMP,
    VALUE,
    ends_token,
    is_blank,
    look_at_line,
    note_odd,
    read_milliseconds,
    read_openmetrics_rest,
    skip_blanks,
    skip_line,
    skip_name,
    skip_token,
    type_on_line,
)
from tsdb.ingest.exposition.native_histogram_kernels import CLASSIC
from tsdb.ingest.exposition.record_kernels import MOST_EXEMPLARS, copy
from tsdb.ingest.exposition.series_cache_kernels import HISTOGRAM, NO_TYPE, OTHER_TYPE, same_bytes
from tsdb.ingest.float_kernels import FLOAT_SLOW, FLOAT_WRONG, read_float, read_number
from tsdb.kernels.intrinsics import bits_float, load_u32, load_u64
from tsdb.kernels.registry import device, kernel
from tsdb.model.native_histograms import BOX

PLAIN = -1
"""Of a name with none of the endings."""
ODD_BOUND = 4
"""Beside the kinds of `line_kernels`."""


@device
def family_of(body: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """Where the name on the TYPE line body[at:end] is."""
    at = skip_blanks(body, skip_blanks(body, at + 1, end) + 4, end)
    begin = at
    if at < end and body[at] == 0x22:
        at += 1
        while at < end and body[at] != 0x22:
            at += 2 if body[at] == 0x5C else 1
        return begin + 1, min(at, end)
    while at < end and not is_blank(body[at]):
        at += 1
    return begin, at


@device
def base_of(data: NDArray[np.uint8], at: int, length: int) -> tuple[int, int]:
    """(BUCKET, SUM, COUNT or PLAIN; length without the ending) of a series' name."""
    for ending in (BUCKET, SUM, COUNT):
        stop = without_ending(data, at, at + length, ending)
        if stop > 0:
            return np.int64(ending), stop - at
    return np.int64(PLAIN), length


@device
def write_base(work: NDArray[np.uint8], labels: NDArray[np.int64], count: int, base: int, to: int) -> tuple[int, int]:
    """(position behind the text, in records, of a series with the first `base` bytes of the name and without ``le``, at
    work[to:]; which row of labels was the ``le``, which is copied behind the others, or -1)."""
    name = labels[0, 2]
    last = count - 1
    bound = np.int64(-1)
    i = np.int64(1)
    while i <= last:
        if labels[i, 1] == 2 and work[labels[i, 0]] == 0x6C and work[labels[i, 0] + 1] == 0x65:
            for k in range(4):
                labels[i, k], labels[last, k] = labels[last, k], labels[i, k]
            bound = last
            last -= 1
        else:
            i += 1
    end = copy(work, name, name + base, work, to)
    if last > 0:
        for k in range(4):
            labels[0, k] = labels[last, k]
        sort_labels(work, labels, last)
    for i in range(last):
        work[end] = SEPARATOR
        end = copy(work, labels[i, 0], labels[i, 0] + labels[i, 1], work, end + 1)
        work[end] = SEPARATOR
        end = copy(work, labels[i, 2], labels[i, 2] + labels[i, 3], work, end + 1)
    return end, bound


@device
def read_hexadecimal(data: NDArray[np.uint8], at: int) -> int:
    """u64 bits, of 16 digits."""
    bits = np.uint64(0)
    for i in range(16):
        c = data[at + i]
        bits = bits << np.uint64(4) | np.uint64(c - 0x30 if c < 0x3A else c - 0x57)
    return bits


@device
def read_rest(body: NDArray[np.uint8], at: int, size: int, format_: int, exemplars: NDArray[np.int64], example: int,
              odd: NDArray[np.int64], odds: int) -> tuple[int, int, int, bool, bool, int]:
    """What follows a series: (position of the line feed, or -1: it is wrong; bits; ms; whether there is a time; an
    exemplar, then in row `example`; rows of `odd` in use)."""
    wrong = np.int64(-1)
    bits = np.uint64(0)
    time = np.int64(0)
    if format_ == TEXT:
        at = skip_blanks(body, at, size)
    elif at < size and body[at] == 0x20:
        at += 1
    else:
        return wrong, bits, time, False, False, odds
    token = at
    bits, at, verdict = read_number(body, at, size)
    if verdict == FLOAT_SLOW or at == size or not ends_token(body[at], format_):
        at = skip_token(body, token, size, format_)
        if at == token:
            return wrong, bits, time, False, False, odds
        bits, verdict = read_float(body, token, at)
        if verdict == FLOAT_WRONG:
            return wrong, bits, time, False, False, odds
        if verdict == FLOAT_SLOW:
            odds = note_odd(odd, odds, np.int64(ODD_VALUE), np.int64(-1), token, at)
    own = shown = False
    if format_ == OPENMETRICS:
        if at < size and body[at] == 0x20:
            at, time, own, shown, odds = read_openmetrics_rest(body, at, size, odd, odds, exemplars, example, False)
    else:
        at = skip_blanks(body, at, size)
        if at < size and body[at] != 0x0A:
            time, at = read_milliseconds(body, at, size)
            own = True
            at = skip_blanks(body, at, size) if at > 0 else at
    if at < 0 or (at < size and body[at] != 0x0A):
        at = wrong
    return at, bits, time, own, shown, odds


@device
def keep_run(body: NDArray[np.uint8], begin: int, end: int, kept: NDArray[np.uint8], kept_at: NDArray[np.int64],
             state: NDArray[np.int64]) -> None:
    """Keeps body[begin:end], whole lines or records."""
    if end <= begin:
        return
    if kept_at.shape[0] > 0:
        kept_at[state[KEPT_RUNS], 0], kept_at[state[KEPT_RUNS], 1] = state[KEPT], begin
    state[KEPT_RUNS] += 1
    state[KEPT] = copy(body, begin, end, kept, state[KEPT])


@device
def read_type(body: NDArray[np.uint8], begin: int, end: int, format_: int) -> tuple[int, bool, int, int]:
    """(what follows by the metadata body[begin:end]: HISTOGRAM, another type, or NO_TYPE; whether there may be
    ``_created`` of it; where its name is)."""
    if format_ == PROTOBUF:
        histogram = body[end - 1] == 0x34 and body[end - 2] == SEPARATOR
        return np.int64(NO_TYPE if body[begin] != 0x54 else HISTOGRAM if histogram else OTHER_TYPE), False, \
            begin + 1, end - 2
    type_ = type_on_line(body, begin, end)
    if type_ == NO_TYPE:
        return type_, False, begin, begin
    name, name_end = family_of(body, begin, end)
    return type_, type_ != OTHER_TYPE, name, name_end


@device
def resolve(line_odd: NDArray[np.int64], odds: int, odd: NDArray[np.int64], exemplars: NDArray[np.int64], bits: int,
            time: int, bound: float, state: NDArray[np.int64]) -> tuple[int, int, float, bool]:
    """(bits, ms and bound with the numbers that needed Python, or as they are where it has yet to look at them; whether
    one is out of range); those of exemplars in place."""
    wrong = False
    for i in range(odds):
        row = state[ODD]
        state[ODD] += 1
        if not state[RESOLVED]:
            if row < odd.shape[0]:
                for k in range(4):
                    odd[row, k] = line_odd[i, k]
            continue
        kind, value = line_odd[i, 0], odd[row, 1]
        wrong = wrong or odd[row, 0] < 0
        if kind == ODD_VALUE:
            bits = np.uint64(value)
        elif kind == ODD_TIME:
            time = value
        elif kind == ODD_BOUND:
            bound = bits_float(np.uint64(value))
        else:
            exemplars[line_odd[i, 1], VALUE if kind == ODD_EXEMPLAR else TIMESTAMP] = value
    return bits, time, bound, wrong


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64[::1], uint8[::1], int64[:, ::1], float64[:, ::1],"
        " int64[::1], int64[:, :, ::1], int64[:, ::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[:, ::1],"
        " uint8[::1], int64[:, ::1], uint8[::1], int64[:, ::1], uint8[::1], int64[::1])", stage="query")
def convert_histograms(body: NDArray[np.uint8], format_: int, options: NDArray[np.int64], work: NDArray[np.uint8],
                       labels: NDArray[np.int64], buckets: NDArray[np.float64], fields: NDArray[np.int64],
                       spans: NDArray[np.int64], lists: NDArray[np.int64], exemplars: NDArray[np.int64],
                       group: NDArray[np.int64], line_odd: NDArray[np.int64], odd: NDArray[np.int64],
                       kept: NDArray[np.uint8], kept_at: NDArray[np.int64], records: NDArray[np.uint8],
                       records_at: NDArray[np.int64], payload: NDArray[np.uint8], state: NDArray[np.int64]) -> int:
    """Takes a body (u8), or records of PROTOBUF, apart: what is no classic histogram, or all with options[CLASSIC],
    goes to `kept`; native histograms go to `payload` and their records to `records`, or between those kept of PROTOBUF,
    which has one array for both. From a line on that is wrong all is kept: who reads it says so.

    kept_at, records_at i64[n, 2]: where runs of lines begin, and where in the body; without rows: not wanted. odd
    i64[n, 4]: as for `read_lines`, also ODD_BOUND; more may be wanted than there are rows. Call again with them
    resolved: column 1 the number (bits or ms), column 0 -1 where it is out of range. Scratch: work u8[4 * (longest
    series + 16)], labels i64[MAX_LABELS, 4], buckets f64[n, 3], fields, spans, lists of `histogram_kernels` for as many
    buckets, exemplars i64[MOST_EXEMPLARS + 1, EXEMPLAR_COLUMNS], group i64[GROUP], line_odd i64[8, 4].
    """
    size = body.size
    quarter = work.size // 4
    most = min(buckets.shape[0] - 1, np.int64(MOST_BOUNDS))
    classic_too = options[CLASSIC] != 0
    name = name_end = np.int64(0)
    histogram = created = begun = False
    native = np.int64(-1)  # size of the text, in the place of the group's, of the native histogram before
    prefix = bound_at = suffix = suffix_end = np.int64(0)  # of the last bucket's text; without one, bound_at is 0
    run = at = np.int64(0)
    group[TEXT_SIZE] = -1
    while at < size:
        line = at
        begin = end = at
        ending = np.int64(PLAIN)
        same = metadata = boxed = dropped = False
        bound = np.nan
        odds = kind = value = value_end = np.int64(0)

        # What line it is: the next bucket, or another
        if format_ == PROTOBUF:
            begin = at + 5
            end = begin + np.int64(load_u32(body, at + 1))
            metadata = body[at] == METADATA_RECORD
            if bound_at > 0 and not metadata and end - begin == suffix_end - prefix \
                    and same_bytes(body, begin, body, prefix, bound_at - prefix):
                value, value_end, same = begin + bound_at - prefix, end, True
        else:
            if bound_at > 0 and size - at > suffix_end - prefix + 64 \
                    and same_bytes(body, at, body, prefix, bound_at - prefix):
                value = value_end = at + bound_at - prefix
                while value_end < value + 32 and body[value_end] != 0x22 and body[value_end] != 0x5C:
                    value_end += 1
                end = value_end + suffix_end - suffix
                same = same_bytes(body, value_end, body, suffix, suffix_end - suffix)
            if not same:
                kind, begin, end, _ = look_at_line(body, at, size, format_)
                if kind == EOF or kind < 0:
                    break
                if kind != SERIES_LINE and not (kind == METADATA_LINE or (begin < size and body[begin] == 0x23)):
                    at = end
                    continue
                metadata = kind != SERIES_LINE
                at = end + 1 if kind == METADATA_LINE else end
        if metadata:
            if format_ == PROTOBUF or kind == METADATA_LINE:
                follows, with_created, new_name, new_end = read_type(body, begin, end, format_)
                if follows != NO_TYPE:
                    histogram, name, name_end = follows == HISTOGRAM, new_name, new_end
                    created = with_created and format_ == OPENMETRICS
                if format_ == PROTOBUF:
                    at = end
        elif not same and not histogram and not (created and begun and (body[begin] == 0x7B or without_ending(
                body, begin, skip_name(body, begin, end), np.int64(CREATED)) > 0)):
            at = end + 17 + 40 * max(np.int64(body[line]) - METADATA_RECORD, 0) if format_ == PROTOBUF \
                else skip_line(body, end, size) + 1
            continue

        # Whose series it is
        text_end = np.int64(0)
        if not metadata and not same:
            source = copy(body, begin, end, work, quarter)
            if format_ == PROTOBUF:
                count = split_record(work, quarter, source, labels)
            else:
                count, _ = split_series(work, quarter, source, format_, labels, 2 * quarter)
                if not is_utf8(body, begin, end):
                    count = np.int64(-1)
            if count < 0:
                break
            dropped = created and begun and without_ending(
                work, labels[0, 2], labels[0, 2] + labels[0, 3], np.int64(CREATED)) > 0
            boxed = format_ == PROTOBUF and load_u64(body, end) >= np.uint64(BOX)
            ending, base = base_of(work, labels[0, 2], labels[0, 3])
            if boxed:
                base = labels[0, 3]
            ours = histogram and base == name_end - name and not boxed
            for i in range(base):
                ours = ours and body[name + i] == work[labels[0, 2] + i]
            text_end, row = write_base(work, labels, count, base, 3 * quarter)
            text_end -= 3 * quarter
            known = (text_end == group[TEXT_SIZE] or (group[TEXT_SIZE] < 0 and text_end == native)) \
                and compare(work, np.int64(0), text_end, 3 * quarter, text_end) == 0
            same = known and group[TEXT_SIZE] >= 0 and not boxed
            ours = ours and (same or not known)
            value = value_end = np.int64(0)
            if ending == BUCKET and row >= 0 and labels[row, 2] < 2 * quarter:
                value = begin + labels[row, 2] - quarter
                value_end = value + labels[row, 3]
            if not ours or (ending == BUCKET and value == value_end):
                ending = np.int64(PLAIN)
            fresh = True
        else:
            fresh = False
            ending = np.int64(BUCKET) if same else np.int64(PLAIN)
        if ending == BUCKET:
            if format_ == PROTOBUF and body[value] == RAW_BOUND:
                bound = bits_float(read_hexadecimal(body, value + 1))
            elif value_end > value:
                bits, verdict = read_float(body, value, value_end)
                if verdict == FLOAT_SLOW:
                    odds = note_odd(line_odd, odds, np.int64(ODD_BOUND), np.int64(-1), value, value_end)
                bound = np.nan if verdict == FLOAT_WRONG else bits_float(bits)
            if np.isnan(bound):
                ending = np.int64(PLAIN)
            bound += 0.0  # no -0
            if fresh and ending == BUCKET:
                prefix, bound_at, suffix, suffix_end = begin, value, value_end, end

        # Its value
        bits = np.uint64(0)
        time = np.int64(0)
        own = shown = False
        tail = end
        if not metadata and format_ == PROTOBUF:
            bits, time, own = load_u64(body, end), np.int64(load_u64(body, end + 8)), body[end + 16] != 0
            tail = end + 17
            at = tail + 40 * max(np.int64(body[line]) - METADATA_RECORD, 0)
        elif not metadata:
            at, bits, time, own, shown, odds = read_rest(body, end, size, format_, exemplars,
                                                         np.int64(MOST_EXEMPLARS), line_odd, odds)
            wrong = at < 0
            if odds and not wrong:
                bits, time, bound, wrong = resolve(line_odd, odds, odd, exemplars, bits, time, bound, state)
            if wrong:
                break
            tail = exemplars[MOST_EXEMPLARS, LABELS_AT] - 3 if shown else at
            at += 1
        if dropped:
            keep_run(body, run, line, kept, kept_at, state)
            run = at
            continue
        if not metadata:
            group[TIME], group[OWN_TIME] = time, 1 if own else 0

        # A histogram ends, another begins
        if not same and group[TEXT_SIZE] >= 0:
            if format_ == PROTOBUF:
                keep_run(body, run, line, kept, kept_at, state)
                run = line
                state[RECORDS] = state[KEPT]
            end_group(group, options, work, buckets, fields, spans, lists, exemplars, records, records_at, payload,
                      state)
            if format_ == PROTOBUF:
                state[KEPT] = state[RECORDS]
        if group[TEXT_SIZE] < 0 and ending != BUCKET:
            bound_at = np.int64(0)
        if fresh and boxed:
            copy(work, 3 * quarter, 3 * quarter + text_end, work, np.int64(0))
            native = text_end
        if ending == PLAIN:
            continue
        if group[TEXT_SIZE] < 0:
            native = np.int64(-1)
            begun = True
            copy(work, 3 * quarter, 3 * quarter + text_end, work, np.int64(0))
            group[TEXT_SIZE], group[ORIGIN] = text_end, line
            group[BOUNDS] = group[FAILED] = group[HAS_COUNT] = group[SUM_BITS] = group[EXAMPLES] = 0
            group[SORTED] = 1
        number = bits_float(bits)
        if ending == SUM:
            group[SUM_BITS] = np.int64(bits)
        elif number < 0.0 or group[BOUNDS] >= most:
            group[FAILED] = 1
        elif ending == COUNT:
            group[HAS_COUNT], group[COUNT_BITS] = 1, np.int64(bits)
        else:
            place = group[BOUNDS]
            if place == 0 or buckets[place - 1, 0] != bound:
                if place > 0 and buckets[place - 1, 0] > bound:
                    group[SORTED] = 0
                buckets[place, 0], buckets[place, 1], buckets[place, 2] = bound, number, np.float64(place)
                group[BOUNDS] = place + 1
        cut = tail
        while group[EXAMPLES] < MOST_EXEMPLARS and (shown or (format_ == PROTOBUF and tail < at)):
            example = group[EXAMPLES]
            for column in range(1, EXEMPLAR_COLUMNS):
                if format_ == PROTOBUF:
                    exemplars[example, column] = np.int64(load_u64(body, tail + 8 * column - 8))
                else:
                    exemplars[example, column] = exemplars[MOST_EXEMPLARS, column]
            group[EXAMPLES] += 1 if exemplars[example, HAS_TIMESTAMP] else 0
            shown = False
            tail += 40
        if not classic_too:
            keep_run(body, run, line, kept, kept_at, state)
            run = at
        elif cut < at - (0 if format_ == PROTOBUF else 1):
            keep_run(body, run, cut, kept, kept_at, state)
            run = at
            if format_ == PROTOBUF:
                kept[state[KEPT] - (cut - line)] = SAMPLE_RECORD
            else:
                kept[state[KEPT]] = 0x0A
                state[KEPT] += 1
    if format_ == PROTOBUF:
        keep_run(body, run, size, kept, kept_at, state)
        state[RECORDS] = state[KEPT]
    end_group(group, options, work, buckets, fields, spans, lists, exemplars, records, records_at, payload, state)
    if format_ == PROTOBUF:
        state[KEPT] = state[RECORDS]
    else:
        keep_run(body, run, size, kept, kept_at, state)
    return np.int64(0)
