"""A replay handler that keeps what it is given, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import Metadata
from tsdb.wal import SampleColumns, SeriesColumns, StartColumns, TombstoneColumns
from tsdb.wal.exemplars import ExemplarColumns
from tsdb.wal.replay import ReplayProgress


@dataclass
class Collector:
    border: int | None = None
    keys: dict[int, bytes] = field(default_factory=dict)
    samples_of: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    rows: list[Metadata] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)
    deleted: list[TombstoneColumns] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)
    late_of: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    late_through: int = 0
    exemplars_seen: list[ExemplarColumns] = field(default_factory=list)
    starts_seen: list[tuple[int, int, int]] = field(default_factory=list)

    def series(self, refs: NDArray[np.uint64], keys: NDArray[np.uint8], offsets: NDArray[np.uint64],
               lengths: NDArray[np.uint64]) -> None:
        data = keys.tobytes()
        for ref, offset, length in zip(refs.tolist(), offsets.tolist(), lengths.tolist(), strict=True):
            self.keys[ref] = data[offset : offset + length]

    def metadata(self, rows: list[Metadata]) -> None:
        self.rows += rows

    def after_checkpoint(self, sections: dict[str, Any]) -> int | None:
        self.sections = sections
        return self.border

    def samples(self, columns: SampleColumns) -> None:
        for ref, at, value in samples_in(columns):
            self.samples_of.setdefault(ref, []).append((at, value))

    def late(self, columns: SampleColumns) -> None:
        for ref, at, value in samples_in(columns):
            self.late_of.setdefault(ref, []).append((at, value))

    def tombstones(self, deleted: TombstoneColumns) -> None:
        self.deleted.append(deleted)

    def exemplars(self, columns: ExemplarColumns) -> None:
        self.exemplars_seen.append(columns)

    def starts(self, columns: StartColumns) -> None:
        self.starts_seen += zip(columns.refs.tolist(), columns.ts.tolist(), columns.starts.tolist(), strict=True)

    def progress(self, at: ReplayProgress) -> None:
        self.told.append((at.done, at.total))


def samples_in(columns: SampleColumns) -> list[tuple[int, int, int]]:
    """(ref, ts in ms, float bits) of each."""
    return list(zip(columns.refs.tolist(), columns.ts.tolist(), columns.values.tolist(), strict=True))


def series_columns(keys: dict[int, bytes]) -> SeriesColumns:
    lengths = np.array([len(key) for key in keys.values()], np.uint64)
    return SeriesColumns(np.array(list(keys), np.uint64), np.frombuffer(b"".join(keys.values()), np.uint8),
                         np.cumsum(lengths) - lengths, lengths)


def sample_columns(samples: list[tuple[int, int, int]]) -> SampleColumns:
    """(ref, ts in ms, float bits) each."""
    columns = list(zip(*samples, strict=True)) or [(), (), ()]
    return SampleColumns(np.array(columns[0], np.uint64), np.array(columns[1], np.int64),
                         np.array(columns[2], np.uint64))
