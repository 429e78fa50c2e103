"""What a log that was closed holds, in plain values: whoever finds just that again need not read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsdb.wal import segments
from tsdb.wal.files import FileSystem
from tsdb.wal.replay import Replayed, SegmentState


def describe(fs: FileSystem, directory: Path, found: Replayed) -> dict[str, Any]:
    """The segments and the checkpoint of `found`, with the sizes of their files. Raises OSError."""
    states = [dataclasses.asdict(state) for state in found.segments]
    for state in states:
        del state["path"]
    return {"checkpoint": found.checkpoint, "segments": states, "files": _sizes(fs, directory)}


def recognise(fs: FileSystem, directory: Path, description: Mapping[str, Any]) -> Replayed | None:
    """The other way round; None where the files are not those, to the byte. Raises OSError."""
    try:
        if description["files"] != _sizes(fs, directory):
            return None
        states = [SegmentState(path=segments.segment_path(directory, int(state["number"])), **state)
                  for state in description["segments"]]
        return Replayed(states, int(description["checkpoint"]))
    except (KeyError, TypeError, FileNotFoundError):
        return None  # of another version, or beside a writer


def _sizes(fs: FileSystem, directory: Path) -> dict[str, int]:
    """Bytes of the newest checkpoint and of every segment behind it, by name. Those before are removed sooner or later,
    or come back where a power cut undoes that."""
    names = fs.listdir(directory)
    newest = max(segments.checkpoint_numbers(names), default=0)
    ours = [segments.segment_name(number) for number in segments.segment_numbers(names) if number > newest]
    if newest:
        ours.append(segments.checkpoint_name(newest))
    sizes = {}
    for name in ours:
        file = fs.open(directory / name)
        sizes[name] = file.size()
        file.close()
    return sizes
