"""Blocks that are uploaded, from their beginning to where they are shown with the others.

::

    <data>/uploads/<ulid>/meta.json, index, chunks      as far as they have come

What is staged does not outlive the process: the folder is emptied at the start. A block that is whole and in order gets
its place among the others by links and one rename, in the maintenance's thread: it is there as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tsdb.model.errors import StorageError, TooLarge, TsdbError, Unavailable, UploadRefused
from tsdb.model.threads import lower_priority
from tsdb.model.times import time_text
from tsdb.storage.block import Block, BlockMeta
from tsdb.storage.block.folders import remove_block, remove_files
from tsdb.storage.block.layout import CHUNKS_NAME, INDEX_NAME, META_NAME, TEMPORARY
from tsdb.storage.blocks import Blocks
from tsdb.storage.upkeep.reserve import is_full, to_spare
from tsdb.storage.upkeep.snapshots import copy_block
from tsdb.storage.uploads.acceptance import FROM_PROMETHEUS, PROMETHEUS_MAGIC, accepted_meta, check_files
from tsdb.wal.files import FileSystem, write_all

log = logging.getLogger(__name__)

FOLDER = "uploads"
FILES = (INDEX_NAME, CHUNKS_NAME)
"""That come after meta.json."""
META_BYTES = 1 << 20
"""Of meta.json, at most."""
PATIENCE_S = 86_400.0
"""After which an upload of which nothing more is heard is given up."""
SUFFIX = slice(10, None)
"""The part of a ULID that is not its time."""
NICE = 10


class State(StrEnum):
    """Mimir's words."""

    UPLOADING = "uploading"
    VALIDATING = "validating"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Status:
    """Of a block that is, or was, uploaded."""

    state: State
    error: str = ""
    """Why it has failed."""
    files: dict[str, int] = field(default_factory=dict)
    """Bytes of each that are there, while it is uploaded."""


@dataclass(slots=True)
class UploadStatistics:
    """Gauges, and counters since the start."""

    under_way: int = 0
    staged_bytes: int = 0
    blocks: int = 0
    """That were taken."""
    bytes: int = 0
    """That were received."""
    failed: int = 0
    """Blocks that were not in order."""


