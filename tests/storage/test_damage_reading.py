"""Damage that is found while blocks are read: the query fails by name, later ones are answered from what is sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.processes import wait_until
from tests.storage.batches import everything, read
from tests.storage.block.plain import Content, PlainSource
from tsdb.model.context import RequestContext
from tsdb.model.errors import Corruption
from tsdb.model.tiles import Selection
from tsdb.storage import Storage
from tsdb.storage.block import Block, new_ulid, write_block
from tsdb.storage.block.sections import Index
from tsdb.wal.files import LocalFileSystem

HOUR = 3_600_000
FIRST, SECOND = 1_700_006_400_000, 1_700_006_400_000 + 40 * 24 * HOUR
"""Where two blocks of two hours begin, too far apart to be compacted."""
Found = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]


def content(start: int) -> Content:
    """20 series with three chunks each."""
    return {
        (("__name__", "m"), ("n", f"{n:02d}")): [
            [(start + (chunk * 30 + i) * 60_000 + n, n * i) for i in range(30)] for chunk in range(3)
        ]
        for n in range(20)
    }


WRITTEN: Found = {labels: [sample for start in (FIRST, SECOND) for chunk in content(start)[labels] for sample in chunk]
                  for labels in content(FIRST)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    Storage.open(folder).close()
    for start in (FIRST, SECOND):
        write_block(LocalFileSystem(), folder / "blocks", PlainSource(content(start), start, start + 2 * HOUR),
                    ulid=new_ulid(start + 3 * HOUR))
    return folder


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def blocks(data: Path) -> list[Path]:
    return sorted((data / "blocks").iterdir())


def warnings(storage: Storage, mint: int = 0, maxt: int = 1 << 60) -> list[str]:
    with storage.capture([Selection(everything(), mint, maxt)], RequestContext()) as capture:
        return list(capture.warnings)


def test_a_damaged_chunk(data: Path) -> None:
    path = blocks(data)[0]
    block = Block.open(LocalFileSystem(), path)
    chunk = 7 * 3 + 1
    flip(path / "chunks", int(block.index["chunk_offset"].array[chunk]) + 9)
    block.release()
    lost = content(FIRST)[(("__name__", "m"), ("n", "07"))][1]

    storage = Storage.open(data)
    with pytest.raises(Corruption, match=rf"{path}/chunks: chunk {chunk} is damaged"):
        read(storage)
    wait_until(lambda: storage.statistics().damaged == 1, "the block is set aside")
    expected = {labels: [sample for sample in samples if dict(labels)["n"] != "07" or sample not in lost]
                for labels, samples in WRITTEN.items()}
    assert read(storage) == expected
    (warning,) = warnings(storage)
    assert "may be missing" in warning and path.name in warning
    assert warnings(storage, lost[-1][0] + 1) == warnings(storage, 0, lost[0][0] - 1) == [], "other times are whole"
    storage.close()

    (note,) = [json.loads(note.read_text()) for note in (data / "damaged").glob("*.note")]
    assert (note["minTime"], note["maxTime"]) == (lost[0][0], lost[-1][0] + 1)
    assert 'of m{n="07"}; all others' in note["reason"]
    assert not path.exists() and (data / "damaged" / f"blocks-{path.name}" / "chunks").exists()
    again = Storage.open(data)
    assert read(again) == expected and warnings(again) == [warning]
    assert (again.statistics().damaged, again.statistics().damaged_known) == (0, 1)
    again.close()


def flip_section(block: Path, name: str) -> None:
    mapped = np.frombuffer((block / "index").read_bytes(), np.uint8)
    found = Index(block / "index", mapped)[name].raw
    flip(block / "index", found.__array_interface__["data"][0] - mapped.__array_interface__["data"][0])


@pytest.mark.parametrize("read_only", [False, True])
def test_an_index_that_can_be_mended(read_only: bool, data: Path) -> None:
    path = blocks(data)[1] / "index"
    whole = path.read_bytes()
    flip_section(path.parent, "posting")
    flip_section(path.parent, "fingerprint")
    damaged = path.read_bytes()
    storage = Storage.open(data, read_only=read_only)
    notices: list[str] = []
    storage.follow_damage(lambda texts: notices.__setitem__(slice(None), texts))
    assert read(storage) == WRITTEN and notices == warnings(storage) == []
    if storage._maintenance is None:
        assert path.read_bytes() == damaged, "nothing is changed"
    else:
        storage._maintenance.do(lambda: None).result(30)
        wait_until(lambda: storage.statistics().mended == 1, "the index is written")
        assert path.read_bytes() == whole and storage.statistics().damaged_known == 0
        assert len(notices) == 1 and str(path) in notices[0] and "nothing is lost" in notices[0]
    assert read(storage) == WRITTEN
    storage.close()


def test_a_damaged_index(data: Path) -> None:
    path = blocks(data)[1]
    flip_section(path, "chunk_maxt")
    storage = Storage.open(data)
    with pytest.raises(Corruption, match=rf"{path}/index: section chunk_maxt is damaged"):
        read(storage)
    wait_until(lambda: storage.statistics().damaged == 1, "the block is set aside")
    assert read(storage) == {labels: samples[:90] for labels, samples in WRITTEN.items()}
    assert len(warnings(storage)) == 1 and warnings(storage, 0, SECOND - 1) == []
    notices: list[str] = []
    storage.follow_damage(notices.extend)
    (notice,) = notices
    assert f"block (1: {data}/damaged/blocks-{path.name})" in notice and "may be missing" in notice
    assert f"`tsdb check data {data}`" in notice
    storage.close()


def test_a_block_of_which_nothing_is_sound(data: Path) -> None:
    path = blocks(data)[0]
    (path / "chunks").write_bytes((path / "chunks").read_bytes()[:16].ljust((path / "chunks").stat().st_size, b"\1"))
    storage = Storage.open(data)
    with pytest.raises(Corruption, match="chunk 0 is damaged"):
        read(storage)
    wait_until(lambda: storage.statistics().damaged == 1, "the block is set aside")
    assert read(storage) == {labels: samples[90:] for labels, samples in WRITTEN.items()}
    storage.close()


def test_read_only(data: Path) -> None:
    flip(blocks(data)[0] / "chunks", 20)
    before = sorted(data.rglob("*"))
    storage = Storage.open(data, read_only=True)
    with pytest.raises(Corruption, match="chunk 0 is damaged"):
        read(storage)
    assert read(storage) == {labels: samples[90:] for labels, samples in WRITTEN.items()}
    assert len(warnings(storage)) == 1
    storage.close()
    assert sorted(data.rglob("*")) == before, "nothing is changed"
