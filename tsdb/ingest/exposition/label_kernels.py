"""From the text of a series, as targets write it, to its canonical key: for series that a scrape sees first."""
# mypy: disable-error-code="operator,assignment,return-value,arg-type"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import (
    DUPLICATE_LABEL,
    MAX_LABELS,
    VALID,
    check_labels,
    compare,
    is_utf8,
    sort_labels,
    write_key,
)
from tsdb.ingest.exposition.line_kernels import PROTOBUF, TEXT, skip_blanks, skip_name
from tsdb.ingest.exposition.series_cache_kernels import HISTOGRAM, SUMMARY
from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.intrinsics import load_u64
from tsdb.kernels.registry import device, kernel

EXEMPLAR = 3
"""A fourth grammar beside the formats: the labels of an exemplar in OpenMetrics."""

# `state`, i64[STATE].
ROW, KEYS, FIXES, AT, LENGTH, STATE = range(6)
"""Next series; bytes of keys written; bounds that the caller has rewritten for it; where the next of them is."""
# `limits`, i64[LIMITS]; 0: none.
LABEL_LIMIT, NAME_LIMIT, VALUE_LIMIT, LEGACY_NAMES, MAX_KEY, LIMITS = range(6)
MAX_FIXES = 4

READ, MORE_KEYS, REWRITE_BOUND = range(3)
"""Results: the end; `keys` is full; the bound at AT, LENGTH of `work` is to be written as OpenMetrics does. Negative
ones are errors in series ROW, or LABELS_WRONG less what `canonical_kernels` finds."""
NO_LABEL_NAME, NO_EQUALS, NO_LABEL_VALUE, OPEN_QUOTE, TWO_NAMES, NO_COMMA, NO_METRIC_NAME, BEHIND_BRACE, TOO_MANY, \
    NOT_UTF8, OVER_LABEL_LIMIT, OVER_NAME_LIMIT, OVER_VALUE_LIMIT, NOT_LEGACY = range(-1, -15, -1)
LABELS_WRONG = -100

SEPARATOR = 0xFF
RAW_BOUND = 0xFE
"""In the records of `metric_family_kernels`: between names and values; before the bits of a bound, 16 hex digits."""

_QUANTILE = np.uint64(int.from_bytes(b"quantile", "little"))
_EXPORTED = np.uint64(int.from_bytes(b"exported", "little"))


