"""What reads the windows of downsampling tiers for `Reading`, which knows nothing else of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.tiers import Tiers
from tsdb.model.tiles import Selected, Selection, SeriesSet
from tsdb.storage.block import Block
from tsdb.storage.query_symbols import QuerySymbols
from tsdb.storage.reading.block_texts import BlockTexts
from tsdb.storage.reading.join import Joins


class WindowsView(Protocol):
    """The blocks of tiers for one capture. `release` it, or give its blocks to whoever does."""

    @property
    def blocks(self) -> Sequence[Block]:
        """Acquired."""
        ...

    def freeze(self) -> bool:
        """Keeps what is deleted of them now. False: the blocks are others now. The caller holds the head's lock."""
        ...

    def select(self, selection: Selection, symbols: QuerySymbols, texts: BlockTexts, joins: Joins,
               context: RequestContext) -> Selected: ...

    def release(self) -> None: ...


class WindowReading(Protocol):
    """Any thread may ask."""

    def tiers(self) -> Tiers: ...

    def take(self, selections: Sequence[Selection]) -> WindowsView:
        """Those of `selections` that want windows. TiersChanged."""
        ...

    def reaches(self, mint: int) -> bool:
        """Whether there may be series at `mint` (ms) or later that only tiers have."""
        ...

    def texts(self, label: str | None, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
              context: RequestContext) -> set[str]:
        """Values of a label (None: names of labels) of such series with a window that touches mint..maxt (ms)."""
        ...

    def with_series(self, series: SeriesSet, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int,
                    symbols: QuerySymbols, texts: BlockTexts, joins: Joins, context: RequestContext) -> SeriesSet:
        """`series`, and such series that are not among them."""
        ...
