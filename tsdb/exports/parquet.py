"""Parquet: a row for each sample, nothing is lost.

====================  ===========================  =============================================================
column                type                         meaning
====================  ===========================  =============================================================
``timestamp``         timestamp[ms, UTC]
``value``             double                       null: a histogram
``nan_bits``          uint64, null as a rule       the bits of a NaN that is not the usual one (0x7ff8000000000001)
``histogram``         binary, null as a rule       a native histogram, as in `tsdb.model.native_histograms`
``start_timestamp``   timestamp[ms, UTC]           since when the sample has been counting; null: not known
one for each label    dictionary of strings        null: the series has no such label; ``__name__`` is the first
====================  ===========================  =============================================================

Where a label has the name of a column of ours, ours gets underscores at its end. The metadata of the file has
``tsdb``: JSON with ``version`` (1), ``columns`` (our names to those in the file) and ``labels`` (columns that are).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsdb.exports.losses import Losses
from tsdb.exports.reading import MatcherSets, Progress, Rows, metrics, nobody, read
from tsdb.exports.table import label_columns, new_label, own_columns
from tsdb.exports.texts import Parts
from tsdb.model.context import RequestContext
from tsdb.model.errors import ConfigError
from tsdb.model.native_histograms import NORMAL_NAN, is_boxed, offsets
from tsdb.model.tiles import Queryable

if TYPE_CHECKING:
    import pyarrow

METADATA = b"tsdb"
VERSION = 1
OWN = ("timestamp", "value", "nan_bits", "histogram", "start_timestamp")
ROW_GROUP = 1 << 18
"""Most samples of a row group."""
GROUP_BYTES = 32 << 20
"""Of histograms, after which a row group ends, too."""


def export(storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, losses: Losses, *,
           progress: Progress = nobody, context: RequestContext | None = None) -> Generator[bytes]:
    """See `tsdb.exports.reading.Export`. Raises ConfigError where pyarrow is missing, and ExecutionError where a label
    appears that was not there at the start."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError("Parquet needs pyarrow: pip install 'tsdb-server[arrow]'") from None
    return _exported(pyarrow.parquet, storage, matcher_sets, mint, maxt, losses, progress, context or RequestContext())


def _exported(parquet: Any, storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, losses: Losses,
              progress: Progress, context: RequestContext) -> Generator[bytes]:
    labels = label_columns(storage, matcher_sets, mint, maxt, context)
    own = own_columns(OWN, labels)
    sink, parts = Sink(), Parts()
    group = Group(labels, schema_of(labels, own))
    names = metrics(storage, matcher_sets, mint, maxt, context)
    with parquet.ParquetWriter(sink, group.schema, compression="zstd", write_statistics=True,
                               use_dictionary=[own["timestamp"], *labels]) as writer:
        for rows in read(storage, matcher_sets, names, mint, maxt, losses, progress, context):
            for table in group.add(rows):
                writer.write_table(table, ROW_GROUP)
                yield from parts.add(sink.taken())
        if group.samples:
            writer.write_table(group.table(), ROW_GROUP)
    yield from parts.add(sink.taken())
    yield from parts.end()


def schema_of(labels: list[str], own: dict[str, str]) -> pyarrow.Schema:
    import pyarrow as pa

    stamp = pa.timestamp("ms", "UTC")
    types = {"timestamp": stamp, "value": pa.float64(), "nan_bits": pa.uint64(), "histogram": pa.binary(),
             "start_timestamp": stamp}
    fields = [pa.field(own[name], kind, nullable=name != "timestamp") for name, kind in types.items()]
    fields += [pa.field(name, pa.dictionary(pa.int32(), pa.string())) for name in labels]
    told = {"version": VERSION, "columns": own, "labels": labels}
    return pa.schema(fields, {METADATA: json.dumps(told).encode()})


