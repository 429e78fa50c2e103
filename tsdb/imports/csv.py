"""CSV (RFC 4180): of every row a time, one or several values, and labels. A value that is empty is none; a label that
is empty, a series does not have."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from math import isinf
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from tsdb.imports import csv_kernels as kernels
from tsdb.imports.csv_columns import RFC3339, UNITS, Columns, Layout, layout
from tsdb.imports.files import count_lines, slices_of_lines
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.series_rows import FULL, SeriesRows
from tsdb.ingest.exposition.series_cache import SeriesCache, resized
from tsdb.ingest.exposition.series_keys import keyed_rows
from tsdb.model.batch import Batch
from tsdb.model.errors import WrongInput
from tsdb.model.labels import METRIC_NAME, canonical_key
from tsdb.model.times import to_ms

LONGEST_ROW = 4 << 20
MAX_KEY_BYTES = 65_535
INVALID = "invalid rows"
YEAR_MS = 31_556_952_000
LIKELY = 3 * YEAR_MS, 300 * YEAR_MS
"""Times that nobody has said the unit of: ms between 1973 and 2270; what is outside is more likely another unit."""
BOM = b"\xef\xbb\xbf"
MOST_TIMES = 100_000
"""Texts that are remembered."""

REASONS = {
    kernels.OPEN_QUOTE: "a quote is not closed",
    kernels.BEHIND_QUOTE: "there is something behind a closing quote",
    kernels.FEW_FIELDS: "the row has too few columns",
    kernels.MANY_FIELDS: "the row has more columns than the header",
    kernels.BAD_TIME: "not a time",
    kernels.BAD_VALUE: "not a number",
    kernels.NOT_TEXT: "a label is not UTF-8",
}


def read(path: Path, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress,
         columns: Columns | None = None, skip_invalid: bool = False, name: str = "") -> Iterator[Batch]:
    """All samples of a file, which may be compressed. Wrong rows raise WrongInput with line and column, or with
    `skip_invalid` are counted. `name` is that of the file to people. Raises ConfigError where columns are missing."""
    reader = _Reader(secret, columns or Columns(), name or str(path), left_out, skip_invalid)
    waiting: bytes | None = None  # one slice behind: the last one may end without a line feed
    for piece in slices_of_lines(path, progress, longest=LONGEST_ROW):
        if waiting is not None:
            yield from reader.read(waiting, last=False)
        waiting = reader.rest + piece
    yield from reader.read(waiting or b"", last=True)


class _Reader:
    """What is remembered from slice to slice."""

    def __init__(self, secret: NDArray[np.uint64], columns: Columns, name: str, left_out: LeftOut, skip: bool) -> None:
        self.rest = b""
        """Of the last slice: a row that goes on."""
        self._secret = secret
        self._columns = columns
        self._name = name
        self._left_out = left_out
        self._skip = skip
        self._layout: Layout | None = None
        self._form, self._power = -1, 0
        self._times: dict[bytes, int | None] = {}
        self._before = 0  # lines in slices before
        self._samples = 1024  # of the last slice
        self._start()

    def _start(self) -> None:
        self._cache = SeriesCache(self._secret)
        self._cache.reserve(1024, 1 << 16)
        self._rows = SeriesRows()
        self._wrong: dict[int, str] = {}
        """Why series cannot be taken, by number."""

    def read(self, data: bytes, *, last: bool) -> Iterator[Batch]:
        """Samples of a slice. Raises WrongInput, ConfigError."""
        begin = 0
        if self._layout is None:
            begin = self._read_header(data, last)
            if begin < 0:
                self.rest = data
                return
        assert self._layout is not None
        if self._form < 0 and not self._choose_form(data, begin):
            self._before += count_lines(data, len(data))
            self.rest = b""
            return
        state, entry, ts, values, place, odd = self._run(data, begin, last)
        samples = int(state[kernels.SAMPLES])
        keep = np.ones(samples, np.bool_)
        self._read_odd(data, odd[: state[kernels.ODD]].tolist(), ts, values, place, keep)
        self._name_series()
        numbers = entry[:samples] - 1
        if self._wrong:
            bad = np.isin(numbers, list(self._wrong))
            if bad.any() and not self._skip:
                first = int(np.flatnonzero(bad)[0])
                self._refuse(data, int(place[first]), -1, self._wrong[int(numbers[first])])
            keep &= ~bad
        self._left_out.count(INVALID, int(state[kernels.INVALID]) + np.unique(place[:samples][~keep]).size)
        end = int(state[kernels.AT])
        self.rest = data[end:]
        self._before += count_lines(data, end)
        if keep.any():
            yield self._rows.batch(numbers[keep], ts[:samples][keep], values[:samples][keep])
        if self._rows.full or self._cache.text_bytes > FULL:
            self._start()

    def _run(self, data: bytes, begin: int, last: bool) -> tuple[NDArray[np.int64], NDArray[np.int32],
                                                                  NDArray[np.int64], NDArray[np.uint64],
                                                                  NDArray[np.int64], NDArray[np.int64]]:
        """(state, entry, ts, values, place, odd) of `csv_kernels.read_rows`."""
        assert self._layout is not None
        cache, roles = self._cache, self._layout.roles
        labels, metrics = len(self._layout.labels), len(self._layout.metrics)
        body = np.frombuffer(data, np.uint8)
        fields = np.zeros((roles.size + labels, 3), np.int64)
        work = np.empty(2 * len(data) + labels + 16, np.uint8)
        room = self._samples + self._samples // 8 + 64 + metrics
        entry, ts = np.empty(room, np.int32), np.empty(room, np.int64)
        values, place = np.empty(room, np.uint64), np.empty(room, np.int64)
        odd = np.empty(((room if self._form == kernels.OTHER else 64) + 2 * metrics, 4), np.int64)
        state = np.zeros(kernels.STATE, np.int64)
        state[kernels.AT], state[kernels.ENTRIES] = begin, cache.count
        while True:
            code = int(kernels.read_rows(
                body, last, ord(self._columns.delimiter), self._columns.header, roles, labels, metrics, self._form,
                self._power, self._skip, cache.secret, cache.texts, cache.fields, cache.refs, cache.tracked,
                cache.table, fields, work, entry, ts, values, place, odd, state))
            cache.count = int(state[kernels.ENTRIES])
            if code == kernels.DONE:
                break
            if code < 0:
                self._refuse(data, int(state[kernels.WRONG_AT]), int(state[kernels.WRONG_COLUMN]), REASONS[code])
            if code == kernels.MORE_ROOM:
                room = 2 * room
                entry, ts, values = resized(entry, room), resized(ts, room), resized(values, room)
                place, odd = resized(place, room), resized(odd, 2 * odd.shape[0])
            else:
                most = cache.text_bytes + 2 * len(data) + labels
                cache.reserve(2 * cache.count + 64, min(most, 2 * cache.texts.size + (1 << 17)))
        self._samples = int(state[kernels.SAMPLES])
        return state, entry, ts, values, place, odd

    def _read_header(self, data: bytes, last: bool) -> int:
        """Reads it; returns where rows begin, or -1 where it is not whole."""
        begin = len(BOM) if data.startswith(BOM) else 0
        if not self._columns.header:
            self._layout = layout(self._columns, None)
            return begin
        end = data.find(b"\n", begin)
        while end >= 0 and data.count(b'"', begin, end) % 2:
            end = data.find(b"\n", end + 1)
        if end < 0 and not last:
            return -1
        end = end if end >= 0 else len(data)
        try:
            names = next(csv.reader([data[begin:end].decode()], delimiter=self._columns.delimiter), [])
        except (UnicodeDecodeError, csv.Error) as problem:
            raise WrongInput(f"{self._name}: line 1: this is no header of a CSV: {problem}") from None
        if not names:
            raise WrongInput(f"{self._name}: line 1: there is no header; for a file without one: --no-header")
        self._layout = layout(self._columns, names)
        return min(end + 1, len(data))

    def _choose_form(self, data: bytes, begin: int) -> bool:
        """How times are to be read. Where nobody has said it, the first one tells, if it leaves no doubt; False where
        there is none."""
        form = self._columns.form
        if not form:
            first = self._first_time(data, begin)
            if first is None:
                return False
            form = RFC3339 if b"-" in first[1:] else "unix_ms"
            if form == "unix_ms" and first:
                try:
                    number = float(first)
                except ValueError:
                    number = 0.0
                if not LIKELY[0] <= number < LIKELY[1]:
                    self._refuse(data, begin, -1, "in which unit is the time? Give --time COLUMN:FORM, as in --time "
                                 "timestamp:unix_s; there are unix_s, unix_ms, unix_us, unix_ns, rfc3339")
        if form in UNITS:
            self._form, self._power = kernels.DECIMAL, UNITS[form]
        else:
            self._form = kernels.RFC3339 if form == RFC3339 else kernels.OTHER
            self._strptime = form
        return True

    def _first_time(self, data: bytes, begin: int) -> bytes | None:
        assert self._layout is not None
        place = int(np.flatnonzero(self._layout.roles == kernels.TIME)[0])
        text = data[begin : begin + LONGEST_ROW].decode(errors="replace").splitlines()
        row = next((row for row in csv.reader(text, delimiter=self._columns.delimiter) if row), None)
        if row is None:
            return None
        return row[place].strip().encode() if place < len(row) else b""

    def _read_odd(self, data: bytes, odd: list[list[int]], ts: NDArray[np.int64], values: NDArray[np.uint64],
                  place: NDArray[np.int64], keep: NDArray[np.bool_]) -> None:
        """Reads the numbers and times that the kernel left; what cannot be read is refused, or not kept."""
        for kind, sample, at, length in odd:
            text = data[at : at + length]
            if kind == kernels.ODD_VALUE:
                number = float(text)
                if isinf(number):
                    if not self._skip:
                        self._refuse(data, int(place[sample]), -1, f"the value {text.decode()!r} is out of range")
                    keep[place[: keep.size] == place[sample]] = False
                values[sample] = np.float64(number).view(np.uint64)
                continue
            ms = self._times.get(text, 0)
            if ms == 0 and text not in self._times:
                if len(self._times) > MOST_TIMES:
                    self._times.clear()
                ms = self._times[text] = self._parsed(text)
            if ms is None:
                if not self._skip:
                    self._refuse(data, int(place[sample]), -1, f"the time {text.decode(errors='replace')!r} is not one "
                                 f"as {self._strptime!r} says")
                keep[place[: keep.size] == place[sample]] = False
            else:
                ts[sample] = ms

    def _parsed(self, text: bytes) -> int | None:
        try:
            time = datetime.strptime(text.decode(), self._strptime)
        except ValueError:
            return None
        return to_ms(time if time.tzinfo is not None else time.replace(tzinfo=UTC))

    def _name_series(self) -> None:
        """Keys of the series that are new."""
        assert self._layout is not None
        first = self._rows.count
        fresh = np.arange(first + 1, self._cache.count)
        if not fresh.size:
            return
        keys = []
        for number, text in enumerate(self._cache.text(fresh), first):
            labels = dict(self._columns.constants)
            if self._layout.metrics[text[0]]:
                labels[METRIC_NAME] = self._layout.metrics[text[0]]
            key = b""
            try:
                found = text[1:].split(b"\xff")[:-1]
                labels.update(zip(self._layout.labels, map(bytes.decode, found), strict=True))
                key = canonical_key(labels)
                if not key or len(key) > MAX_KEY_BYTES:
                    self._wrong[number] = f"labels of more than {MAX_KEY_BYTES} bytes" if key else "there are no labels"
            except UnicodeDecodeError:
                self._wrong[number] = REASONS[kernels.NOT_TEXT]
            keys.append(key)
        self._rows.add(keyed_rows(self._secret, keys))

    def _refuse(self, data: bytes, at: int, column: int, reason: str) -> NoReturn:
        """`column`: from 0 on, or -1."""
        assert self._layout is not None
        line = self._before + count_lines(data, at) + 1
        where = ""
        if column >= 0:
            names = self._layout.names
            where = f", column {column + 1}" + (f' ("{names[column]}")' if column < len(names) else "")
        row = data[at : at + 200].split(b"\n")[0].rstrip(b"\r").decode(errors="replace")
        raise WrongInput(f"{self._name}: line {line}{where}: {reason}: {row if len(row) <= 100 else row[:100] + '…'!r}")
