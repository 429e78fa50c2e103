"""Parquet: what `tsdb export parquet` writes (`tsdb.exports.parquet` says what that is), and any other table of times,
values and labels, whose columns are named as those of a CSV.

A batch of rows after the other, column by column: what is done for each series is done once for each distinct one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tsdb.imports.csv_columns import RFC3339, UNITS, Columns, layout
from tsdb.imports.csv_kernels import LABELS, TIME, VALUES
from tsdb.imports.histograms import WrongHistogram, checked
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.series_rows import FULL, SeriesRows
from tsdb.ingest.exposition.series_keys import keyed_rows
from tsdb.model.batch import Batch
from tsdb.model.errors import ConfigError, WrongInput
from tsdb.model.labels import METRIC_NAME, canonical_key
from tsdb.model.native_histograms import NORMAL_NAN, only_floats

if TYPE_CHECKING:
    import pyarrow as pa

METADATA, VERSION = b"tsdb", 1
OWN = ("timestamp", "value", "nan_bits", "histogram", "start_timestamp")
BATCH = 1 << 16
"""Rows that are read at once."""
MAX_KEY_BYTES = 65_535
YEAR_MS = 31_556_952_000
LIKELY = 3 * YEAR_MS, 300 * YEAR_MS
"""Numbers that nobody has said the unit of are taken for ms where they are between 1973 and 2270."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Which column of a file is what, by name."""

    time: str
    form: str = ""
    """Of times that are no Arrow times: one of `UNITS`, RFC3339, or as for strptime; empty: what they look like."""
    values: tuple[tuple[str, str], ...] = ()
    """(metric, column), each; the metric is empty where labels have its name."""
    labels: tuple[tuple[str, str], ...] = ()
    """(label, column), each."""
    constants: Mapping[str, str] = field(default_factory=dict)
    nan_bits: str = ""
    histogram: str = ""
    start: str = ""

    @property
    def columns(self) -> list[str]:
        named = (self.time, self.nan_bits, self.histogram, self.start)
        every = [*named, *(column for _, column in (*self.values, *self.labels))]
        return [name for name in dict.fromkeys(every) if name]


