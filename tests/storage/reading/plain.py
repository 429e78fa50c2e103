"""A storage's reading beside a plain one: a head, late samples and blocks made of Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.storage.batches import make_batch
from tests.storage.block.plain import Content, Labels, PlainSource, satisfies
from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block, write_block
from tsdb.storage.blocks import Blocks
from tsdb.storage.head.head import Bounds, Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.windows import Windows
from tsdb.storage.reading.reading import Reading
from tsdb.storage.tombstones import Tombstones
from tsdb.wal.files import LocalFileSystem

Samples = dict[int, int]
"""Bits of the value by ms."""
Interval = tuple[Labels, int, int]
"""A series, and first and last ms of what was deleted."""


@dataclass
class Part:
    """A plain source of samples."""

    chunks: Content
    deleted: Sequence[Interval] = ()

    def samples(self, labels: Labels, mint: int, maxt: int) -> Samples:
        gone = [(first, last) for series, first, last in self.deleted if series == labels]
        return {ts: value for chunk in self.chunks.get(labels, ()) for ts, value in chunk
                if mint <= ts <= maxt and not any(first <= ts <= last for first, last in gone)}

    def touches(self, labels: Labels, mint: int, maxt: int) -> bool:
        """Whether it has a chunk in the range that is not deleted as a whole, by one of the merged intervals."""
        gone = sorted((first, last) for series, first, last in self.deleted if series == labels)
        merged: list[list[int]] = []
        for first, last in gone:
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        return any(chunk[0][0] <= maxt and chunk[-1][0] >= mint
                   and not any(first <= chunk[0][0] and chunk[-1][0] <= last for first, last in merged)
                   for chunk in self.chunks.get(labels, ()))


@dataclass
class Plain:
    """All parts; of equal times the sample of the first part counts."""

    parts: list[Part] = field(default_factory=list)

    def series(self) -> set[Labels]:
        return {labels for part in self.parts for labels in part.chunks}

    def read(self, matchers: Sequence[Matcher], mint: int, maxt: int) -> dict[Labels, list[tuple[int, int]]]:
        found = {}
        for labels in self.series():
            if all(satisfies(labels, matcher) for matcher in matchers):
                samples: Samples = {}
                for part in reversed(self.parts):
                    samples.update(part.samples(labels, mint, maxt))
                if samples:
                    found[labels] = sorted(samples.items())
        return found

    def touching(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> list[Labels]:
        return sorted(
            labels for labels in self.series()
            if (not matcher_sets or any(all(satisfies(labels, matcher) for matcher in each) for each in matcher_sets))
            and any(part.touches(labels, mint, maxt) for part in self.parts)
        )


class Parts:
    """A reading over a head, late samples and blocks that tests fill."""

    def __init__(self, folder: Path) -> None:
        self.fs = LocalFileSystem()
        self.head = Head(Windows(self.fs, folder / "chunks", read_only=True))
        self.index = Index(self.head.table)
        self.blocks = Blocks(self.fs, folder / "blocks", self.head.lock)
        self.reading = Reading(self.head, self.index, self.blocks)
        self._folder = folder
        self._written = 0

    def slots(self, series: Sequence[Labels]) -> dict[Labels, int]:
        """Makes series where they are new."""
        batch = make_batch(self.head.table.secret, [dict(labels) for labels in series], [])
        rows, _ = self.head.table.resolve(batch)
        self.head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
        return dict(zip(series, rows.tolist(), strict=True))

    def append(self, samples: Mapping[Labels, Samples]) -> None:
        """In order of time."""
        series = list(samples)
        slots = self.slots(series)
        rows = sorted((ts, slots[labels], value) for labels in series for ts, value in samples[labels].items())
        columns = (np.array([row[1] for row in rows], np.int32), np.array([row[0] for row in rows], np.int64),
                   np.array([row[2] for row in rows], np.uint64))
        _, judged = self.head.judge(*columns, [(len(rows), Bounds())])
        assert judged.slots.size == len(rows)
        self.head.apply(judged)

    def append_late(self, samples: Mapping[Labels, Samples]) -> None:
        slots = self.slots(list(samples))
        rows = [(slots[labels], ts, value) for labels, each in samples.items() for ts, value in each.items()]
        self.head.late.append(
            np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int64),
            np.array([row[2] for row in rows], np.uint64),
        )

    def write(self, content: Content, mint: int, maxt: int, *, out_of_order: bool = False,
              deleted: Sequence[Interval] = ()) -> Block:
        """A block of mint <= ts < maxt (ms), not published yet, newer than those before."""
        source = PlainSource(content, mint, maxt)
        self._written += 1
        meta = write_block(self.fs, self._folder / "blocks", source, ulid=f"{self._written:026}",
                           hints=("from-out-of-order",) * out_of_order)
        block = Block.open(self.fs, self._folder / "blocks" / meta.ulid)
        rows = np.arange(len(block), dtype=np.int32)
        series = block.series_set(rows)
        row_of = {tuple(series.labels(row).items()): row for row in rows.tolist()}
        for labels, first, last in deleted:
            if labels in row_of:
                block.tombstones = _adding(block.tombstones, row_of[labels], first, last)
        return block

    def delete(self, deleted: Sequence[Interval]) -> None:
        """From windows and open chunks."""
        slots = self.slots([labels for labels, _, _ in deleted])
        for labels, first, last in deleted:
            with self.head.lock:
                self.head.tombstones = _adding(self.head.tombstones, slots[labels], first, last)

    def close(self) -> None:
        self.blocks.close()
        with self.head.lock:
            self.head.windows.close()


def _adding(tombstones: Tombstones, series: int, first: int, last: int) -> Tombstones:
    return tombstones.adding(np.array([series], np.int32), np.array([first]), np.array([last]))


def in_chunks(samples: Samples, most: int) -> list[list[tuple[int, int]]]:
    rows = sorted(samples.items())
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def names_of(series: Sequence[Labels], label: str | None) -> list[str]:
    """Values of a label (None: names of labels)."""
    return sorted({value if label is not None else name for labels in series for name, value in labels
                   if label is None or name == label})