class Sink:
    """A file that is handed on while it is written."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """What was written is still there to be taken."""

    def taken(self) -> bytes:
        """What was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class Group:
    """Collects the samples of tiles into tables, one for each row group."""

    def __init__(self, labels: list[str], schema: pyarrow.Schema) -> None:
        self.schema = schema
        self.samples = 0
        self._labels = labels
        self._places = {name: place for place, name in enumerate(labels)}
        self._texts: list[dict[str, int]] = []
        """Of each label: its values in the group, with their codes."""
        self._begin()

    def _begin(self) -> None:
        self.samples, self._bytes = 0, 0
        self._texts = [{} for _ in self._labels]
        self._codes: list[NDArray[np.int32]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._ts: list[NDArray[np.int64]] = []
        self._bits: list[NDArray[np.uint64]] = []
        self._starts: list[NDArray[np.int64]] = []
        self._histograms: list[tuple[int, bytes]] = []
        """(place in the group, bytes)"""

    def add(self, rows: Rows) -> Iterator[pyarrow.Table]:
        """The tables that are full now; one for each `ROW_GROUP` samples."""
        tile = rows.tile
        counts = tile.end - rows.begin
        there = np.flatnonzero(counts)
        codes = self._codes_of(rows, there)
        row = 0
        taken = 0  # of that row
        while row < there.size:
            first, ends = row, np.cumsum(counts[there[row:]]) - taken
            fits = int(np.searchsorted(ends, ROW_GROUP - self.samples, side="right"))
            begin, end = rows.begin[there[first : first + fits + 1]].copy(), tile.end[there[first : first + fits + 1]]
            begin[0] += taken
            row, taken = first + fits, 0 if fits else taken
            if fits < ends.size:  # the last one in part
                room = ROW_GROUP - self.samples - (int(ends[fits - 1]) if fits else 0)
                end = end.copy()
                end[fits] = begin[fits] + room
                taken += room
            self._take(rows, codes[first : first + begin.size], begin, end)
            if self.samples == ROW_GROUP or self._bytes >= GROUP_BYTES:
                yield self.table()
                codes = self._codes_of(rows, there)

    def _codes_of(self, rows: Rows, there: NDArray[np.int64]) -> NDArray[np.int32]:
        """i32[rows, labels]: codes of the label values of some rows of a tile; -1: none."""
        series, first = rows.series, rows.tile.first_row
        codes = np.full((there.size, len(self._labels)), -1, np.int32)
        offsets_ = series.offsets[first : first + rows.tile.rows + 1]
        counts = np.diff(offsets_)[there]
        places = np.repeat(offsets_[there] - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
        names, values = series.names[places], series.values[places]
        row = np.repeat(np.arange(there.size), counts)
        for symbol in np.unique(names).tolist():
            name = series.symbols.text(symbol)
            if name not in self._places:
                raise new_label(name)
            column = self._places[name]
            chosen = names == symbol
            distinct, inverse = np.unique(values[chosen], return_inverse=True)
            known = self._texts[column]
            found = [known.setdefault(text, len(known)) for text in series.symbols.texts(distinct.tolist())]
            codes[row[chosen], column] = np.array(found, np.int32)[inverse]
        return codes

    def _take(self, rows: Rows, codes: NDArray[np.int32], begin: NDArray[np.int64], end: NDArray[np.int64]) -> None:
        tile = rows.tile
        counts = end - begin
        size = int(counts.sum())
        at: slice | NDArray[np.int64]
        if int(end[-1] - begin[0]) == size:
            at = slice(int(begin[0]), int(end[-1]))
        else:
            at = np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(size)
        bits = tile.values.view(np.uint64)[at].copy()
        if tile.payload is not None:
            places = np.flatnonzero(is_boxed(bits))
            payload = tile.payload
            for place, offset in zip(places.tolist(), offsets(bits[places]).tolist(), strict=True):
                length = int.from_bytes(payload[offset : offset + 4].tobytes(), "little")
                self._histograms.append((self.samples + place, payload[offset : offset + length].tobytes()))
                self._bytes += length
        self._codes.append(codes)
        self._counts.append(counts)
        self._ts.append(tile.ts[at].copy())
        self._bits.append(bits)
        self._starts.append(np.zeros(size, np.int64) if tile.start_ts is None else tile.start_ts[at].copy())
        self.samples += size

    def table(self) -> pyarrow.Table:
        """What was collected; the next group begins."""
        import pyarrow as pa

        counts = np.concatenate(self._counts)
        codes = np.concatenate(self._codes)
        stamp = pa.timestamp("ms", "UTC")
        ts, bits, starts = np.concatenate(self._ts), np.concatenate(self._bits), np.concatenate(self._starts)
        histograms: list[bytes | None] | None = None
        boxed = np.zeros(bits.size, np.bool_)
        if self._histograms:
            histograms = [None] * bits.size
            for place, data in self._histograms:
                histograms[place] = data
            boxed[[place for place, _ in self._histograms]] = True
        odd = np.isnan(bits.view(np.float64)) & (bits != NORMAL_NAN) & ~boxed
        columns = [
            pa.array(ts).cast(stamp), pa.array(bits.view(np.float64), mask=boxed, from_pandas=False),
            pa.array(bits, mask=~odd),
            pa.nulls(bits.size, pa.binary()) if histograms is None else pa.array(histograms, pa.binary()),
            pa.array(starts, mask=starts == 0).cast(stamp),
        ]
        for column, texts in enumerate(self._texts):
            own = codes[:, column]
            columns.append(pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(own, counts), mask=np.repeat(own < 0, counts)), pa.array(list(texts), pa.string())))
        self._begin()
        return pa.table(columns, schema=self.schema)
