"""Bits turn over in every part of every file: Corruption or the same answer, and never anything else."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.storage.block.plain import Content, PlainSource, expected, read_block
from tests.wal.simulated import SimulatedFileSystem
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.block import Block, meta, new_ulid, write_block, writer
from tsdb.storage.block.layout import (
    CHUNKS_HEADER_BYTES,
    CHUNKS_NAME,
    CONTENTS,
    ENTRY,
    FLOATS,
    FOOTER,
    INDEX_HEADER_BYTES,
    INDEX_NAME,
    META_NAME,
    OPTIONAL,
    SECTIONS,
)

FOLDER = Path("/data/blocks")
ULID = new_ulid(1)
PATH = FOLDER / ULID
CONTENT: Content = {
    (("__name__", f"m{n % 3}"), ("instance", f"host-{n:03d}"), ("zone", "aéb"[n % 3])): [
        [(1000 * k + 7 * i, n * i) for i in range(5)] for k in range(3)]
    for n in range(40)
}
WANTED = [Matcher(MatchType.EQUAL, "__name__", "m1"), Matcher(MatchType.REGEX, "instance", "host-0.[0-5]"),
          Matcher(MatchType.NOT_EQUAL, "zone", "b")]


@pytest.fixture(scope="module")
def written() -> SimulatedFileSystem:
    fs = SimulatedFileSystem()
    write_block(fs, FOLDER, PlainSource(CONTENT), ulid=ULID)
    return fs


def parts(fs: SimulatedFileSystem) -> dict[str, tuple[str, int, int]]:
    """Name: (file, first byte, the one behind the last)."""
    index = fs.content(PATH / INDEX_NAME)
    chunks = fs.content(PATH / CHUNKS_NAME)
    at, length, *_ = FOOTER.unpack(index[-FOOTER.size :])
    out = {
        "meta": (META_NAME, 0, len(fs.content(PATH / META_NAME))), "index header": (INDEX_NAME, 0, 16),
        "contents": (INDEX_NAME, at, at + length), "footer": (INDEX_NAME, at + length, len(index)),
        "chunks header": (CHUNKS_NAME, 0, CHUNKS_HEADER_BYTES),
        "chunks": (CHUNKS_NAME, CHUNKS_HEADER_BYTES, len(chunks)),
    }
    for entry in range(at + CONTENTS.size, at + length, ENTRY.size):
        name, _, _, offset, size = ENTRY.unpack_from(index, entry)
        out[name.rstrip(b"\0").decode()] = (INDEX_NAME, offset, offset + size)
    return out


def answers(fs: SimulatedFileSystem) -> list[object]:
    block = Block.open(fs, PATH)
    try:
        return [read_block(block, block.find(WANTED)), read_block(block, mint=900, maxt=1020), read_block(block),
                block.label_names(), block.label_values("instance"), block.label_values("zone", block.find(WANTED)),
                block.fingerprints(np.arange(len(block), dtype=np.int32)).tolist(), block.meta]
    finally:
        block.release()


def test_the_parts_are_those_that_are_documented(written: SimulatedFileSystem) -> None:
    assert set(SECTIONS) - set(OPTIONAL) <= set(parts(written))
    assert answers(written)[2] == expected(CONTENT)
    assert list(Block.open(written, PATH).problems()) == []


@pytest.mark.parametrize("part", ["meta", "index header", "contents", "footer", "chunks header", "chunks",
                                  *(name for name in SECTIONS if name not in OPTIONAL)])
def test_a_bit_turns_over(part: str, written: SimulatedFileSystem) -> None:
    name, begin, end = parts(written)[part]
    good = answers(written)
    step = max(1, (end - begin) // 24)
    for at in range(begin, end, step):
        fs = written.copy()
        fs.flip(PATH / name, at * 8 + at % 8)
        with pytest.raises((Corruption, FormatTooNew), match=name):
            Block.open(fs, PATH).verify()
        try:
            assert answers(fs) == good
        except (Corruption, FormatTooNew) as problem:
            assert str(PATH / name) in str(problem)


@pytest.mark.parametrize("name", [META_NAME, INDEX_NAME, CHUNKS_NAME])
def test_a_file_is_cut(name: str, written: SimulatedFileSystem, tmp_path: Path) -> None:
    good = answers(written)
    size = len(written.content(PATH / name))
    for left in (0, 1, 15, 16, 17, 63, 64, 65, 100, size // 2, size - 40, size - 1, size + 1):
        fs = written.copy()
        fs.open(PATH / name, writable=True).truncate(left)
        if name == META_NAME:
            assert answers(fs) == good and left_out(fs) == [META_NAME], "the index has a copy"
        elif name == CHUNKS_NAME and left:
            assert left_out(fs) == [CHUNKS_NAME]
            if left < size:
                with pytest.raises(Corruption, match=name):
                    answers(fs)
        else:
            with pytest.raises(Corruption, match=name):
                Block.open(fs, PATH)


def left_out(fs: SimulatedFileSystem) -> list[str]:
    return [path.name for path, _ in Block.open(fs, PATH).left_out]


def test_meta_json_is_missing(written: SimulatedFileSystem) -> None:
    fs = written.copy()
    fs.unlink(PATH / META_NAME)
    assert answers(fs) == answers(written) and left_out(fs) == [META_NAME]


@pytest.mark.parametrize("name", [INDEX_NAME, CHUNKS_NAME])
def test_a_file_is_missing(name: str, written: SimulatedFileSystem) -> None:
    fs = written.copy()
    fs.unlink(PATH / name)
    with pytest.raises(Corruption, match=f"{name}: is missing"):
        Block.open(fs, PATH)


def test_files_of_two_blocks(written: SimulatedFileSystem) -> None:
    other = new_ulid(2)
    fs = written.copy()
    write_block(fs, FOLDER, PlainSource({next(iter(CONTENT)): [[(1, 1)]]}), ulid=other)
    for name in (META_NAME, CHUNKS_NAME):
        mixed = fs.copy()
        mixed.rename(FOLDER / other / name, PATH / name)
        with pytest.raises(Corruption, match=name):
            Block.open(mixed, PATH).verify()


def test_newer_versions_are_refused_by_name(
    written: SimulatedFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, magic, known in ((INDEX_NAME, b"TSDBINDX", 3), (CHUNKS_NAME, b"TSDBDATA", 2)):
        fs = written.copy()
        start = magic + struct.pack("<I", 99)
        crc = int(checksum(0, np.frombuffer(start, np.uint8)))
        fs.open(PATH / name, writable=True).pwrite(start + struct.pack("<I", crc), 0)
        with pytest.raises(FormatTooNew, match=f"{name}: has format 99, this tsdb reads up to {known}"):
            Block.open(fs, PATH)
    monkeypatch.setattr(meta, "VERSION", 2)
    fs = SimulatedFileSystem()
    write_block(fs, FOLDER, PlainSource(CONTENT), ulid=ULID)
    with pytest.raises(FormatTooNew, match="format 2"):
        Block.open(fs, PATH)


def test_a_chunk_of_a_codec_to_come() -> None:
    class Newer(PlainSource):
        def chunks(self, order):  # type: ignore[no-untyped-def]
            for piece in super().chunks(order):
                piece.form[:] = FLOATS + 16
                yield piece

    fs = SimulatedFileSystem()
    write_block(fs, FOLDER, Newer(CONTENT), ulid=ULID)
    block = Block.open(fs, PATH)
    block.verify()
    with pytest.raises(FormatTooNew, match="kind or codec"):
        read_block(block)


def test_sources_that_break_their_contract() -> None:
    labels = (("a", "b"),)
    for chunks, message in (
        ([[(5, 1)], [(5, 2)]], "overlap"),
        ([[(7_200_000, 1)]], "range"),
        ([[(-1, 1)]], "range"),
        ([[(i, 0) for i in range(70_000)]], "more than 65535 samples"),
    ):
        fs = SimulatedFileSystem()
        with pytest.raises(ValueError, match=message):
            write_block(fs, FOLDER, PlainSource({labels: chunks}))
        assert fs.paths() == []


def test_sections_of_a_later_version_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = SimulatedFileSystem()
    with monkeypatch.context() as later:
        later.setattr(writer, "SECTIONS", {"later": ("<f16",), **SECTIONS})
        known = writer._write_index
        later.setattr(writer, "_write_index", lambda fs, path, sections, *rest: known(
            fs, path, {**sections, "later": np.zeros(3, np.longdouble)}, *rest))
        write_block(fs, FOLDER, PlainSource(CONTENT), ulid=ULID)
    assert answers(fs)[2] == expected(CONTENT)
    Block.open(fs, PATH).verify()


def test_index_padding_is_nobodys(written: SimulatedFileSystem) -> None:
    fs = written.copy()
    fs.flip(PATH / INDEX_NAME, (INDEX_HEADER_BYTES - 1) * 8)
    assert answers(fs) == answers(written)


DERIVED = ["name_symbol", "name_pair", "pair_name", "posting_offset", "posting", "label_offset", "label_pair",
           "fingerprint", "page_crc"]
"""Sections that follow from others."""


@pytest.mark.parametrize("part", DERIVED)
def test_a_section_that_follows_from_others_is_mended(part: str, written: SimulatedFileSystem) -> None:
    name, begin, end = parts(written)[part]
    good = answers(written)
    for at in (begin, (begin + end) // 2, end - 1):
        fs = written.copy()
        fs.flip(PATH / name, at * 8 + at % 8)
        assert answers(fs) == good
        block = Block.open(fs, PATH)
        assert list(block.index.problems(needed=True)) == []
        (problem,) = block.write_mended()
        assert f"section {part} is damaged" in str(problem)
        assert fs.content(PATH / name) == written.content(PATH / name), "bit for bit"
        assert block.write_mended() == [] and not list(block.problems()) and len(fs.listdir(PATH)) == 3
        block.release()


@pytest.mark.parametrize(("both", "mended"), [
    (("posting", "fingerprint"), True), (("label_pair", "name_pair"), True), (("posting", "posting_offset"), True),
    (("posting", "label_pair"), False), (("pair_name", "name_pair"), False), (("page_crc", "posting"), False),
    (("posting", "symbol_bytes"), False),
])
def test_two_damaged_sections(both: tuple[str, str], mended: bool, written: SimulatedFileSystem) -> None:
    """They are mended unless each is needed for the other."""
    fs = written.copy()
    for part in both:
        fs.flip(PATH / INDEX_NAME, (parts(written)[part][1] + 5) * 8)
    if mended:
        assert answers(fs) == answers(written)
    else:
        with pytest.raises(Corruption, match="damaged"):
            answers(fs)
