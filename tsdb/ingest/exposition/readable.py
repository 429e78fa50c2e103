"""A scraped body as what `read_lines` reads: lines as they came, or records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition.formats import Format


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what a target exposes."""

    data: bytes
    format: Format
    places: NDArray[np.int64] | None = None
    """i64[n, 2]: where in the part, and where in the body, runs of lines begin. None: the part is the body."""


@dataclass(frozen=True, slots=True)
class Readable:
    """What is to be read of a body, part after part."""

    parts: tuple[Part, ...]
    payload: NDArray[np.uint8] | None = None
    """Native histograms. None: there are none."""
    over_limit: int = 0
    """Native histograms that have too many buckets whatever their schema."""
    started: bool = False
    """Whether of a sample of records it is known since when it counts."""
