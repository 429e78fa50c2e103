"""Series as lists of samples: into blocks of Prometheus and out of batches, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import Batch
from tsdb.model.labels import labels_of_key
from tsdb.model.native_histograms import BOX, NativeHistogram, ResetHint, boxed, decode
from tsdb.model.tiles import Tile
from tsdb.prometheus_data.block import Block
from tsdb.prometheus_data.block_writer import BlockWriter
from tsdb.prometheus_data.meta import PrometheusMeta
from tsdb.prometheus_data.notes import Notes
from tsdb.testing.memory_storage import Labels, MemorySymbols, series_set
from tsdb.wal.files import LocalFileSystem

ULID = "01J00000000000000000000000"
Sample = tuple[int, int | NativeHistogram]
"""ms, and the float's bits or a histogram."""


def write(folder: Path, series: Mapping[Labels, Sequence[Sample]]) -> PrometheusMeta | None:
    """A block of these series in `folder`."""
    payload = bytearray()
    ts: list[int] = []
    values: list[int] = []
    borders = [0]
    for samples in series.values():
        for time, value in samples:
            ts.append(time)
            if isinstance(value, NativeHistogram):
                values.append(boxed(len(payload)))
                payload += value.encode()
            else:
                values.append(value)
        borders.append(len(ts))
    tile = Tile(0, np.array(borders[:-1], np.int64), np.array(borders[1:], np.int64), np.array(ts, np.int64),
                np.array(values, np.uint64).view(np.float64), np.frombuffer(bytearray(payload) + bytes(16), np.uint8))
    writer = BlockWriter(LocalFileSystem(), folder, ULID)
    writer.add(tile)
    return writer.finish(series_set(list(series), MemorySymbols()))


def read(folder: Path, notes: Notes | None = None) -> dict[Labels, list[Sample]]:
    """All series of the block."""
    block = Block(LocalFileSystem(), folder, notes or Notes())
    try:
        return by_series(block.read(new_secret()))
    finally:
        block.close()


def by_series(batches: Iterable[Batch]) -> dict[Labels, list[Sample]]:
    """What batches have, each sample once, in the order of time."""
    found: dict[Labels, dict[int, int | NativeHistogram]] = {}
    for batch in batches:
        labels = [tuple(labels_of_key(batch.keys[at : at + size].tobytes()).items())
                  for at, size in zip(batch.row_offset.tolist(), batch.row_length.tolist(), strict=True)]
        for row, ts, value in zip(batch.sample_row.tolist(), batch.ts.tolist(), batch.values.tolist(), strict=True):
            sample: int | NativeHistogram = value
            if value >= BOX:
                assert batch.payload is not None
                sample = decode(batch.payload, value & (1 << 50) - 1)
            found.setdefault(labels[row], {}).setdefault(ts, sample)
    return {labels: sorted(samples.items(), key=lambda each: each[0]) for labels, samples in found.items()}


def without_hint(sample: Sample) -> Sample:
    """The hint is what a block says about its chunks; only gauges keep theirs."""
    ts, value = sample
    if isinstance(value, NativeHistogram) and value.hint != ResetHint.GAUGE:
        return ts, replace(value, hint=ResetHint.UNKNOWN)
    return sample
