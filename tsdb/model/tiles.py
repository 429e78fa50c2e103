"""Tiles: how storage hands samples to PromQL. PromQL knows no codec and no file; storage knows no PromQL.

One query makes all its `Selection`s first and captures them together: it sees a prefix of commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.tiers import TierRead, Tiers


@dataclass(frozen=True, slots=True)
class Selection:
    """Series that satisfy all matchers, and their samples with mint <= ts <= maxt (ms, both inclusive)."""

    matchers: tuple[Matcher, ...]
    mint: int
    maxt: int
    start_times: bool = False
    """Whether `Tile.start_ts` is wanted."""
    steps: int = field(default=1, compare=False)
    """At how many times somebody looks at the samples: tiles have fewer rows where it is at many."""
    tier: TierRead | None = None
    """Windows of a downsampling tier are wanted instead of samples. None: samples."""


class Symbols(Protocol):
    """Label names and values as u32 ids. Equal text has equal id within one capture; ids beyond it mean nothing.

    An implementation is owned by one capture and used by its query only; `intern` may add texts.
    """

    def text(self, symbol: int) -> str: ...

    def texts(self, symbols: Sequence[int]) -> list[str]:
        """Of many."""
        ...

    def intern(self, text: str) -> int:
        """The id of a text, added where it is new."""
        ...

    def find(self, text: str) -> int:
        """The id of a text, or -1 where no series and nobody else has used it."""
        ...


@dataclass(frozen=True, slots=True)
class SeriesSet:
    """Label sets of n series as symbol ids. Labels of a series are sorted by the name's UTF-8 bytes, none is empty."""

    offsets: NDArray[np.int64]
    """i64[n + 1]: labels of series i are at offsets[i]:offsets[i + 1] of `names` and `values`."""
    names: NDArray[np.uint32]
    values: NDArray[np.uint32]
    symbols: Symbols
    drop_name: NDArray[np.bool_] | None = None
    """bool[n]: rows whose metric name goes at the query's end (delayed name removal); None: no row. PromQL's own."""

    def __len__(self) -> int:
        return int(self.offsets.size) - 1

    def labels(self, row: int) -> dict[str, str]:
        """For output and tests; never per series on a hot path."""
        text = self.symbols.text
        begin, end = int(self.offsets[row]), int(self.offsets[row + 1])
        return {text(int(self.names[i])): text(int(self.values[i])) for i in range(begin, end)}


@dataclass(frozen=True, slots=True)
class Tile:
    """Decoded samples of consecutive rows of a selection: in time order, without duplicates, within the selection's
    times. Samples of row `first_row + i` are at begin[i]:end[i] of `ts` and `values`; rows may have none."""

    first_row: int
    begin: NDArray[np.int64]
    """i64[rows]"""
    end: NDArray[np.int64]
    """i64[rows]"""
    ts: NDArray[np.int64]
    """i64[], ms"""
    values: NDArray[np.float64]
    """f64[]: view as u64 to see stale markers (`tsdb.model.batch.STALE_NAN`); never do arithmetic before."""
    payload: NDArray[np.uint8] | None = None
    """u8[bytes]: the histograms to which boxed values lead (`tsdb.model.native_histograms`). None: all are floats."""
    start_ts: NDArray[np.int64] | None = None
    """i64[] beside `ts`, ms: since when a sample has been counting; 0: not known. None: none is, or nobody asked."""

    fields: NDArray[np.float64] | None = None
    """f64[fields, samples] of a tier's windows, which `Selection.tier` names; `values` is the first. Any of them may
    have boxed values (`payload` is of all). None: samples."""

    @property
    def rows(self) -> int:
        return int(self.begin.size)


class Selected(Protocol):
    """One selection of a capture. Series without a sample in the time range may be among `series`."""

    @property
    def series(self) -> SeriesSet: ...

    @property
    def tile_rows(self) -> NDArray[np.int64]:
        """i64[tiles + 1]: tile i holds the rows tile_rows[i]:tile_rows[i + 1]."""
        ...

    @property
    def sources(self) -> Sequence[str]:
        """Where its samples may be: ``head``, ``late``, ids of blocks."""
        ...

    def tile(self, index: int) -> Tile:
        """Decodes a tile. Thread-safe; each call makes new arrays."""
        ...


class Capture(Protocol):
    """A consistent view for one query. Close it (or leave its ``with``) to let go of files."""

    @property
    def selected(self) -> Sequence[Selected]:
        """One per selection, in order."""
        ...

    @property
    def symbols(self) -> Symbols: ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the result may lack, for who asked."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Queryable(Protocol):
    """What storage offers to queries."""

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture:
        """Raises TiersChanged where a selection wants windows that `tiers` no longer has: plan anew."""
        ...

    def tiers(self) -> Tiers:
        """Which downsampling tiers there are now."""
        ...

    def label_names(
        self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext
    ) -> list[str]:
        """Sorted names of labels of series with a chunk that touches mint..maxt (ms); no matchers: of all series."""
        ...

    def label_values(
        self, name: str, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext
    ) -> list[str]:
        """Sorted values of one label, as `label_names`."""
        ...

    def series(
        self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext, first: int = 0
    ) -> SeriesSet:
        """Label sets, each once, sorted by labels; where `first` is not 0, so many of them suffice."""
        ...
