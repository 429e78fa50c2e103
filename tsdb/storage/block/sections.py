"""The sections of an index, mapped: opening reads the table of contents only; pages are checked when first touched."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption, FormatTooNew
from tsdb.storage.block.derived import derive
from tsdb.storage.block.layout import (
    ALIGNMENT,
    CONTENTS,
    ENTRY,
    FINGERPRINT_BYTES,
    FOOTER,
    HEADER,
    INDEX_HEADER_BYTES,
    INDEX_MAGIC,
    INDEX_VERSION,
    META_COPY,
    OPTIONAL,
    PAGE_CRC,
    SECTIONS,
    SINCE_2,
    TEMPORARY,
)
from tsdb.storage.block.page_kernels import BEYOND, check_spans, page_checksums
from tsdb.wal.files import FileSystem, write_all

log = logging.getLogger(__name__)

REMEDY = ("samples of this block may be lost, all other blocks stay readable: `tsdb check data` says what is lost, and "
          "a copy from a snapshot can take its place")
PIECE = 4 << 20
"""Bytes that are written at once."""


def damaged(path: Path, what: str) -> Corruption:
    return Corruption(f"{path}: {what}: {REMEDY}")


def without_remedy(problem: Exception) -> str:
    """What is wrong, for where nothing is lost, or what to do is said otherwise."""
    return str(problem).removesuffix(f": {REMEDY}")


def checksums_of(raw: NDArray[np.uint8], page: int) -> NDArray[np.uint32]:
    """Of each page of a section: u32[pages]."""
    data = np.ascontiguousarray(raw).view()
    data.flags.writeable = False
    pages = np.arange(-(-data.size // page), dtype=np.int64)
    out = np.empty(pages.size, np.uint32)
    page_checksums(data, page, pages, out)
    return out


def check_header(path: Path, data: bytes, magic: bytes, version: int, what: str) -> None:
    """Raises Corruption, or FormatTooNew. `data` are the first bytes of a file."""
    if len(data) < HEADER.size or not data.startswith(magic):
        raise damaged(path, f"is cut short, or not {what} of tsdb")
    _, found, crc = HEADER.unpack_from(data)
    if crc != int(checksum(0, np.frombuffer(data[: HEADER.size - 4], np.uint8))):
        raise damaged(path, "the header is damaged")
    if found > version:
        raise FormatTooNew(f"{path}: has format {found}, this tsdb reads up to {version}: use a newer tsdb")


class Section:
    """A mapped array of the index. Take what you need by `part`, `at` or, for kernels, `check…` and `array`."""

    def __init__(self, path: Path, name: str, raw: NDArray[np.uint8], dtype: str, crcs: NDArray[np.uint32],
                 page: int, mend: Callable[[Section, Corruption], bool] = lambda *_: False) -> None:
        """`mend` is asked to `replace` what is damaged, and says whether it did."""
        self.name = name
        self.raw = raw
        """Its bytes."""
        self.array: NDArray[Any] = raw.view(dtype)
        """Not checked yet."""
        self.size = int(self.array.size)
        self.width = int(self.array.itemsize)
        """Bytes of an item."""
        self._path = path
        self._crcs = crcs
        self._page = page
        self._unchecked = np.ones(crcs.size, np.bool_)  # set by any thread, to the same
        self._whole = crcs.size == 0
        self._mend = mend

    def close(self) -> None:
        self.raw = np.zeros(0, np.uint8)
        self.array = self.array[:0].copy()
        self.size = 0

    def part(self, begin: int, end: int) -> NDArray[Any]:
        """Items begin:end, which must be there. Corruption."""
        if not 0 <= begin <= end <= self.size:
            raise damaged(self._path, f"section {self.name} has {self.size} items, not {end}")
        if not self._whole and begin < end:
            first, last = begin * self.width // self._page, (end * self.width - 1) // self._page
            if self._unchecked[first] if first == last else self._unchecked[first : last + 1].any():
                self.check_spans(np.array([begin]), np.array([end]))
        return self.array[begin:end]

    def all(self) -> NDArray[Any]:
        """Everything. Corruption."""
        return self.part(0, self.size)

    def at(self, items: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """The given items. Corruption."""
        items = items.astype(np.int64, copy=False)
        self.check_spans(items, items + 1)
        found: NDArray[Any] = self.array[items]
        return found

    def check_spans(self, begin: NDArray[np.integer[Any]], end: NDArray[np.integer[Any]]) -> None:
        """Checks the items begin[i]:end[i], so that kernels may read them from `array`. Corruption."""
        wrong, checked = check_spans(
            np.ascontiguousarray(begin, np.int64), np.ascontiguousarray(end, np.int64), self.size, self.width,
            self.raw, self._page, self._crcs, self._unchecked,
        )
        if wrong == BEYOND:
            raise damaged(self._path, f"items beyond the end of section {self.name} are meant")
        if wrong >= 0:
            problem = damaged(self._path, f"section {self.name} is damaged within {self._page} bytes from its byte "
                                          f"{wrong * self._page} on")
            if not self._mend(self, problem):
                raise problem
        elif checked:
            self._whole = not self._unchecked.any()

    @property
    def whole(self) -> bool:
        """Whether all of it has been checked."""
        return self._whole

    def replace(self, items: NDArray[Any]) -> bool:
        """Holds the given items from now on, in memory, if they are what was written: if they have its checksums."""
        raw = np.ascontiguousarray(items, self.array.dtype).view(np.uint8)
        if raw.size != self.raw.size or not np.array_equal(checksums_of(raw, self._page), self._crcs):
            return False
        raw.flags.writeable = False
        self.raw, self.array = raw, raw.view(self.array.dtype)
        self._unchecked[:] = False  # after the bytes: others read these as soon as it is so
        self._whole = True
        return True


class Index:
    """The mapped index of a block: its sections by name, and what its table of contents says of the block."""

    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        """`data` is the mapped file. Raises Corruption, FormatTooNew."""
        self.path = path
        self.mended: dict[str, Corruption] = {}
        """Sections that are damaged in the file and whole in memory, because they follow from others, and how they
        were."""
        self._data = data
        self._mending = threading.RLock()
        self._begun: set[str] = set()
        check_header(path, data[:INDEX_HEADER_BYTES].tobytes(), INDEX_MAGIC, INDEX_VERSION, "an index")
        contents = self._contents(data)
        ulid, self.mint, self.maxt, self.samples, self.meta_crc, page = CONTENTS.unpack_from(contents)
        self.ulid = ulid.decode("ascii", "replace")
        entries = {}
        for at in range(CONTENTS.size, len(contents), ENTRY.size):
            name, dtype, crc, offset, length = ENTRY.unpack_from(contents, at)
            text = name.rstrip(b"\0").decode("ascii", "replace")
            kind = dtype.rstrip(b"\0").decode("ascii", "replace") if text in SECTIONS else "|u1"
            entries[text] = (kind, crc, offset, length)
        self._sections = self._map(data, entries, page)
        self._check_sizes()

    def __getitem__(self, name: str) -> Section:
        return self._sections[name]

    def names(self) -> list[str]:
        """The sections that there are."""
        return [name for name, section in self._sections.items() if section.size or name not in OPTIONAL]

    @property
    def series(self) -> int:
        return self["fingerprint"].size // FINGERPRINT_BYTES

    @property
    def chunks(self) -> int:
        return self["chunk_form"].size

    @property
    def columns(self) -> int:
        """Columns of times."""
        return max(self["column_offset"].size - 1, 0)

    def meta_text(self) -> bytes | None:
        """What meta.json should say, where the index knows it and that is sound."""
        if META_COPY not in self._sections:
            return None
        try:
            text = self[META_COPY].all().tobytes()
        except Corruption:
            return None
        return text if int(checksum(0, np.frombuffer(text, np.uint8))) == self.meta_crc else None

    def close(self) -> None:
        """Lets go of the memory."""
        for section in self._sections.values():
            section.close()
        self._data = self._data[:0].copy()

    def problems(self, *, needed: bool = False) -> Iterator[Corruption]:
        """Checks every byte of every section. `needed`: of those without which no sample can be read, what could not be
        `mended`."""
        for name, section in self._sections.items():
            try:
                if not needed or (name in SECTIONS and name not in OPTIONAL):
                    section.all()
            except Corruption as problem:
                yield problem
        if not needed:
            yield from self.mended.values()

    def write_mended(self, fs: FileSystem) -> dict[str, Corruption]:
        """Replaces the file by one that is as it was written, where sections are `mended`, which are returned. OSError,
        with the old file in its place."""
        with self._mending:
            mended = dict(self.mended)
        if not mended:
            return {}
        temporary = self.path.with_name(self.path.name + TEMPORARY)
        try:
            file = fs.open(temporary, writable=True, create=True, truncate=True)
            try:
                for start in range(0, self._data.size, PIECE):
                    write_all(file, self._data[start : start + PIECE].data, start)
                for name in mended:
                    write_all(file, self._raw(name).data, self._places[name])
                file.datasync()
            finally:
                file.close()
            fs.rename(temporary, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                fs.unlink(temporary)
            raise
        fs.sync_directory(self.path.parent)
        with self._mending:
            for name in mended:
                del self.mended[name]
        return mended

    def _mend(self, section: Section, problem: Corruption) -> bool:
        """Has a damaged section hold what follows from others, once, in whichever thread comes upon it first."""
        name = section.name
        with self._mending:
            if section.whole or name in self._begun:  # begun: what it follows from is damaged, too
                return section.whole
            self._begun.add(name)
            try:
                found = derive(self, name)
                if found is None or not section.replace(found):
                    return False
            except (Corruption, ValueError):
                return False
            finally:
                self._begun.discard(name)
            self._is_mended(name, problem)
        return True

    def _is_mended(self, name: str, problem: Corruption) -> None:
        self.mended[name] = problem
        log.warning("%s; it follows from other sections and was made anew from them: nothing is lost",
                    without_remedy(problem))

    def _raw(self, name: str) -> NDArray[np.uint8]:
        if name != PAGE_CRC:
            return self[name].raw
        crcs = [checksums_of(section.raw, self._page) for section in self._sections.values()]
        return np.concatenate(crcs).view(np.uint8)

    def _contents(self, data: NDArray[np.uint8]) -> bytes:
        if data.size < INDEX_HEADER_BYTES + CONTENTS.size + FOOTER.size:
            raise damaged(self.path, "is cut short")
        footer = data[-FOOTER.size :].tobytes()
        offset, length, crc, _, own, magic = FOOTER.unpack(footer)
        if magic != INDEX_MAGIC or own != int(checksum(0, np.frombuffer(footer[:-12], np.uint8))):
            raise damaged(self.path, "its end is cut off or damaged")
        found = data[offset : offset + length]
        if found.size != length or int(checksum(0, found)) != crc or (length - CONTENTS.size) % ENTRY.size:
            raise damaged(self.path, "the table of contents is damaged")
        return found.tobytes()

    def _map(self, data: NDArray[np.uint8], entries: dict[str, tuple[str, int, int, int]], page: int,
             ) -> dict[str, Section]:
        for name in SINCE_2.union(OPTIONAL).difference(entries):
            entries[name] = (SECTIONS[name][0], 0, 0, 0)
        missing = [name for name, dtypes in SECTIONS.items() if name not in entries or entries[name][0] not in dtypes]
        if missing or page % ALIGNMENT or page == 0:
            raise damaged(self.path, f"the table of contents names no usable section {', '.join(missing)}")
        self._page = page
        self._places = {name: offset for name, (_, _, offset, _) in entries.items()}
        raws = {}
        for name, (dtype, _, offset, length) in entries.items():
            raws[name] = data[offset : offset + length]
            if raws[name].size != length or offset % ALIGNMENT or length % np.dtype(dtype).itemsize:
                raise damaged(self.path, f"section {name} is not where the table of contents says")
        crcs = raws[PAGE_CRC].view("<u4")
        sound = int(checksum(0, raws[PAGE_CRC])) == entries[PAGE_CRC][1]
        if not sound:  # the table of contents has the checksum of each section's ones, by which they are compared below
            crcs = np.concatenate([checksums_of(raw, page) for name, raw in raws.items() if name != PAGE_CRC])
            crcs.flags.writeable = False
        sections = {}
        at = 0
        for name, (dtype, crc, _, length) in entries.items():
            if name != PAGE_CRC:
                pages = -(-length // page)
                own = crcs[at : at + pages]
                at += pages
                if own.size != pages or int(checksum(0, own.view(np.uint8))) != crc:
                    raise damaged(self.path, f"the checksums of section {name} are damaged")
                sections[name] = Section(self.path, name, raws[name], dtype, own, page, self._mend)
        if not sound:
            self._is_mended(PAGE_CRC, damaged(self.path, f"section {PAGE_CRC} is damaged"))
        return sections

    def _check_sizes(self) -> None:
        size = {name: section.size for name, section in self._sections.items()}
        series, pairs, chunks = self.series, size["pair_name"], self.chunks
        expected = {
            "fingerprint": series * FINGERPRINT_BYTES, "label_offset": series + 1, "series_chunk": series + 1,
            "pair_value": pairs, "posting_offset": pairs + 1, "posting": size["label_pair"],
            "name_pair": size["name_symbol"] + 1, "chunk_mint": chunks, "chunk_maxt": chunks,
            "chunk_samples": chunks, "chunk_offset": chunks + 1, "column_samples": self.columns,
        }
        wrong = [name for name, items in expected.items() if size[name] != items]
        if wrong or size["symbol_offset"] == 0 or self["chunk_mint"].width != self["chunk_maxt"].width:
            raise damaged(self.path, f"sections do not fit together: {', '.join(wrong)}")
