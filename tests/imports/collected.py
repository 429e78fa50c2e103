"""Batches as tests compare them: the samples they have, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.exports.stored import Stored, labels_of
from tsdb.imports.reader import LeftOut
from tsdb.kernels.hash_kernels import hash_rows, new_secret
from tsdb.model.batch import Batch
from tsdb.model.labels import labels_of_key
from tsdb.model.native_histograms import is_boxed, offsets

Reader = Callable[..., Iterator[Batch]]


def collected(batches: Iterable[Batch]) -> Stored:
    """Of samples of a series with equal times the first stays."""
    found: Stored = {}
    for batch in batches:
        assert batch.history and batch.known is None and batch.samples
        assert set(batch.sample_row.tolist()) == set(range(batch.row_hash.size))
        raw, columns = batch.keys.tobytes(), []
        for begin, size in zip(batch.row_offset.tolist(), batch.row_length.tolist(), strict=True):
            columns.append(found.setdefault(labels_of(labels_of_key(raw[begin : begin + size])), {}))
        starts = [0] * batch.samples if batch.start_ts is None else batch.start_ts.tolist()
        boxed = is_boxed(batch.values)
        for i, (row, ts) in enumerate(zip(batch.sample_row.tolist(), batch.ts.tolist(), strict=True)):
            value: int | bytes = int(batch.values[i])
            if boxed[i]:
                assert batch.payload is not None
                begin = int(offsets(batch.values[i : i + 1])[0])
                size = int(batch.payload[begin : begin + 4].view("<u4")[0])
                value = batch.payload[begin : begin + size].tobytes()
            columns[row].setdefault(ts, (value, starts[i]))
    return found


def read_file(read: Reader, path: Path, left_out: LeftOut | None = None, **options: object) -> Stored:
    """All samples of a file; hashes are those of the keys, and the progress ends with all of it."""
    secret, told = new_secret(), [(0, 0)]

    def checked() -> Iterator[Batch]:
        for batch in read(path, secret, left_out=left_out or LeftOut(), progress=lambda *done: told.append(done),
                          **options):
            hashes = batch.row_hash.copy()
            hash_rows(secret, batch.keys, batch.row_offset, batch.row_length, hashes)
            assert hashes.tolist() == batch.row_hash.tolist()
            yield batch

    found = collected(checked())
    assert told[-1] == (path.stat().st_size,) * 2
    return found
