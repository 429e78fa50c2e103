"""Names of blocks, what is left of them, who reads them, and blocks of every format ever released."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.storage.block.plain import Content, PlainSource, expected, read_block
from tsdb.model.native_histograms import BOX, OFFSET_MASK, decode
from tsdb.storage.block import Block, BlockMeta, Compaction, Parent, Stats, block_paths, new_ulid, write_block
from tsdb.storage.block.ulid import is_ulid
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()
SAMPLES = Path(__file__).parent.parent / "samples"
CONTENT: Content = {(("__name__", "m"),): [[(1, 1), (2, 2)]]}


def test_ulids_sort_by_time() -> None:
    made = [new_ulid(ms) for ms in (0, 1, 31, 32, 1_700_000_000_000, (1 << 48) - 1)]
    assert made == sorted(made)
    assert all(map(is_ulid, made))
    assert len({new_ulid(5) for _ in range(100)}) == 100
    assert new_ulid(1_469_918_176_385).startswith("01ARYZ6S41")  # from the specification
    for text in ("", "x", "8" + "0" * 25, "0" * 25, "0" * 25 + "U", "0" * 26 + ".tmp"):
        assert not is_ulid(text)


def test_what_is_in_a_folder(tmp_path: Path) -> None:
    assert block_paths(FS, tmp_path / "nothing") == []
    ulids = sorted(write_block(FS, tmp_path, PlainSource(CONTENT)).ulid for _ in range(3))
    (tmp_path / ulids[1]).rename(tmp_path / (ulids[1] + ".tmp"))
    for name in ("else", "notes.tmp"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / ulids[0], tmp_path / ulids[2]]
    assert block_paths(FS, tmp_path, read_only=True) == paths
    assert (tmp_path / (ulids[1] + ".tmp")).exists()
    assert block_paths(FS, tmp_path) == paths
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([ulids[0], ulids[2], "else", "notes.tmp"])


def test_meta_is_that_of_prometheus(tmp_path: Path) -> None:
    parents = [Parent(new_ulid(1), 0, 100), Parent(new_ulid(2), 100, 200)]
    meta = write_block(FS, tmp_path, PlainSource(CONTENT, 0, 200), level=2, sources=["A", "B"], parents=parents)
    assert meta == BlockMeta(meta.ulid, 0, 200, Stats(2, 1, 1), Compaction(2, ("A", "B"), tuple(parents)))
    assert json.loads((tmp_path / meta.ulid / "meta.json").read_text()) == {
        "version": 1, "ulid": meta.ulid, "minTime": 0, "maxTime": 200,
        "stats": {"numSamples": 2, "numSeries": 1, "numChunks": 1},
        "compaction": {"level": 2, "sources": ["A", "B"], "parents": [
            {"ulid": each.ulid, "minTime": each.mint, "maxTime": each.maxt} for each in parents]},
    }
    assert Block.open(FS, tmp_path / meta.ulid).meta == meta
    fresh = write_block(FS, tmp_path, PlainSource(CONTENT))
    assert fresh.compaction == Compaction(1, (fresh.ulid,), ())


def test_the_last_reader_removes_it(tmp_path: Path) -> None:
    block = Block.open(FS, tmp_path / write_block(FS, tmp_path, PlainSource(CONTENT)).ulid)
    block.acquire()
    block.remove_when_released()
    block.release()
    assert read_block(block) == expected(CONTENT)
    assert block_paths(FS, tmp_path, read_only=True) == []
    block.release()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="is closed"):
        block.acquire()


def test_arrays_outlive_their_block(tmp_path: Path) -> None:
    """A kernel at work, or a view of the index, holds the memory."""
    block = Block.open(FS, tmp_path / write_block(FS, tmp_path, PlainSource(CONTENT)).ulid)
    chunks, pairs = block.chunks, block.index["label_pair"].all()
    before = chunks.copy(), pairs.copy()
    block.remove_when_released()
    block.release()
    del block
    assert np.array_equal(chunks, before[0])
    assert np.array_equal(pairs, before[1])


@pytest.mark.parametrize("name", ["block-1"])
def test_a_block_of_an_earlier_format(name: str, tmp_path: Path) -> None:
    with tarfile.open(SAMPLES / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    block = Block.open(FS, block_paths(FS, tmp_path)[0])
    block.verify()
    assert read_block(block) == {
        tuple(map(tuple, labels)): [tuple(sample) for sample in samples]
        for labels, samples in json.loads((SAMPLES / f"{name}.json").read_text())
    }


def test_a_block_with_chunks_of_every_form(tmp_path: Path) -> None:
    """As the second format had them: Gorilla, histograms, and dense chunks with everything that these can have."""
    with tarfile.open(SAMPLES / "block-2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    block = Block.open(FS, block_paths(FS, tmp_path)[0])
    block.verify()
    rows = np.arange(len(block), dtype=np.int32)
    series = block.series_set(rows)
    tile = block.decode_kinds(block.chunk_ranges(rows, -(1 << 62), 1 << 62), 0, len(block))
    assert tile.payload is not None
    found = []
    for row in range(len(block)):
        own = slice(int(tile.begin[row]), int(tile.end[row]))
        values = tile.values[own].tobytes()
        if tile.values[own][0] >= BOX:  # the address of a histogram
            places = (tile.values[own] & np.uint64(OFFSET_MASK)) - np.uint64(tile.payload.ctypes.data)
            values = b"".join(decode(tile.payload, place).encode() for place in places.tolist())
        data = tile.ts[own].tobytes() + values
        found.append([[list(label) for label in series.labels(row).items()], own.stop - own.start,
                      hashlib.blake2b(data, digest_size=16).hexdigest()])
    assert found == json.loads((SAMPLES / "block-2.json").read_text())
    block.release()
