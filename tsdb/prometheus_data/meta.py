"""meta.json of a Prometheus block."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsdb.model.errors import Corruption
from tsdb.wal.files import FileSystem, read_file

META_NAME = "meta.json"
VERSION = 1
FROM_OUT_OF_ORDER = "from-out-of-order"
MAX_META_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class PrometheusMeta:
    """A block: samples with mint <= ts < maxt (ms)."""

    ulid: str
    mint: int
    maxt: int
    samples: int = 0
    series: int = 0
    chunks: int = 0
    histograms: int = 0
    parents: tuple[str, ...] = ()
    """ULIDs of blocks whose place it takes."""
    deletable: bool = False
    """Nothing is left of it."""
    out_of_order: bool = False
    """It was made of samples out of order only."""

    def encode(self) -> bytes:
        """As it stands on disk, of a block that was made of nothing else."""
        stats = {"numSamples": self.samples, "numSeries": self.series, "numChunks": self.chunks}
        if self.histograms:
            stats |= {"numFloatSamples": self.samples - self.histograms, "numHistogramSamples": self.histograms}
        return json.dumps({
            "ulid": self.ulid, "minTime": self.mint, "maxTime": self.maxt, "stats": stats,
            "compaction": {"level": 1, "sources": [self.ulid]}, "version": VERSION,
        }, indent="\t").encode()


def read_meta(fs: FileSystem, folder: Path) -> PrometheusMeta:
    """Raises Corruption."""
    path = folder / META_NAME
    try:
        document: Any = json.loads(read_file(fs, path))
        compaction = document.get("compaction", {})
        stats = document.get("stats", {})
        if document["version"] != VERSION:
            raise Corruption(f"{path}: version {document['version']!r} of blocks is not known, only {VERSION}: import "
                             "with a newer tsdb")
        return PrometheusMeta(
            str(document["ulid"]), int(document["minTime"]), int(document["maxTime"]),
            int(stats.get("numSamples", 0)), int(stats.get("numSeries", 0)), int(stats.get("numChunks", 0)),
            int(stats.get("numHistogramSamples", 0)),
            tuple(str(parent["ulid"]) for parent in compaction.get("parents") or ()),
            bool(compaction.get("deletable")), FROM_OUT_OF_ORDER in (compaction.get("hints") or ()))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise Corruption(f"{path} is not the meta.json of a Prometheus block ({problem!r}): restore the block, or "
                         "remove its folder") from None
