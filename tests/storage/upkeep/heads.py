"""A head filled with plain values, without a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.storage.batches import make_batch
from tsdb.storage.head.head import Bounds, Head
from tsdb.storage.head.windows import Windows
from tsdb.wal.files import FileSystem

Labels = tuple[tuple[str, str], ...]


def head_of(fs: FileSystem, folder: Path, step: int = 1 << 20) -> Head:
    return Head(Windows(fs, folder, read_only=False, step=step))


def append(head: Head, series: Sequence[Mapping[str, str]], samples: Sequence[tuple[int, int, int]]) -> None:
    """Samples are (index into `series`, ms, bits)."""
    batch = make_batch(head.table.secret, series, samples)
    rows, _ = head.table.resolve(batch)
    head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    _, judged = head.judge(rows[batch.sample_row], batch.ts, batch.values, [(len(samples), Bounds())])
    assert judged.slots.size == len(samples)
    head.apply(judged)


def complete(head: Head, border: int) -> None:
    """Seals everything; windows that end at or before `border` (ms) are complete."""
    head.seal_before(1 << 60)
    head.border = border
    head.windows.finish(head.windows.end_before(border))


def labels_of(series: Mapping[str, str]) -> Labels:
    return tuple((name, text) for name, text in sorted(series.items()) if text)
