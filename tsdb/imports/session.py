"""An import, whatever the format: inputs are read, sorted, and become blocks of a data directory or of a server.

::

    inputs = [file_input(path, partial(read, path)) for path in paths]
    with data_directory(folder) as target:
        outcome = run(inputs, target, format="csv", options={"time": "unix_ms"})

An import is known by its identity: a digest of the content of its inputs and of the options that they are read with.
What it has sorted stands in a folder of that name, so that one that was interrupted goes on behind the last input that
it has read as a whole; blocks have names that follow from it, so that the same import again adds nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.imports.distinct import Distinct
from tsdb.imports.files import content_digest
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.targets import Target
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import Batch
from tsdb.model.errors import TsdbError, WrongInput
from tsdb.storage.bulk.writer import MEMORY_BYTES, BulkWriter
from tsdb.wal.files import read_file, write_file_atomically

VERSION = 1
"""Of identities: another one where the same input would become other samples."""
FUTURE = "samples more than ten minutes ahead of the clock: are their times in another unit?"

Told = Callable[[str, int, int], None]
"""Is told what is done (one of those below), how much of it is, and of how much: bytes; of WRITING blocks."""
LOOKING, READING, WRITING, SENDING = "looking", "reading", "writing", "sending"


class Read(Protocol):
    """A reader (`tsdb.imports.reader`), given its input and options: ``partial(read, path, …)``."""

    def __call__(self, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress) -> Iterator[Batch]: ...


def nobody(stage: str, done: int, of: int) -> None:
    """Is told."""


@dataclass(frozen=True, slots=True)
class Input:
    """One of the things to import."""

    name: str
    """For people."""
    size: int
    """bytes, for the progress."""
    read: Read
    digest: Callable[[Progress], bytes]
    """Of its content: 32 bytes."""


@dataclass(slots=True)
class Outcome:
    """What an import did."""

    samples: int = 0
    """In its blocks."""
    blocks: int = 0
    known: int = 0
    """Blocks of these that the target had."""
    series: int = 0
    """0: not known, as after an interruption."""
    mint: int = 0
    maxt: int = 0
    """ms, both inclusive."""
    again: bool = False
    """It was done before, and there was nothing to do."""
    left_out: LeftOut = field(default_factory=LeftOut)


def file_input(path: Path, read: Read, *, name: str = "") -> Input:
    """A file. Raises WrongInput where there is none."""
    try:
        size = path.stat().st_size
    except OSError as problem:
        raise WrongInput(f"{path}: {problem.strerror}") from None
    return Input(name or str(path), size, read, partial(content_digest, path))


def run(inputs: Sequence[Input], target: Target, *, format: str, options: Mapping[str, object] | None = None,
        told: Told = nobody, memory_bytes: int = MEMORY_BYTES) -> Outcome:
    """Imports all inputs. `options`: those that change what is read.

    Raises WrongInput and Corruption where an input is wrong: nothing of the import is kept then; OSError; what the
    target raises. After anything else, KeyboardInterrupt among it, the same call goes on where this one ended.
    """
    digests = _digests(inputs, told)
    identity = _identity(format, options or {}, digests)
    folder = target.work / identity.hex()
    target.fs.mkdir(target.work)
    there = target.there()
    earlier = _recorded(target, folder)
    if earlier is not None and earlier.names <= set(there):
        return earlier.outcome
    with target.alone(folder):
        return _import(inputs, digests, identity, target, folder, there, told, memory_bytes)


def _import(inputs: Sequence[Input], digests: Sequence[bytes], identity: bytes, target: Target, folder: Path,
            there: Collection[str], told: Told, memory_bytes: int) -> Outcome:
    secret = new_secret()
    writer = BulkWriter(target.fs, target.blocks(folder), folder, secret, identity=identity, memory_bytes=memory_bytes)
    try:
        read = _read(inputs, digests, writer, secret, told)
    except TsdbError:
        writer.discard()
        raise
    metas = writer.finish(there, partial(told, WRITING))
    known = target.publish(target.blocks(folder), metas, partial(told, SENDING))
    outcome = Outcome(sum(meta.stats.samples for meta in metas), len(metas), known, read.series.count,
                      read.mint, read.maxt, left_out=read.left_out)
    if read.partly and metas:
        outcome.mint, outcome.maxt = min(meta.mint for meta in metas), max(meta.maxt for meta in metas) - 1
        outcome.series = 0
    if target.remembers:
        _record(target, folder, [meta.ulid for meta in metas], outcome)
    writer.discard()
    return outcome


@dataclass(slots=True)
class _Seen:
    """What was read."""

    left_out: LeftOut = field(default_factory=LeftOut)
    series: Distinct = field(default_factory=Distinct)
    mint: int = 1 << 62
    maxt: int = -1 << 62
    partly: bool = False
    """There is more: an earlier process has read it; or less: of some samples the times are too new."""

    def note(self, batch: Batch) -> None:
        self.series.add(batch.row_hash)
        if batch.samples:
            self.mint = min(self.mint, int(batch.ts.min()))
            self.maxt = max(self.maxt, int(batch.ts.max()))


def _read(inputs: Sequence[Input], digests: Sequence[bytes], writer: BulkWriter, secret: NDArray[np.uint64], told: Told,
          ) -> _Seen:
    seen, total, before = _Seen(), sum(each.size for each in inputs), 0
    given = taken = 0
    for each, digest in zip(inputs, digests, strict=True):
        if digest.hex() in writer.marks:
            seen.partly = True
        else:
            def progress(done: int, of: int, before: int = before, size: int = each.size) -> None:
                told(READING, before + (size * done // of if of else size), total)

            for batch in each.read(secret, left_out=seen.left_out, progress=progress):
                seen.note(batch)
                given += batch.samples
                taken += writer.add(batch)
            writer.checkpoint(digest.hex())
        before += each.size
        told(READING, before, total)
    if given > taken:
        seen.left_out.count(FUTURE, given - taken)
        seen.partly = True
    if given and not taken:
        raise WrongInput(f"all {given} samples are more than ten minutes ahead of the clock: are the times in another "
                         "unit?")
    return seen


def _digests(inputs: Sequence[Input], told: Told) -> list[bytes]:
    found, total, before = [], sum(each.size for each in inputs), 0
    for each in inputs:
        def progress(done: int, of: int, before: int = before) -> None:
            told(LOOKING, before + done, total)

        found.append(each.digest(progress))
        before += each.size
    return found


def _identity(format: str, options: Mapping[str, object], digests: Sequence[bytes]) -> bytes:
    """32 bytes."""
    said = json.dumps([VERSION, format, sorted(options.items())])
    return hashlib.blake2b(said.encode() + b"\n" + b"".join(digests), digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What an import that has ended left behind."""

    names: frozenset[str]
    """ULIDs of its blocks."""
    outcome: Outcome


def _record(target: Target, folder: Path, names: Sequence[str], outcome: Outcome) -> None:
    said = {"version": VERSION, "blocks": list(names), "samples": outcome.samples, "series": outcome.series,
            "mint": outcome.mint, "maxt": outcome.maxt}
    write_file_atomically(target.fs, folder.with_suffix(".json"), json.dumps(said).encode() + b"\n")


def _recorded(target: Target, folder: Path) -> _Earlier | None:
    path = folder.with_suffix(".json")
    if not target.fs.exists(path):
        return None
    try:
        said = json.loads(read_file(target.fs, path))
        names = frozenset(map(str, said["blocks"]))
        return _Earlier(names, Outcome(int(said["samples"]), len(names), len(names), int(said["series"]),
                                       int(said["mint"]), int(said["maxt"]), True))
    except (ValueError, KeyError, TypeError):
        return None
