"""What reading one scraped body gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest.exposition import exposition_kernels as kernels
from tsdb.ingest.exposition import line_kernels as lines
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.readable import Part
from tsdb.ingest.exposition.record_kernels import MOST_EXEMPLARS
from tsdb.ingest.exposition.series_cache import resized
from tsdb.ingest.exposition.series_keys import KeyedRows
from tsdb.model.batch import Metadata

FILLED = (kernels.NEW, kernels.LINES, kernels.ODD, kernels.EXEMPLARS)
"""Of `state`: rows of arrays with positions."""


class ScrapeArrays:
    """Outputs of `read_lines`, which says what is in them."""

    __slots__ = ("entry", "exemplars", "explicit", "lines", "new", "odd", "ref", "row", "slot", "start_ts", "state",
                 "ts", "values")

    def __init__(self, samples: int, first: bool, started: bool) -> None:
        """`samples` are expected; `first`: all of them of series that are new; `started`: the kernel says since when
        they count."""
        self.entry = np.empty(samples, np.int32)
        self.row = np.empty(samples, np.uint32)
        self.ts = np.empty(samples, np.int64)
        self.values = np.empty(samples, np.uint64)
        self.explicit = np.empty(samples, np.uint8)
        self.start_ts = np.zeros(samples if started else 0, np.int64)
        """i64[samples], ms, or empty."""
        self.slot = np.empty(samples, np.int32)
        self.ref = np.empty(samples, np.uint64)
        self.new = np.empty((samples if first else 1, 6), np.int64)
        self.lines = np.empty((samples // 4 + 1 if first else 1, 4), np.int64)
        self.odd = np.empty((8, 4), np.int64)
        self.exemplars = np.empty((1, lines.EXEMPLAR_COLUMNS), np.int64)
        self.state = np.zeros(kernels.STATE, np.int64)

    def keep(self, some: NDArray[np.bool_]) -> None:
        """Leaves samples out, bool[samples]."""
        samples = some.size
        self.entry, self.row = self.entry[:samples][some], self.row[:samples][some]
        self.ts, self.values = self.ts[:samples][some], self.values[:samples][some]
        self.explicit = self.explicit[:samples][some]
        if self.start_ts.size:
            self.start_ts = self.start_ts[:samples][some]
        rows = self.exemplars[: self.state[kernels.EXEMPLARS], lines.ROW]
        moved = np.append(np.where(some, np.cumsum(some) - 1, -1), -1)
        rows[:] = moved[rows]

    def relocate(self, filled: Sequence[int], part: Part, size: int) -> None:
        """Makes positions in a part those in the body of `size` bytes, but for the rows `filled` before: of new, lines,
        odd and exemplars."""
        if part.places is None or not part.places.size:
            return
        begins, shifts = part.places[:, 0], part.places[:, 1] - part.places[:, 0]

        def moved(at: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.where(at < len(part.data), at + shifts[np.searchsorted(begins, at, "right") - 1], size)

        state = self.state
        for rows, column, used, before in zip(
                (self.new, self.lines, self.odd, self.exemplars), (1, 1, 2, lines.LABELS_AT), FILLED, filled,
                strict=True):
            if part.format is not Format.PROTOBUF or used != kernels.EXEMPLARS:  # records tell where these are
                rows[before : state[used], column] = moved(rows[before : state[used], column])
        state[[kernels.AT, kernels.WRONG]] = moved(state[[kernels.AT, kernels.WRONG]])

    def grow(self, room: int = 4) -> None:
        """Makes room in what has too little left: for `room` samples, or twice of all that is filled."""
        state = self.state
        if self.values.size - state[kernels.SAMPLES] < room:
            length = 2 * self.values.size + room + 64
            self.entry, self.row = resized(self.entry, length), resized(self.row, length)
            self.ts, self.values = resized(self.ts, length), resized(self.values, length)
            self.explicit = resized(self.explicit, length)
            if self.start_ts.size:
                self.start_ts = resized(self.start_ts, length)
            self.slot, self.ref = resized(self.slot, length), resized(self.ref, length)
        self.new = _doubled(self.new, state[kernels.NEW])
        self.lines = _doubled(self.lines, state[kernels.LINES])
        self.odd = _doubled(self.odd, state[kernels.ODD])
        self.exemplars = _doubled(self.exemplars, state[kernels.EXEMPLARS], MOST_EXEMPLARS)


def _doubled(array: NDArray[np.int64], used: np.int64, room: int = 4) -> NDArray[np.int64]:
    return resized(array, 2 * array.shape[0] + 16 * room) if used + room >= array.shape[0] else array


@dataclass(slots=True)
class Exemplars:
    """Exemplars of a scrape, for samples that are kept."""

    sample: NDArray[np.int64]
    """i64[n]: index among the body's samples of the batch."""
    ts: NDArray[np.int64]
    """i64[n], ms; that of the scrape where it has none of its own."""
    value: NDArray[np.uint64]
    """u64[n], bits"""
    begin: NDArray[np.int64]
    length: NDArray[np.int64]
    """i64[n]: where in the body its labels are: braces and what they enclose, or an Exemplar message of protobuf."""
    own_time: NDArray[np.bool_]
    """bool[n]"""


class NewExemplar(NamedTuple):
    """An exemplar that the last scrape had not."""

    sample: int
    """As in `Exemplars`."""
    labels: tuple[tuple[str, str], ...]
    value: float
    ts: int
    """ms"""


@dataclass(slots=True)
class Scrape:
    """A body that was read, to be made a batch of."""

    scraped: int
    """Samples before relabeling."""
    kept: int
    """Samples after relabeling."""
    added: int
    """Series that the last scrape that succeeded had not."""
    repeated: int
    """Samples whose series had one in this body already, and which have no time of their own: they are left out, and
    Prometheus calls them duplicates."""
    exemplars: Exemplars | None
    metadata: list[Metadata]
    """Of families whose lines the last scrape had not."""
    number: int
    samples: int
    """In the batch."""
    known: int
    """Rows of series with a slot; `keyed` ones follow."""
    explicit: int
    again: int
    live: int
    arrays: ScrapeArrays
    keyed: KeyedRows | None = None
    """None: no series is new."""
    keyed_entries: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    payload: NDArray[np.uint8] | None = None
    """Native histograms."""
    new_exemplars: Sequence[NewExemplar] = ()
    exemplars_known_by: NDArray[np.uint64] | None = None
    """What `scrape_exemplars` knows all of its exemplars by."""


def exemplars_of(arrays: ScrapeArrays, ts: int) -> Exemplars | None:
    """Those of samples that are kept."""
    rows = arrays.exemplars[: arrays.state[kernels.EXEMPLARS]]
    rows = rows[rows[:, lines.ROW] >= 0]
    if not rows.size:
        return None
    own_time = rows[:, lines.HAS_TIMESTAMP] != 0
    return Exemplars(
        sample=rows[:, lines.ROW],
        ts=np.where(own_time, rows[:, lines.TIMESTAMP], ts),
        value=np.ascontiguousarray(rows[:, lines.VALUE]).view(np.uint64),
        begin=rows[:, lines.LABELS_AT],
        length=rows[:, lines.LABELS_LENGTH],
        own_time=own_time,
    )