@device
def skip_label_name(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Behind an unquoted label name; `at` itself where there is none."""
    begin = at
    at = skip_name(data, at, end)
    for i in range(begin, at):
        if data[i] == 0x3A:
            return i
    return at


@device
def read_quoted(data: NDArray[np.uint8], at: int, end: int, out: int, feeds: bool) -> tuple[int, int, int, int]:
    """The string behind an opening quote: (where its text is, length, position behind the closing quote or OPEN_QUOTE,
    next free byte). Text with escapes is written to data[out:]. Line feeds: only with `feeds`, and not escaped."""
    begin = at
    while at < end and data[at] != 0x22 and data[at] != 0x5C and (feeds or data[at] != 0x0A):
        at += 1
    if at < end and data[at] == 0x22:
        return begin, at - begin, at + 1, out
    text = out
    for i in range(begin, at):
        data[out] = data[i]
        out += 1
    while at < end and data[at] != 0x22 and (feeds or data[at] != 0x0A):
        c = data[at]
        at += 1
        if c == 0x5C and at < end:
            escaped = data[at]
            if escaped == 0x0A:
                return text, out - text, np.int64(OPEN_QUOTE), out
            if escaped == 0x6E:
                c, at = np.uint8(0x0A), at + 1
            elif escaped == 0x22 or escaped == 0x5C:
                c, at = escaped, at + 1
        data[out] = c
        out += 1
    closed = at < end and data[at] == 0x22
    return text, out - text, at + 1 if closed else np.int64(OPEN_QUOTE), out


@device
def is_plain_bound(data: NDArray[np.uint8], at: int, length: int) -> tuple[bool, bool]:
    """(whether a bucket bound is easy, whether it only lacks ``.0``). Easy: +Inf, or a decimal as Go prints it."""
    if length == 4 and data[at] == 0x2B and data[at + 1] == 0x49 and data[at + 2] == 0x6E and data[at + 3] == 0x66:
        return True, False
    end = at + length
    begin = at
    while at < end and 0x30 <= data[at] <= 0x39:
        at += 1
    whole = at - begin
    if whole == 0 or whole > 6 or (whole > 1 and data[begin] == 0x30):
        return False, False
    if at == end:
        return True, True
    if data[at] != 0x2E or end - at < 2 or length > 15:
        return False, False
    at += 1
    fraction = at
    zeros = data[begin] == 0x30
    for i in range(fraction, end):
        if data[i] < 0x30 or data[i] > 0x39 or (zeros and i - fraction >= 4):
            return False, False
        zeros = zeros and data[i] == 0x30
    return data[end - 1] != 0x30 or end - fraction == 1, False


@device
def is_bound(data: NDArray[np.uint8], name: int, length: int, type_: int) -> bool:
    """Whether a label is the bound of a bucket or quantile of a family of that type."""
    if type_ == HISTOGRAM:
        return length == 2 and data[name] == 0x6C and data[name + 1] == 0x65
    return type_ == SUMMARY and length == 8 and load_u64(data, name) == _QUANTILE


@device
def find_label(data: NDArray[np.uint8], labels: NDArray[np.int64], count: int, name: int, length: int) -> int:
    """Row of the label with that name, or -1."""
    for i in range(count):
        if labels[i, 1] == length and compare(data, labels[i, 0], length, name, length) == 0:
            return i
    return -1


@device
def merge_target(data: NDArray[np.uint8], labels: NDArray[np.int64], count: int, target: NDArray[np.int64], honor: bool,
                 out: int) -> int:
    """Adds the target's labels i64[n, 4] to `count` labels; returns how many there are then, or TOO_MANY.

    A label of the target wins, and the sample's goes on as exported_<name>; with `honor` the sample's wins. data[out:]
    takes new names.
    """
    conflicts = np.int64(0)
    last = labels.shape[0]
    for t in range(target.shape[0]):
        i = find_label(data, labels, count, target[t, 0], target[t, 1])
        if i < 0:
            if count + conflicts >= last:
                return TOO_MANY
            for k in range(4):
                labels[count, k] = target[t, k]
            count += 1
        elif not honor:
            if labels[i, 3] > 0:
                if count + conflicts >= last:
                    return TOO_MANY
                conflicts += 1
                for k in range(4):  # kept at the far end for now
                    labels[last - conflicts, k] = labels[i, k]
            labels[i, 2] = target[t, 2]
            labels[i, 3] = target[t, 3]
    for done in range(conflicts):
        best = last - 1 - done  # the shortest name first; of equal ones, the target's order
        for i in range(last - 2 - done, last - 1 - conflicts, -1):
            if labels[i, 1] < labels[best, 1]:
                best = i
        name, length, value, value_length = labels[best, 0], labels[best, 1], labels[best, 2], labels[best, 3]
        for i in range(best, last - 1 - done):
            for k in range(4):
                labels[i, k] = labels[i + 1, k]
        prefixes = 1
        while True:
            if data.size - out < 9 * prefixes + length:
                return TOO_MANY
            for i in range(9 * prefixes):
                data[out + i] = 0x5F if i % 9 == 8 else np.uint8(_EXPORTED >> np.uint64(8 * (i % 9)) & np.uint64(0xFF))
            for i in range(length):
                data[out + 9 * prefixes + i] = data[name + i]
            i = find_label(data, labels, count, out, 9 * prefixes + length)
            if i < 0 or labels[i, 3] == 0:
                break
            prefixes += 1
        if i < 0:
            i = count
            count += 1
        labels[i, 0], labels[i, 1], labels[i, 2], labels[i, 3] = out, 9 * prefixes + length, value, value_length
        out += 9 * prefixes + length
    return count


@device
def split_record(data: NDArray[np.uint8], at: int, end: int, labels: NDArray[np.int64]) -> int:
    """Labels of a record of `metric_family_kernels`, the name in row 0; their number, or an error."""
    count = np.int64(0)
    labels[0, 3] = 0
    while True:
        begin = at
        while at < end and data[at] != SEPARATOR:
            at += 1
        if count == 0:
            labels[0, 2], labels[0, 3] = begin, at - begin
        else:
            if at == end:
                return NO_LABEL_VALUE
            labels[count, 0], labels[count, 1], labels[count, 2] = begin, at - begin, at + 1
            at += 1
            while at < end and data[at] != SEPARATOR:
                at += 1
            labels[count, 3] = at - labels[count, 2]
        count += 1
        if at == end:
            return count if labels[0, 3] > 0 else NO_METRIC_NAME
        if count == MAX_LABELS:
            return TOO_MANY
        at += 1


@device
def split_series(data: NDArray[np.uint8], at: int, end: int, grammar: int, labels: NDArray[np.int64],
                 out: int) -> tuple[int, int]:
    """(number of labels, the name in row 0, or an error; next free byte of data[out:], where unescaped text goes) of
    ``name{name="value", …}`` in the grammar of TEXT, OPENMETRICS or EXEMPLAR, which has no name."""
    text = grammar == TEXT
    begin = at
    at = skip_name(data, at, end) if grammar != EXEMPLAR else at
    labels[0, 2], labels[0, 3] = begin, at - begin
    count = np.int64(1)
    if text:
        at = skip_blanks(data, at, end)
    if at < end:
        if data[at] != 0x7B:
            return np.int64(NO_METRIC_NAME), out
        at += 1
        closed = False
        while True:
            if text:
                at = skip_blanks(data, at, end)
            if at < end and data[at] == 0x7D:
                closed = True
                break
            if count == MAX_LABELS:
                return np.int64(TOO_MANY), out
            quoted = at < end and data[at] == 0x22
            if quoted:
                name, length, at, out = read_quoted(data, at + 1, end, out, grammar != EXEMPLAR)
                if at < 0:
                    return np.int64(OPEN_QUOTE), out
            else:
                name = at
                at = skip_label_name(data, at, end)
                length = at - name
                if length == 0:
                    return np.int64(NO_LABEL_NAME), out
            if text:
                at = skip_blanks(data, at, end)
            if quoted and grammar != EXEMPLAR and at < end and (data[at] == 0x2C or data[at] == 0x7D):
                if labels[0, 3] > 0:
                    return np.int64(TWO_NAMES), out
                labels[0, 2], labels[0, 3] = name, length
                if data[at] == 0x2C:
                    at += 1
                continue
            if at == end or data[at] != 0x3D:
                return np.int64(NO_EQUALS), out
            at += 1
            if text:
                at = skip_blanks(data, at, end)
            if at == end or data[at] != 0x22:
                return np.int64(NO_LABEL_VALUE), out
            value, value_length, at, out = read_quoted(data, at + 1, end, out, text)
            if at < 0:
                return np.int64(OPEN_QUOTE), out
            labels[count, 0], labels[count, 1] = name, length
            labels[count, 2], labels[count, 3] = value, value_length
            count += 1
            if text:
                at = skip_blanks(data, at, end)
            if at < end and data[at] == 0x2C:
                at += 1
            elif not text and (at == end or data[at] != 0x7D):
                return np.int64(NO_COMMA), out
        if not closed or at + 1 != end:
            return np.int64(BEHIND_BRACE), out
    if labels[0, 3] == 0 and grammar != EXEMPLAR:
        return np.int64(NO_METRIC_NAME), out
    return count, out


@device
def over_limits(data: NDArray[np.uint8], labels: NDArray[np.int64], count: int, limits: NDArray[np.int64]) -> int:
    """VALID, or which of the limits the sorted labels break; empty values do not count."""
    number = np.int64(0)
    for i in range(count):
        if labels[i, 3] == 0:
            continue
        number += 1
        if limits[LEGACY_NAMES]:
            name = labels[i, 0]
            if skip_label_name(data, name, name + labels[i, 1]) != name + labels[i, 1]:
                return NOT_LEGACY
            if labels[i, 1] == 8 and compare(data, name, 8, 0, 8) == 0 \
                    and skip_name(data, labels[i, 2], labels[i, 2] + labels[i, 3]) != labels[i, 2] + labels[i, 3]:
                return NOT_LEGACY
    if limits[LABEL_LIMIT] and number > limits[LABEL_LIMIT]:
        return OVER_LABEL_LIMIT
    if limits[NAME_LIMIT] or limits[VALUE_LIMIT]:
        for i in range(count):
            if labels[i, 3] > 0 and limits[NAME_LIMIT] and labels[i, 1] > limits[NAME_LIMIT]:
                return OVER_NAME_LIMIT
            if limits[VALUE_LIMIT] and labels[i, 3] > limits[VALUE_LIMIT]:
                return OVER_VALUE_LIMIT
    return VALID


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], uint8[::1], int64, uint8[::1], int64,"
        " int64[:, ::1], boolean, int64[::1], uint64[::1], int64[:, ::1], uint8[::1], uint64[::1], uint32[::1],"
        " uint32[::1], int64[:, ::1], int64[::1])", stage="query")
def read_series(source: NDArray[np.uint8], begins: NDArray[np.int64], lengths: NDArray[np.int64],
                types: NDArray[np.uint8], grammar: int, work: NDArray[np.uint8], spare: int, target: NDArray[np.int64],
                honor: bool, limits: NDArray[np.int64], secret: NDArray[np.uint64], fixes: NDArray[np.int64],
                keys: NDArray[np.uint8], row_hash: NDArray[np.uint64], row_offset: NDArray[np.uint32],
                row_length: NDArray[np.uint32], labels: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Canonical keys of the series with the texts source[begin : begin + length], all within source, as rows of a
    `Batch`. In the grammar EXEMPLAR they are only checked.

    types u8[n]: SUMMARY or HISTOGRAM where bounds are to be written as in OpenMetrics. work: ``__name__``, the texts of
    `target` i64[n, 4] (labels as in `canonical_kernels`), and from `spare` on scratch, three times the longest text and
    64 KiB. fixes i64[MAX_FIXES, 3]: for the bound at a position of `work` position and length of another text in it.
    labels i64[MAX_LABELS, 4]: scratch, after an error what was read of the wrong series. state i64[STATE]: zeros.

    Returns READ; MORE_KEYS or REWRITE_BOUND: call again, it goes on; or an error.
    """
    for row in range(state[ROW], begins.size):
        state[ROW] = row
        end = spare + lengths[row]
        for i in range(lengths[row]):
            work[spare + i] = source[begins[row] + i]
        out = end
        labels[0, 0], labels[0, 1] = 0, 8
        if grammar == PROTOBUF:
            count = split_record(work, spare, end, labels)
        else:
            count, out = split_series(work, spare, end, grammar, labels, out)
        if count < 0:
            return count
        if grammar == EXEMPLAR:
            for i in range(1, count):
                if not (is_utf8(work, labels[i, 0], labels[i, 0] + labels[i, 1])
                        and is_utf8(work, labels[i, 2], labels[i, 2] + labels[i, 3])):
                    return NOT_UTF8
            continue
        for i in range(1, count):
            value, length = labels[i, 2], labels[i, 3]
            raw = grammar == PROTOBUF and length == 17 and work[value] == RAW_BOUND
            if not (raw or (grammar != PROTOBUF and is_bound(work, labels[i, 0], labels[i, 1], types[row]))):
                continue
            easy, bare = False, False
            if not raw:
                easy, bare = is_plain_bound(work, value, length)
            if bare:
                for k in range(length):
                    work[out + k] = work[value + k]
                work[out + length] = 0x2E
                work[out + length + 1] = 0x30
                labels[i, 2], labels[i, 3] = out, length + 2
                out += length + 2
            elif not easy:
                found = False
                for k in range(state[FIXES]):
                    if fixes[k, 0] == value:
                        labels[i, 2], labels[i, 3] = fixes[k, 1], fixes[k, 2]
                        found = True
                if not found:
                    if state[FIXES] == MAX_FIXES:
                        return LABELS_WRONG - DUPLICATE_LABEL  # so many have one name
                    state[AT], state[LENGTH] = value, length
                    return REWRITE_BOUND
        count = merge_target(work, labels, count, target, honor, out)
        if count < 0:
            return count
        sort_labels(work, labels, count)
        wrong, length = check_labels(work, labels, count, limits[MAX_KEY])
        if wrong != VALID:
            state[LENGTH] = count
            return LABELS_WRONG - wrong
        over = over_limits(work, labels, count, limits)
        if over != VALID:
            state[LENGTH] = count
            return over
        key = state[KEYS]
        if keys.size - key < length:
            return MORE_KEYS
        write_key(work, labels, count, keys, key)
        row_offset[row] = np.uint32(key)
        row_length[row] = np.uint32(length)
        row_hash[row] = hash_bytes(secret[0], secret[1], keys, key, key + length)
        state[KEYS] = key + length
        state[FIXES] = 0
    state[ROW] = begins.size
    return READ