def read(path: Path, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress,
         columns: Columns | None = None, name: str = "") -> Iterator[Batch]:
    """All samples of a file; a null is no sample. `columns`: which ones are what; where they say nothing, the file does
    if we have written it. `name` is that of the file to people.

    Raises WrongInput, with the row; ConfigError where columns, or the package for Parquet, are missing.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install 'tsdb-server[arrow]'") from None
    shown, size = name or str(path), path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            table = _table(file.schema_arrow, columns, shown)
            reader = _Reader(table, secret, shown)
            total = max(file.metadata.num_rows, 1)
            for rows in file.iter_batches(BATCH, columns=table.columns):
                yield from reader.read(rows)
                progress(size * reader.row // total, size)
    except (pa.ArrowException, OSError) as problem:
        raise WrongInput(f"{shown}: this is no Parquet that can be read: {problem}") from None
    progress(size, size)


def _table(schema: pa.Schema, columns: Columns | None, shown: str) -> _Table:
    """Raises WrongInput, ConfigError."""
    names = list(schema.names)
    if len(set(names)) < len(names):
        raise WrongInput(f"{shown}: two columns have the same name")
    said = columns or Columns()
    if said == Columns(constants=said.constants) and (own := _own(schema, shown)) is not None:
        return replace(own, constants=said.constants)
    found = layout(said, names)
    by_role = {int(role): names[place] for place, role in enumerate(found.roles.tolist())}
    return _Table(
        by_role[TIME], said.form,
        tuple((metric, by_role[VALUES + number]) for number, metric in enumerate(found.metrics)),
        tuple((label, by_role[LABELS + number]) for number, label in enumerate(found.labels)), said.constants)


def _own(schema: pa.Schema, shown: str) -> _Table | None:
    """Of a table of `tsdb export parquet`, also where another program has left out what it says of itself."""
    if METADATA in (schema.metadata or {}):
        try:
            told = json.loads(schema.metadata[METADATA])
            version, called, labels = int(told["version"]), dict(told["columns"]), list(map(str, told["labels"]))
            time, value, nan_bits, histogram, start = (str(called[name]) for name in OWN)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise WrongInput(f"{shown}: what the file says of its columns cannot be read ({problem!r})") from None
        if version > VERSION:
            raise WrongInput(f"{shown}: has format {version}, this tsdb reads up to {VERSION}: use a newer tsdb")
        if missing := {time, value, nan_bits, histogram, start, *labels} - set(schema.names):
            raise WrongInput(f"{shown}: there is no column {min(missing)!r}, of which the file says that it has one")
    elif tuple(schema.names[: len(OWN)]) == OWN:
        time, value, nan_bits, histogram, start = OWN
        labels = schema.names[len(OWN) :]
    else:
        return None
    return _Table(time, "", (("", value),), tuple((name, name) for name in labels), {}, nan_bits, histogram, start)


class _Reader:
    """What is remembered from batch to batch."""

    def __init__(self, table: _Table, secret: NDArray[np.uint64], shown: str) -> None:
        self.row = 0
        """Rows of the file that were read."""
        self._table = table
        self._secret = secret
        self._shown = shown
        self._form = table.form
        self._start()

    def _start(self) -> None:
        self._rows = SeriesRows()
        self._texts: list[dict[str, int]] = [{} for _ in self._table.labels]
        """Of each label: its values, with their codes."""
        self._known: list[dict[bytes, int]] = [{} for _ in self._table.values]
        """Of each metric: numbers of series, by the codes of their labels."""

    def read(self, rows: pa.RecordBatch) -> Iterator[Batch]:
        """Raises WrongInput, ArrowException."""
        table = self._table
        ts = self._times(rows)
        which, distinct = self._distinct(rows)
        starts = None
        if table.start and rows.column(table.start).null_count < len(rows):
            starts = self._milliseconds(rows.column(table.start), table.start)
        for number, (_, column) in enumerate(table.values):
            bits, there, payload = self._values(rows, column)
            if not there.any():
                continue
            used = np.unique(which[there])
            numbers = np.full(len(distinct), -1, np.int64)
            numbers[used] = self._numbers(number, distinct[used])
            yield self._rows.batch(numbers[which[there]], ts[there], bits[there], payload=payload,
                                   start_ts=None if starts is None else starts[there])
        self.row += len(rows)
        if self._rows.full or sum(map(len, self._known)) + sum(map(len, self._texts)) > FULL // 512:
            self._start()

    def _times(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """i64[rows], ms."""
        column = rows.column(self._table.time)
        if column.null_count:
            self._refuse(int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]), "there is no time")
        return self._milliseconds(column, self._table.time)

    def _milliseconds(self, column: pa.Array, name: str) -> NDArray[np.int64]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if column.null_count:
            column = column.fill_null(pa.scalar(0, column.type))
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            if pa.types.is_date(kind):
                column = column.cast(pa.timestamp("ms"))
            parts = 10 ** -UNITS[column.type.unit]  # there are no seconds in Parquet
            found: NDArray[np.int64] = _longs(column) // parts
            return found
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            if self._form in UNITS:
                return self._of_numbers(column.cast(pa.float64()), name)
            if self._form not in ("", RFC3339):
                parsed = pc.strptime(column, format=self._form, unit="ms")
            else:
                parsed = column.cast(pa.timestamp("ms", "UTC"))
            return _longs(parsed)
        return self._of_numbers(column, name)

    def _of_numbers(self, column: pa.Array, name: str) -> NDArray[np.int64]:
        import pyarrow as pa

        numbers: NDArray[Any]
        if pa.types.is_integer(column.type):
            numbers = _longs(column)
        else:
            numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        if not self._form:
            self._form = "unix_ms"
            first = float(numbers[0]) if numbers.size else LIKELY[0]
            if not LIKELY[0] <= first <= LIKELY[1]:
                raise ConfigError(f'{self._shown}: in which unit is the time? Give --time COLUMN:FORM, as in --time '
                                  f'{name}:unix_s; there are {", ".join(unit for unit in UNITS if "unix" in unit)}')
        if self._form not in UNITS:
            raise ConfigError(f'{self._shown}: --time: column "{name}" has numbers, which are no times as in '
                              f'"{self._form}"')
        power = UNITS[self._form]
        if numbers.dtype == np.int64 and power <= 0:
            whole: NDArray[np.int64] = numbers // 10**-power
            return whole
        scaled = numbers.astype(np.float64) * 10.0**power
        if not (np.abs(scaled) < 9e15).all():
            self._refuse(int(np.flatnonzero(~(np.abs(scaled) < 9e15))[0]), "the time is out of all bounds")
        return np.rint(scaled).astype(np.int64)

    def _values(self, rows: pa.RecordBatch, column: str,
                ) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.uint8] | None]:
        """(bits u64[rows], which are there, payload)."""
        import pyarrow as pa

        table, values = self._table, rows.column(column)
        if not pa.types.is_floating(values.type) and not pa.types.is_integer(values.type):
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            values = values.cast(pa.float64())
        there = np.asarray(values.is_valid().to_numpy(zero_copy_only=False))
        floats = values.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
        bits = floats.view(np.uint64).copy()
        bits[np.isnan(floats)] = NORMAL_NAN
        payload = None
        if table.nan_bits and rows.column(table.nan_bits).null_count < len(rows):
            odd = rows.column(table.nan_bits)
            said = np.flatnonzero(odd.is_valid().to_numpy(zero_copy_only=False))
            given = only_floats(odd.drop_null().cast(pa.uint64()).to_numpy(zero_copy_only=False))
            if not np.isnan(given.view(np.float64)).all() or not np.isnan(floats[said]).all():
                self._refuse(int(said[0]), f'"{table.nan_bits}" is of a value that is no NaN, or not the bits of one')
            bits[said] = given
        if table.histogram and rows.column(table.histogram).null_count < len(rows):
            column_ = rows.column(table.histogram)
            places = np.flatnonzero(column_.is_valid().to_numpy(zero_copy_only=False))
            try:
                payload, bits[places] = checked(column_.drop_null().cast(pa.large_binary()).to_pylist())
            except WrongHistogram as problem:
                self._refuse(int(places[problem.number]), f"the histogram: {problem}")
            there = there.copy()
            there[places] = True
        return bits, there, payload

    def _distinct(self, rows: pa.RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(which i64[rows], codes i32[distinct, labels]): which of the distinct combinations of labels each row has;
        -1: it lacks the label."""
        codes = [self._codes(rows.column(column), texts)
                 for (_, column), texts in zip(self._table.labels, self._texts, strict=True)]
        changes = np.zeros(len(rows), np.bool_)
        changes[:1] = True
        for each in codes:
            changes[1:] |= each[1:] != each[:-1]
        heads = np.flatnonzero(changes)  # samples of a series stand behind each other, as a rule
        which = np.zeros(heads.size, np.int64)
        groups = 1
        for each, texts in zip(codes, self._texts, strict=True):
            width = len(texts) + 1
            if groups * width >= 1 << 62:
                _, which = np.unique(which, return_inverse=True)
                groups = int(which.max(initial=0)) + 1
            which = which * width + (each[heads] + 1)
            groups *= width
        _, first, which = np.unique(which, return_index=True, return_inverse=True)
        distinct = np.empty((first.size, len(codes)), np.int32)
        for place, each in enumerate(codes):
            distinct[:, place] = each[heads[first]]
        return np.repeat(which, np.diff(heads, append=len(rows))), distinct

    def _codes(self, column: pa.Array, texts: dict[str, int]) -> NDArray[np.int32]:
        """i32[rows]: by the column's values as texts, to which new ones are added; -1: null or empty."""
        import pyarrow as pa

        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.large_string()).dictionary_encode()
        values = column.dictionary.cast(pa.large_string()).to_pylist()
        found = np.array([texts.setdefault(text, len(texts)) if text else -1 for text in values] + [-1], np.int32)
        codes: NDArray[np.int32] = found[_longs(column.indices.cast(pa.int64()).fill_null(len(values)))]
        return codes

    def _numbers(self, metric: int, distinct: NDArray[np.int32]) -> NDArray[np.int64]:
        """i64[n]: numbers of the series of a metric with these codes of labels."""
        known = self._known[metric]
        keys = [row.tobytes() for row in np.ascontiguousarray(distinct)]
        fresh = [place for place, key in enumerate(keys) if key not in known]
        if fresh:
            texts = [[*each] for each in self._texts]
            made = [self._key(metric, distinct[place].tolist(), texts) for place in fresh]
            first = self._rows.add(keyed_rows(self._secret, made))
            for number, place in enumerate(fresh):
                known[keys[place]] = first + number
        return np.array([known[key] for key in keys], np.int64)

    def _key(self, metric: int, codes: Sequence[int], texts: Sequence[Sequence[str]]) -> bytes:
        table = self._table
        labels = dict(table.constants)
        for (label, _), code, each in zip(table.labels, codes, texts, strict=True):
            if code >= 0:
                labels[label] = each[code]
        if table.values[metric][0]:
            labels[METRIC_NAME] = table.values[metric][0]
        key = canonical_key(labels)
        if not key or len(key) > MAX_KEY_BYTES:
            raise WrongInput(f"{self._shown}: from row {self.row + 1} on: "
                             + (f"labels of more than {MAX_KEY_BYTES} bytes" if key else "a series without labels"))
        return key

    def _refuse(self, row: int, what: str) -> NoReturn:
        raise WrongInput(f"{self._shown}: row {self.row + row + 1}: {what}")


def _longs(column: pa.Array) -> NDArray[np.int64]:
    """Of a column without nulls: i64."""
    found: NDArray[np.int64] = column.cast("int64").to_numpy(zero_copy_only=False)
    return found
