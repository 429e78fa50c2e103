"""Prometheus remote_write 2.0: protobuf bytes and their symbols to the columns of a batch.

::

    Request    { repeated string symbols = 4; repeated TimeSeries timeseries = 5 }
    TimeSeries { repeated uint32 labels_refs = 1; repeated Sample samples = 2; histograms = 3; exemplars = 4;
                 Metadata metadata = 5; created_timestamp = 6 }
    Sample     { double value = 1; int64 timestamp = 2; int64 start_timestamp = 3 }
    Metadata   { type = 1; uint32 help_ref = 3; uint32 unit_ref = 4 }

`index_symbols` finds the symbols. A canonical key (`tsdb.model.labels`) is then copying: in a message a symbol has its
length before it, as in a key, and a label that another key has is copied from there. `decode_request_v2` writes the
keys of series whose labels are sorted, unique and valid; others are left *pending* for `transcode_rows_v2`, which most
requests do not need. A created_timestamp, which senders before start_timestamp have, is that of the samples that have
none.
"""
# mypy: disable-error-code="operator,assignment,return-value,arg-type,no-any-return,untyped-decorator"

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.canonical_kernels import (
    MAX_LABELS,
    METRIC_NAME,
    compare,
    is_utf8,
)
from tsdb.ingest.protobuf_kernels import BAD_WIRE_TYPE, LENGTH, VARINT, read_field, read_varint
from tsdb.ingest.remote_write_kernels import (
    AT,
    DONE,
    EXEMPLARS,
    HISTOGRAMS,
    KEYS,
    METADATA,
    NEED_EXEMPLARS,
    NEED_HISTOGRAMS,
    NEED_KEYS,
    NEED_METADATA,
    NEED_ROWS,
    NEED_SAMPLES,
    NEED_START_TIMES,
    NEED_SYMBOLS,
    PENDING,
    REJECTED_METADATA,
    ROWS,
    SAMPLES,
    SERIES,
    SIX_BYTES,
    SYMBOLS,
    read_sample,
    six_byte_varint,
)
from tsdb.kernels.hash_kernels import hash_bytes
from tsdb.kernels.intrinsics import load_u64, store_u64
from tsdb.kernels.registry import OPTIONS, device, kernel
from tsdb.model.native_histograms import BOX, NORMAL_NAN

BEGIN, SIZE, KNOWN_METADATA, SYMBOL = range(4)
"""`symbols` u32[n, SYMBOL]: where a symbol begins and how long it is; 1 + number of the metadata of the metric of that
name. `pieces` u64[n] are what a key has of a symbol, its length and itself: where that begins, and how many bytes it is
in the upper half; 0 where it cannot be copied. `labels` u64[n], zeros at first: a label with the symbol as its value
that is in `keys` already: where it begins, from bit 32 on its length, from bit 48 on 1 + the symbol of its name."""
NAMES = 0xFFFF
"""So many symbols can be names in `labels`."""
METADATA_COLUMNS = 6
"""Of `metadata` i64[capacity, …]: symbol of the metric's name, type, symbols of help and unit; the message, if it has
at most eight bytes, and its length."""
ROOM = 16
"""Bytes that copying by words may write beyond the end."""
NOT_COPIED, NEED_ROOM = -1, -2
"""Results of `write_label`."""

inlined = numba.njit(_nrt=False, forceinline=True, **OPTIONS)
"""As `device`, for what is called several times for each series: a call hands over every field of every array."""