@dataclass(slots=True)
class _Upload:
    meta: BlockMeta
    text: bytes
    folder: Path
    heard: float
    """When something came last, s."""
    state: State = State.UPLOADING
    error: str = ""
    files: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while its files are written."""

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


class Uploads:
    """Of one storage. All methods are thread-safe; those that write may take a while.

    They raise UploadRefused, Unavailable where the disk is full or the storage is closing, StorageError where the disk
    fails.
    """

    def __init__(self, fs: FileSystem, data: Path, blocks: Blocks, do: Callable[[Callable[[], None]], Future[None]],
                 keeps: Callable[[int], bool] = lambda maxt: True, clock: Callable[[], float] = time.time) -> None:
        """`do` has the maintenance do something; `keeps`: whether samples before a time (ms) are kept, or would go at
        once. Removes what an earlier process has left; OSError."""
        self._fs = fs
        self._folder = data / FOLDER
        self._blocks = blocks
        self._do = do
        self._keeps = keeps
        self._clock = clock
        self.most = 4
        """At a time; 0: none are taken."""
        self.most_bytes = 8 << 30
        """Of one block."""
        self._lock = threading.Lock()
        self._uploads: dict[str, _Upload] = {}
        self._counters = UploadStatistics()
        self._closing = False
        self._checks = ThreadPoolExecutor(1, "upload-check", lambda: lower_priority(NICE))
        for name in fs.listdir(self._folder):
            with contextlib.suppress(NotADirectoryError):
                remove_files(fs, self._folder / name)

    def start(self, ulid: str, text: bytes) -> None:
        """Begins to take a block, whose meta.json is `text`, or goes on where it was begun with the same."""
        if not self.most:
            raise UploadRefused("blocks are not taken here (server.max_uploads is 0)")
        if len(text) > META_BYTES:
            raise TooLarge(f"meta.json has more than {META_BYTES} bytes")
        meta = accepted_meta(text, ulid, self._now_ms())
        if self._is_there(ulid):
            raise UploadRefused(f"block {ulid} is there already", 409)
        if not self._keeps(meta.maxt):
            raise UploadRefused(f"the block's samples are before {time_text(meta.maxt)}, and would go at once: "
                                "storage.tsdb.retention says how long samples are kept", 422)
        with self._lock:
            self._go_on()
            known = self._uploads.get(ulid)
            if known is not None and known.state is State.VALIDATING:
                raise UploadRefused("the block is being looked at")
            if known is not None and known.state is State.UPLOADING and known.text == text:
                known.heard = self._clock()
                return
            if sum(each.state is not State.FAILED for each in self._uploads.values() if each is not known) >= self.most:
                raise Unavailable(f"{self.most} blocks are being uploaded (server.max_uploads): come again later")
            begun = _Upload(meta, text, self._folder / ulid, self._clock())
            if known is not None:
                with known.lock:  # whoever still writes to it
                    known.state = State.FAILED
            with self._disk():
                remove_files(self._fs, begun.folder)
                self._fs.mkdir(begun.folder)
                self._write(begun.folder / META_NAME, text, 0)
            self._uploads[ulid] = begun

    def write(self, ulid: str, name: str, data: bytes, offset: int = 0) -> None:
        """Takes a part of a file, which is to begin where the last one ended; 0: the file begins anew."""
        if name not in FILES:
            raise UploadRefused(_no_file(name))
        if not data:
            raise UploadRefused("the body is empty")
        if offset == 0 and data.startswith(PROMETHEUS_MAGIC):
            raise UploadRefused(f"the block is in Prometheus' format: {FROM_PROMETHEUS}")
        upload = self._uploading(ulid)
        with upload.lock, self._disk():
            if upload.state is not State.UPLOADING:
                raise UploadRefused("the block is not being uploaded any more")
            size = upload.files.get(name, 0)
            if not 0 <= offset <= size:
                raise UploadRefused(f"{name} has {size} bytes so far: what begins at {offset} cannot follow")
            if upload.bytes - size + offset + len(data) > self.most_bytes:
                raise TooLarge(f"the block has more than {self.most_bytes} bytes (server.max_upload_size)")
            self._check_room(len(data))
            upload.files[name] = offset  # a write that fails leaves nobody knows what behind it
            self._write(upload.folder / name, data, offset)
            upload.files[name] = offset + len(data)
        with self._lock:
            self._counters.bytes += len(data)
        upload.heard = self._clock()

    def finish(self, ulid: str) -> None:
        """All has come: begins to look at it, behind others; `status` tells when that is done."""
        upload = self._uploading(ulid)
        with upload.lock:
            if upload.state is State.VALIDATING:
                return
            if missing := [name for name in FILES if not upload.files.get(name)]:
                raise UploadRefused(f"the block has no {' and no '.join(missing)} yet")
            upload.state = State.VALIDATING
            try:
                self._checks.submit(self._look_at, upload)
            except RuntimeError:
                raise Unavailable("the storage is shutting down") from None

    def status(self, ulid: str) -> Status | None:
        """None: nothing is known of such a block."""
        upload = self._uploads.get(ulid)
        if upload is not None:
            return Status(upload.state, upload.error, dict(upload.files) if upload.state is State.UPLOADING else {})
        return Status(State.COMPLETE) if self._is_there(ulid) else None

    def statistics(self) -> UploadStatistics:
        with self._lock:
            every = [each for each in self._uploads.values() if each.state is not State.FAILED]
            counted = self._counters
            return UploadStatistics(len(every), sum(each.bytes for each in every), counted.blocks, counted.bytes,
                                    counted.failed)

    def tidy(self) -> None:
        """Gives up what nothing was heard of for a day. Called now and then. OSError."""
        with self._lock:
            old = [(ulid, each) for ulid, each in self._uploads.items()
                   if each.state is not State.VALIDATING and self._clock() - each.heard > PATIENCE_S]
            for ulid, _ in old:
                del self._uploads[ulid]
        for ulid, upload in old:
            if upload.state is State.UPLOADING:
                log.warning("the upload of block %s is given up: nothing more came of it", ulid)
            with upload.lock:
                upload.state = State.FAILED
                remove_files(self._fs, upload.folder)

    def close(self) -> None:
        """Ends what is done now, soon."""
        self._closing = True
        self._checks.shutdown(wait=True, cancel_futures=True)

    def accept(self, ulid: str) -> None:
        """Looks at all of a block, and shows it with the others. For who waits: `finish` has it done in a thread."""
        upload = self._uploads[ulid]
        check_files(self._fs, upload.folder, self._now_ms(), self._go_on)
        place = self._blocks.folder / ulid
        temporary = place.with_name(ulid + TEMPORARY)
        try:
            copy_block(self._fs, upload.folder, temporary, link=True)
            self._do(lambda: self._show(ulid, temporary, place)).result()
        except Exception:
            with contextlib.suppress(OSError):
                remove_files(self._fs, temporary)
            raise

    def _show(self, ulid: str, temporary: Path, place: Path) -> None:
        """In the maintenance's thread."""
        if self._is_there(ulid):
            raise UploadRefused(f"block {ulid} is there already", 409)
        self._fs.rename(temporary, place)
        try:
            self._fs.sync_directory(self._blocks.folder)
            block = Block.open(self._fs, place)
        except Exception:
            with contextlib.suppress(OSError):
                remove_block(self._fs, place)
            raise
        self._blocks.publish([block])

    def _look_at(self, upload: _Upload) -> None:
        began, ulid, error = time.perf_counter(), upload.meta.ulid, ""
        try:
            with self._disk():
                self.accept(ulid)
        except TsdbError as problem:
            error = "" if self._is_there(ulid) else str(problem)
        except Exception:
            log.exception("block %s could not be taken", ulid)
            error = "internal error: the server's log has the details"
        stats = upload.meta.stats
        if error:
            log.warning("block %s that was uploaded is not taken: %s", ulid, error)
        else:
            log.info("block %s with %d samples of %d series was uploaded; looked at in %.2f s", ulid, stats.samples,
                     stats.series, time.perf_counter() - began)
        with self._lock:
            self._counters.failed += bool(error)
            self._counters.blocks += not error
            if not error:
                self._uploads.pop(ulid, None)
        with contextlib.suppress(OSError):
            remove_files(self._fs, upload.folder)
        upload.heard, upload.error = self._clock(), error
        upload.state = State.FAILED if error else State.COMPLETE

    def _uploading(self, ulid: str) -> _Upload:
        found = self._uploads.get(ulid)
        if found is not None and found.state is not State.FAILED:
            return found
        if self._is_there(ulid):
            raise UploadRefused(f"block {ulid} is there already", 409)
        raise UploadRefused(f"the upload of block {ulid} was not started", 404)

    def _is_there(self, ulid: str) -> bool:
        """Also under another time, or as a part of another block: what is not the time follows from what was
        imported."""
        return any(each[SUFFIX] == ulid[SUFFIX] for block in self._blocks.every
                   for each in (block.meta.ulid, *block.meta.compaction.sources))

    def _write(self, path: Path, data: bytes, offset: int) -> None:
        """Durably: what waits for the disk would hold up the log's syncs."""
        file = self._fs.open(path, writable=True, create=True, truncate=offset == 0)
        try:
            write_all(file, data, offset)
            file.truncate(offset + len(data))
            file.datasync()
        finally:
            file.close()

    def _check_room(self, size: int) -> None:
        free, spare = self._fs.free_bytes(self._folder), to_spare(self._fs, self._folder)
        if free - size < spare:
            raise Unavailable(f"the disk is full: {free} bytes are free, of which {spare} are left to samples that "
                              "come in", retry_after=60)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            if is_full(problem):
                raise Unavailable(f"the disk is full ({problem.filename or self._folder})", retry_after=60) from problem
            raise StorageError(f"{problem.filename or self._folder}: {problem.strerror or problem}: look at the "
                               "server's disk") from problem

    def _go_on(self) -> None:
        if self._closing:
            raise Unavailable("the storage is shutting down")

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)


def _no_file(name: str) -> str:
    if name == META_NAME:
        return f"{META_NAME} comes with the start of an upload"
    if name.startswith("chunks/"):
        return f"the block is in Prometheus' format: {FROM_PROMETHEUS}"
    return f"a block has no file {name[:100]!r}: path is one of {', '.join(FILES)}"
