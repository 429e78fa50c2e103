"""Parquet: all of it, as pyarrow and polars read it."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tests.exports.stored import HISTOGRAMS, SPAN, Stored, joined, labels_of, put, samples_of, stored
from tsdb.exports import parquet
from tsdb.exports.losses import Losses
from tsdb.exports.parquet import ROW_GROUP, export
from tsdb.model.errors import ConfigError
from tsdb.model.native_histograms import NORMAL_NAN
from tsdb.testing.memory_storage import MemoryStorage

pq = pytest.importorskip("pyarrow.parquet")


def parsed(data: bytes) -> Stored:
    """The slow, obvious reader."""
    file = pq.ParquetFile(io.BytesIO(data))
    told = json.loads(file.schema_arrow.metadata[b"tsdb"])
    assert told["version"] == 1 and told["labels"][0] == "__name__"
    own = told["columns"]
    assert [*own.values(), *told["labels"]] == file.schema_arrow.names
    table = file.read()
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        column = table[name]
        if name in (own["timestamp"], own["start_timestamp"]):
            column = column.cast("int64")
        columns[name] = column.to_pylist()
    floats = table[own["value"]].to_numpy()
    found: Stored = {}
    for row in range(table.num_rows):
        labels = labels_of({name: columns[name][row] for name in told["labels"] if columns[name][row] is not None})
        value: int | bytes = int(floats[row : row + 1].view(np.uint64)[0])
        if np.isnan(floats[row]):
            value = NORMAL_NAN
        if columns[own["nan_bits"]][row] is not None:
            assert np.isnan(floats[row])
            value = columns[own["nan_bits"]][row]
        if columns[own["histogram"]][row] is not None:
            assert columns[own["value"]][row] is None
            value = columns[own["histogram"]][row]
        column = found.setdefault(labels, {})
        assert columns[own["timestamp"]][row] not in column
        column[columns[own["timestamp"]][row]] = value, columns[own["start_timestamp"]][row] or 0
    return found


@settings(max_examples=25)
@given(stored())
def test_all_of_it_is_there(given: tuple[Stored, int]) -> None:
    samples, first = given
    storage, losses = put(MemoryStorage(), samples), Losses()
    assert parsed(joined(export(storage, [()], first, first + SPAN, losses))) == samples_of(storage) == samples
    assert losses == Losses()


@settings(max_examples=15)
@given(stored())
def test_row_groups_end_anywhere(given: tuple[Stored, int]) -> None:
    samples, first = given
    storage = put(MemoryStorage(), samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "ROW_GROUP", 3)
        data = joined(export(storage, [()], first, first + SPAN, Losses()))
    assert parsed(data) == samples
    file = pq.ParquetFile(io.BytesIO(data))
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert all(size == 3 for size in sizes[:-1]) and sum(sizes) == sum(map(len, samples.values()))


def test_polars_reads_it() -> None:
    polars = pytest.importorskip("polars")
    storage = MemoryStorage()
    for job in ("a", "b"):
        storage.add({"__name__": "up", "job": job}, 1000 * np.arange(ROW_GROUP // 2 + 5), np.arange(ROW_GROUP // 2 + 5))
    storage.add({"__name__": "odd", "value": "x"}, [5], [1.5])
    storage.add_histogram({"__name__": "odd"}, 6, HISTOGRAMS[0])
    parts = list(export(storage, [()], 0, 1 << 30, Losses()))
    frame = polars.read_parquet(io.BytesIO(joined(parts)))
    assert frame.columns == ["timestamp", "value_", "nan_bits", "histogram", "start_timestamp", "__name__", "job",
                             "value"]
    chosen = frame.filter(polars.col("job") == "b")
    assert chosen["value_"].to_list() == list(range(ROW_GROUP // 2 + 5))
    assert chosen["timestamp"][1].isoformat() == "1970-01-01T00:00:01+00:00"
    assert frame["nan_bits"].null_count() == frame.height and frame["value_"].null_count() == 1


def test_without_pyarrow_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"tsdb-server\[arrow\]"):
        export(MemoryStorage(), [()], 0, 1, Losses())
