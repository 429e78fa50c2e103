"""Batch: what every ingest path makes and the one appender takes. Ingest knows nothing of storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

STALE_NAN = 0x7FF0000000000002
"""Bits of the staleness marker."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An example of what went into a sample, as a trace."""

    row: int
    """The series, as in `Batch.sample_row`."""
    labels: tuple[tuple[str, str], ...]
    """As they came."""
    value: float
    ts: int
    """ms"""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata of a metric family; `type` is Prometheus' lower-case name (counter, gauge, histogram, …)."""

    family: str
    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Series that a sender remembers from what the appender told it (`Appended`): no key, no lookup."""

    slot: NDArray[np.int32]
    """i32[known]"""
    ref: NDArray[np.uint64]
    """u64[known]: never reused, so that a slot that was given to another series is noticed."""


@dataclass(frozen=True, slots=True)
class RefusedRows:
    """What a sender remembers of series that were refused for limits, and hands back with them: as long as the limits
    are as they were, nothing has to be looked up."""

    state: object
    """Of the limits; the appender's."""
    by: NDArray[np.int32]
    """i32[keyed rows]: by which limit, the appender's number; below 0: by none."""


@dataclass(slots=True)
class Batch:
    """Samples of one request or scrape, in columns.

    A *row* is a series as the request names it; several rows may be the same series. Samples of one series are in the
    order of the request. Rows that the sender knows come first, then those with a key.
    """

    keys: NDArray[np.uint8]
    """u8[bytes]: canonical keys (`tsdb.model.labels`), anywhere in the buffer."""
    row_hash: NDArray[np.uint64]
    """u64[keyed rows]: `tsdb.kernels.hash_kernels.hash_bytes` of the key, with the storage's secret."""
    row_offset: NDArray[np.uint32]
    """u32[keyed rows]: where a row's key begins in `keys`."""
    row_length: NDArray[np.uint32]
    """u32[keyed rows]"""
    sample_row: NDArray[np.uint32]
    """u32[samples]: below `len(known.slot)` a known row, from there on a keyed one."""
    ts: NDArray[np.int64]
    """i64[samples], ms"""
    values: NDArray[np.uint64]
    """u64[samples]: bits of the float. Bits, since arithmetic may alter a NaN's payload (stale markers). Boxed values
    lead to histograms in `payload` (`tsdb.model.native_histograms`)."""
    metadata: list[Metadata] = field(default_factory=list)
    known: KnownRows | None = None
    """None: the sender remembers nothing."""
    history: bool = False
    """Samples may be of any age and in any order: what is older than an hour before the newest one is late."""
    discard_late: bool = False
    """Nothing of it is taken as late: what is out of order is refused."""
    payload: NDArray[np.uint8] | None = None
    """u8[bytes]: histograms. None: all samples are floats."""
    start_ts: NDArray[np.int64] | None = None
    """i64[samples], ms: since when a sample has been counting; 0: not known. None: of none it is."""
    exemplars: list[Exemplar] = field(default_factory=list)
    """Few of them; in time order within a series."""
    refused: RefusedRows | None = None
    """None: the sender remembers none, or not of all keyed rows."""

    @property
    def samples(self) -> int:
        return int(self.ts.size)


REASONS = (
    "",
    "out of order sample",
    "duplicate sample for timestamp",
    "out of bounds",
    "too far in the future",
    "too old sample",
    "series limit exceeded",
    "per-metric series limit exceeded",
    "per-job series limit exceeded",
    "label value limit exceeded",
)
"""Why the appender refuses a sample, by code; 0 is accepted. The words are Prometheus'."""

ACCEPTED, OUT_OF_ORDER, DUPLICATE, TOO_OLD, TOO_NEW, TOO_LATE = range(6)
"""TOO_LATE: out of order or old, and before the window for such samples as well."""
OVER_SERIES, OVER_METRIC, OVER_JOB, OVER_LABEL_VALUES = range(6, 10)
"""Of series that were not made, for a limit on how many there may be."""


EXEMPLAR_REASONS = (
    "",
    "out of order exemplar",
    "label length for exemplar exceeds maximum of 128 UTF-8 characters",
    "unknown series for exemplar",
    "out of bounds",
)
"""Why the appender refuses an exemplar, by code; 0 is accepted. The words are Prometheus'."""

EXEMPLAR_OUT_OF_ORDER, EXEMPLAR_TOO_LONG, EXEMPLAR_UNKNOWN, EXEMPLAR_TOO_NEW = range(1, 5)
EXEMPLAR_CHARACTERS = 128
"""That names and values of an exemplar's labels may have together."""


@dataclass(slots=True)
class Appended:
    """What the appender did with a batch."""

    accepted: int
    codes: NDArray[np.uint8]
    """u8[samples]: index into `REASONS`. A repeated equal sample counts as accepted."""
    keyed: KnownRows | None = None
    """The keyed rows of a batch with `known` ones, to be remembered. A slot of -1: the series was not made, since no
    sample of it was within bounds, or for a limit."""
    outdone: int = 0
    """How many of the rejected ones would have been taken had they come alone: the batch itself, or one that came at
    the same time, has a newer sample of the series, or another value at the time."""
    refusals: Mapping[int, str] = field(default_factory=dict)
    """By code: of limits on series, which one is reached by what, and what to do."""
    exemplar_codes: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    """u8[exemplars]: index into `EXEMPLAR_REASONS`. A repeated one counts as accepted, and all do where none are
    kept."""
    refused: RefusedRows | None = None
    """Of a batch with `known` rows, where limits refused any."""

    @property
    def rejected(self) -> int:
        return int(self.codes.size) - self.accepted