@kernel("int64(uint8[::1], int64, uint32[:, ::1], uint64[::1], int64[::1])", stage="later")
def index_symbols(data: NDArray[np.uint8], size: int, symbols: NDArray[np.uint32], pieces: NDArray[np.uint64],
                  state: NDArray[np.int64]) -> int:
    """Finds the symbols of the Request at data[:size], where data is 16 bytes longer. Call with state[AT] and
    state[SYMBOLS] zero. Returns DONE, NEED_SYMBOLS (call again with more room, it goes on), or an error."""
    at = state[AT]
    while at < size:
        if data[at] == 0x2A and data[at + 1] < 0x80 and at + 2 + np.int64(data[at + 1]) <= size:
            at += 2 + np.int64(data[at + 1])
            continue
        field, wire_type, begin, end = read_field(data, at, size)
        if end >= 0 and (field == 4 or field == 5) and wire_type != LENGTH:
            end = np.int64(BAD_WIRE_TYPE)
        if end < 0:
            state[AT] = at
            return end
        if field == 4:
            number = state[SYMBOLS]
            if number == symbols.shape[0]:
                state[AT] = at
                return NEED_SYMBOLS
            length = end - begin
            piece = np.int64(0)
            if 0 < length < 128 and data[begin - 1] == length:
                piece = length + 1
            elif 128 <= length < 1 << 14 and data[begin - 2] == length & 0x7F | 0x80 and data[begin - 1] == length >> 7:
                piece = length + 2
            if not is_utf8(data, begin, end):
                piece = np.int64(0)
            symbols[number, BEGIN], symbols[number, SIZE] = np.uint32(begin), np.uint32(length)
            symbols[number, KNOWN_METADATA] = np.uint32(0)
            pieces[number] = np.uint64(end - piece) | np.uint64(piece) << np.uint64(32) if piece > 0 else np.uint64(0)
            state[SYMBOLS] = number + 1
        at = end
    state[AT] = at
    return DONE


@device
def read_ref(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """(i64 ref, next position or error)."""
    ref = np.int64(data[at])
    if ref < 0x80:
        return ref, at + 1
    second = np.int64(data[at + 1])  # there are bytes beyond the end
    if second < 0x80 and at + 2 <= end:
        return ref & 0x7F | second << 7, at + 2
    value, at = read_varint(data, at, end)
    return np.int64(value & np.uint64(0xFFFFFFFF)), at


@inlined
def copy_piece(data: NDArray[np.uint8], begin: int, length: int, out: NDArray[np.uint8], at: int) -> int:
    """Copies by two words, up to 15 bytes more than there are. Returns the position behind the piece."""
    for i in range(0, length, 16):
        first, second = load_u64(data, begin + i), load_u64(data, begin + i + 8)
        store_u64(out, at + i, first)
        store_u64(out, at + i + 8, second)
    return at + length


@device
def write_label(data: NDArray[np.uint8], name: int, value: int, keys: NDArray[np.uint8], at: int) -> int:
    """Writes the label of two `pieces` at keys[at:]. Returns the position behind it, NEED_ROOM, or NOT_COPIED."""
    name_size, value_size = np.int64(name >> np.uint64(32)), np.int64(value >> np.uint64(32))
    length = name_size + value_size + 2
    if name_size == 0 or value_size == 0 or length >= 1 << 14:
        return np.int64(NOT_COPIED)
    if at + length + 4 + ROOM > keys.size:
        return np.int64(NEED_ROOM)
    if length < 128:
        store_u64(keys, at, np.uint64(0x0A000A | length << 8))
        at += 3
    else:
        store_u64(keys, at, np.uint64(0x0A00800A | (length & 0x7F) << 8 | length >> 7 << 16))
        at += 4
    at = copy_piece(data, np.int64(name & np.uint64(0xFFFFFFFF)), name_size, keys, at)
    keys[at] = 0x12
    return copy_piece(data, np.int64(value & np.uint64(0xFFFFFFFF)), value_size, keys, at + 1)


@inlined
def read_started_sample_field(data: NDArray[np.uint8], at: int, end: int) -> tuple[int, int, int, int]:
    """The field of a Sample whose tag 12 is at `at`: (u64 value bits, i64 ms, i64 ms of the start or 0, next position
    or error)."""
    # Fast: 12 <length> 09 <value> 10 <six bytes>, perhaps without value, perhaps with 18 <six bytes>
    bits = np.uint64(0)
    start = np.int64(0)
    stop = at + 2 + np.int64(data[at + 1])
    time = at + 2
    if data[at + 2] == 0x09:
        bits = load_u64(data, at + 3)
        time += 9
    left = stop - time
    if stop <= end and (left == 7 or left == 14) and data[time] == 0x10:
        word = load_u64(data, time - 1)
        last = load_u64(data, stop - 8)
        if word & np.uint64(0x8080808080800000) == SIX_BYTES and (left == 7 or (
                data[time + 7] == 0x18 and last & np.uint64(0x8080808080800000) == SIX_BYTES)):
            if left == 14:
                start = six_byte_varint(last)
            return bits if bits < np.uint64(BOX) else np.uint64(NORMAL_NAN), six_byte_varint(word), start, stop
    _, _, inner, stop = read_field(data, at, end)
    ts = np.int64(0)
    if stop >= 0:
        bits, ts, start, stop = read_sample(data, inner, stop, np.int64(3))
    return bits if bits < np.uint64(BOX) else np.uint64(NORMAL_NAN), ts, start, stop


@inlined
def short_message(data: NDArray[np.uint8], at: int, length: int) -> int:
    """The message as a number, if it has at most eight bytes, and at least one; else 0."""
    if length <= 0 or length > 8:
        return np.int64(0)
    return np.int64(load_u64(data, at) & np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * length))


@inlined
def is_known_metadata(data: NDArray[np.uint8], at: int, end: int, name: int, symbols: NDArray[np.uint32],
                      metadata: NDArray[np.int64]) -> bool:
    """Whether the Metadata message data[at:end] is the one that was the last for the metric of that name."""
    known = np.int64(symbols[name, KNOWN_METADATA])
    if known == 0 or metadata[known - 1, 5] != end - at:
        return False
    return metadata[known - 1, 4] == short_message(data, at, end - at)


@device
def note_metadata(data: NDArray[np.uint8], at: int, end: int, name: int, symbols: NDArray[np.uint32],
                  count: int, metadata: NDArray[np.int64], state: NDArray[np.int64]) -> int:
    """Takes the Metadata message data[at:end] for the metric whose name is symbol `name`: one entry a name, the last
    counts. Returns DONE, NEED_METADATA or an error."""
    known = np.int64(symbols[name, KNOWN_METADATA])
    length = end - at
    word = short_message(data, at, length)
    kind = np.uint64(0)
    help_ref = np.int64(0)
    unit_ref = np.int64(0)
    while at < end:
        field, wire_type, content, at = read_field(data, at, end)
        if at >= 0 and (field == 1 or field == 3 or field == 4) and wire_type != VARINT:
            return np.int64(BAD_WIRE_TYPE)
        if at < 0:
            return at
        if field == 1:
            kind, _ = read_varint(data, content, at)
        elif field == 3:
            help_ref, _ = read_ref(data, content, at)
        elif field == 4:
            unit_ref, _ = read_ref(data, content, at)
    if kind == np.uint64(0) and help_ref == 0 and unit_ref == 0:
        return np.int64(DONE)
    if help_ref >= count or unit_ref >= count:
        state[REJECTED_METADATA] += 1
        return np.int64(DONE)
    if known == 0:
        known = state[METADATA] + 1
        if known > metadata.shape[0]:
            return np.int64(NEED_METADATA)
        state[METADATA] = known
        symbols[name, KNOWN_METADATA] = np.uint32(known)
    metadata[known - 1, 0], metadata[known - 1, 1] = name, np.int64(min(kind, np.uint64(8)))
    metadata[known - 1, 2], metadata[known - 1, 3] = help_ref, unit_ref
    metadata[known - 1, 4], metadata[known - 1, 5] = word, length if length <= 8 else -1
    return np.int64(DONE)


@kernel("int64(uint8[::1], int64, uint32[:, ::1], uint64[::1], uint64[::1], uint64[::1], int64, uint8[::1],"
        " uint64[::1], uint32[::1], uint32[::1], uint32[::1], uint32[::1], int64[::1], uint64[::1], int64[:, ::1],"
        " int64[:, ::1], int64[:, ::1], int64[::1], int64[::1], int64[::1])", stage="later")
def decode_request_v2(data: NDArray[np.uint8], size: int, symbols: NDArray[np.uint32], pieces: NDArray[np.uint64],
                      labels: NDArray[np.uint64], secret: NDArray[np.uint64], max_key: int, keys: NDArray[np.uint8],
                      row_hash: NDArray[np.uint64], row_offset: NDArray[np.uint32], row_length: NDArray[np.uint32],
                      pending: NDArray[np.uint32], sample_row: NDArray[np.uint32], ts: NDArray[np.int64],
                      values: NDArray[np.uint64], histograms: NDArray[np.int64], exemplars: NDArray[np.int64],
                      metadata: NDArray[np.int64], start_ts: NDArray[np.int64], names: NDArray[np.int64],
                      state: NDArray[np.int64]) -> int:
    """Decodes the Request at data[:size], where data is 16 bytes longer, into the columns of a `Batch`, and its keys
    into `keys`. Call with what `index_symbols` found and state[AT] zero again; `labels` is its own between calls, names
    i64[MAX_LABELS] scratch.

    The columns are those of `remote_write_kernels.decode_request`, metadata i64[capacity, METADATA_COLUMNS], and
    start_ts i64[samples], or empty: NEED_START_TIMES says that a sample has one, and wants zeros.

    Returns DONE; NEED_… where these columns are full (call again with larger ones, it goes on); or an error.
    """
    at = state[AT]
    count = state[SYMBOLS]
    sorted_names = np.int64(0)  # so many of `names` are known to be sorted: most series have those of the one before
    name_place = np.int64(-1)  # which of them is __name__
    while at < size:
        series_at = at
        if data[at] == 0x2A and data[at + 1] < 0x80:
            begin = at + 2
            end = begin + np.int64(data[at + 1])
        else:
            field, _, begin, end = read_field(data, at, size)
            if field != 5:
                at = end
                continue

        # One TimeSeries. Nothing of it counts before it is whole.
        row = state[ROWS]
        sample = state[SAMPLES]
        if row == row_hash.size:
            state[AT] = at
            return NEED_ROWS
        key = state[KEYS]
        key_end = key
        waiting = np.int64(0)  # histograms: their samples come behind the others
        exemplar = state[EXEMPLARS]
        labelled = False
        canonical = True
        name = np.int64(-1)
        described = np.int64(0)
        described_end = np.int64(0)
        created = np.int64(0)
        started = False
        at = begin
        while at < end:
            tag = data[at]
            if tag == 0x12:
                if sample + waiting == ts.size:
                    state[AT], state[KEYS] = series_at, key_end
                    return NEED_SAMPLES
                values[sample], ts[sample], start, stop = read_started_sample_field(data, at, end)
                if stop < 0:
                    state[AT] = at
                    return stop
                started |= start != 0
                if start_ts.size > 0:
                    start_ts[sample] = start
                sample_row[sample] = np.uint32(row)
                sample += 1
                at = stop
                continue
            if (tag == 0x0A or tag == 0x2A) and data[at + 1] < 0x80 and at + 2 + np.int64(data[at + 1]) <= end:
                field, wire_type, inner = np.int64(tag >> 3), np.int64(LENGTH), at + 2
                stop = inner + np.int64(data[at + 1])
            else:
                field, wire_type, inner, stop = read_field(data, at, end)
            # labels_refs may come one by one. A sample whose tag has too many bytes comes here too
            if stop >= 0 and field <= 5 and (wire_type != LENGTH or field == 2) and not (
                    field == 1 and wire_type == VARINT):
                stop = np.int64(BAD_WIRE_TYPE)
            elif stop >= 0 and field == 6 and wire_type != VARINT:
                stop = np.int64(BAD_WIRE_TYPE)
            if stop < 0:
                state[AT] = at
                return stop
            if field == 1 and (labelled or wire_type != LENGTH):
                canonical = False
            elif field == 1:
                labelled = True
                place = np.int64(0)
                while inner < stop:
                    pair = load_u64(data, inner)
                    name_ref = np.int64(pair & np.uint64(0x7F))
                    if pair & np.uint64(0x8080) == np.uint64(0) and stop - inner >= 2:
                        value_ref = np.int64(pair >> np.uint64(8) & np.uint64(0x7F))
                        inner += 2
                    elif pair & np.uint64(0x808080) == np.uint64(0x8000) and stop - inner >= 3:
                        value_ref = np.int64(pair >> np.uint64(8) & np.uint64(0x7F)
                                             | pair >> np.uint64(9) & np.uint64(0x3F80))
                        inner += 3
                    else:
                        name_ref, inner = read_ref(data, inner, stop)
                        value_ref = np.int64(-1)
                        if 0 <= inner < stop:
                            value_ref, inner = read_ref(data, inner, stop)
                        if inner < 0:
                            state[AT] = at
                            return inner
                    if not canonical:
                        continue
                    if value_ref < 0 or name_ref >= count or value_ref >= count or place == MAX_LABELS:
                        canonical = False
                        continue
                    if place >= sorted_names or names[place] != name_ref:
                        if place > 0:
                            last = names[place - 1]
                            if compare(data, np.int64(symbols[last, BEGIN]), np.int64(symbols[last, SIZE]),
                                       np.int64(symbols[name_ref, BEGIN]), np.int64(symbols[name_ref, SIZE])) >= 0:
                                canonical = False
                                continue
                        names[place] = name_ref
                        sorted_names = place + 1
                        if symbols[name_ref, SIZE] == 8 \
                                and load_u64(data, np.int64(symbols[name_ref, BEGIN])) == METRIC_NAME:
                            name_place = place
                        elif name_place == place:
                            name_place = np.int64(-1)
                    if place == name_place:
                        name = value_ref
                    place += 1
                    label = labels[value_ref]
                    length = np.int64(label >> np.uint64(32) & np.uint64(0xFFFF))
                    if np.int64(label >> np.uint64(48)) == name_ref + 1 and key_end + length + ROOM <= keys.size:
                        key_end = copy_piece(keys, np.int64(label & np.uint64(0xFFFFFFFF)), length, keys, key_end)
                        continue
                    label_at = key_end
                    key_end = write_label(data, pieces[name_ref], pieces[value_ref], keys, label_at)
                    if key_end < 0:
                        if key_end == NEED_ROOM:
                            state[AT], state[KEYS] = series_at, label_at
                            return NEED_KEYS
                        key_end = label_at
                        canonical = False
                    elif name_ref < NAMES:
                        labels[value_ref] = np.uint64(label_at) | np.uint64(key_end - label_at) << np.uint64(32) \
                            | np.uint64(name_ref + 1) << np.uint64(48)
            elif field == 3:
                place = state[HISTOGRAMS] + waiting
                if sample + waiting == ts.size or place == histograms.shape[0]:
                    state[AT], state[KEYS] = series_at, key_end
                    return NEED_SAMPLES if sample + waiting == ts.size else NEED_HISTOGRAMS
                histograms[place, 0], histograms[place, 1] = inner, stop
                waiting += 1
            elif field == 4:
                if exemplar == exemplars.shape[0]:
                    state[AT], state[KEYS] = series_at, key_end
                    return NEED_EXEMPLARS
                exemplars[exemplar, 0], exemplars[exemplar, 1], exemplars[exemplar, 2] = inner, stop, row
                exemplar += 1
            elif field == 5:
                described, described_end = inner, stop
            elif field == 6:
                varint, _ = read_varint(data, inner, stop)
                created = np.int64(varint)
            at = stop

        if start_ts.size == 0 and (started or (created != 0 and sample + waiting > state[SAMPLES])):
            state[AT], state[KEYS] = series_at, key_end
            return NEED_START_TIMES
        canonical = canonical and name >= 0 and key_end - key <= max_key
        if canonical and described_end > described \
                and not is_known_metadata(data, described, described_end, name, symbols, metadata):
            status = note_metadata(data, described, described_end, name, symbols, count, metadata, state)
            if status != DONE:
                state[AT], state[KEYS] = series_at, key_end
                return status
        state[SERIES] += 1
        state[KEYS] = key_end  # of a row that is not taken, too: other keys copy labels from it
        for place in range(state[HISTOGRAMS], state[HISTOGRAMS] + waiting):
            histograms[place, 2] = sample
            sample_row[sample] = np.uint32(row)
            if start_ts.size > 0:
                start_ts[sample] = 0
            sample += 1
        if created != 0:
            for i in range(state[SAMPLES], sample):
                if start_ts[i] == 0:
                    start_ts[i] = created
        if canonical and sample == state[SAMPLES] and exemplar == state[EXEMPLARS]:
            continue
        if canonical:
            row_offset[row] = np.uint32(key)
            row_length[row] = np.uint32(key_end - key)
            row_hash[row] = hash_bytes(secret[0], secret[1], keys, key, key_end)
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
