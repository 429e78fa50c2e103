"""What all exporters read: selections, tile by tile, in memory that the length of the range has no part in.

Metrics are taken in groups, and times in slices: a capture of a group and a slice is read tile by tile and let go
before the next one. So an export sees of each group and slice a prefix of commits, but not one moment of all of them;
which metrics there are is asked at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsdb.exports.losses import Losses
from tsdb.model.context import RequestContext
from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import Queryable, Selection, SeriesSet, Tile

DAY = 86_400_000
SLICE_MS = 31 * DAY
"""As the longest blocks."""
GROUP = 64
"""Metrics of one capture: their series are found under one hold of the head's lock, some milliseconds."""
PART_BYTES = 2 << 20
"""Of what exporters give, about."""
PROGRESS_OF_A_CAPTURE = 1000

MatcherSets = Sequence[Sequence[Matcher]]
Progress = Callable[[int, int], None]
"""(done, of): in no unit; how much there is nobody knows beforehand."""


def nobody(done: int, of: int) -> None:
    """Is told."""


class Export(Protocol):
    """What every exporter is: the samples with mint <= ts <= maxt (ms) of series that satisfy all matchers of one of
    the sets, as parts of a file of about `PART_BYTES`. Closing the generator lets go of what it reads.

    Raises what a query does: QueryCanceled and QueryTimeout of `context`, Corruption, LimitExceeded. `losses` are
    complete when it has ended.
    """

    def __call__(self, storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, losses: Losses, *,
                 progress: Progress = ..., context: RequestContext | None = None) -> Generator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """A tile, and the series of the selection that it is of."""

    metric: str
    """Empty: series without a name."""
    series: SeriesSet
    """Those of the tile are the rows `tile.first_row` to `tile.first_row + tile.rows`."""
    tile: Tile
    begin: NDArray[np.int64]
    """i64[rows]: as `tile.begin`; where a series was read before, for an earlier set of matchers, it is the end."""


def metrics(storage: Queryable, matcher_sets: MatcherSets, mint: int, maxt: int, context: RequestContext) -> list[str]:
    """Names of the metrics in these times, sorted, and behind them "": series may have none."""
    with released(context):
        return [*storage.label_values(METRIC_NAME, asked(matcher_sets), mint, maxt, context), ""]


def asked(matcher_sets: MatcherSets) -> MatcherSets:
    """As lookups want them, where no set means all series."""
    return matcher_sets if all(matcher_sets) else ()


def read(storage: Queryable, matcher_sets: MatcherSets, names: Sequence[str], mint: int, maxt: int, losses: Losses,
         progress: Progress, context: RequestContext, *, slice_ms: int = SLICE_MS, contiguous: bool = False,
         ) -> Iterator[Rows]:
    """The tiles of the metrics `names`, group by group, each slice by slice of `slice_ms`; `contiguous`: metric by
    metric, and no more slices than it takes. Several sets give a series once. A tile is valid until the next one is
    asked for. Fills the warnings of `losses`."""
    slices = list(_slices(mint, maxt, slice_ms, mint if contiguous else 0))
    size = 1 if contiguous and len(slices) > 1 else GROUP
    groups = [names[at : at + size] for at in range(0, len(names), size)]
    total, done = len(groups) * len(slices) * PROGRESS_OF_A_CAPTURE, 0
    for group in groups:
        for first, last in slices:
            chosen = [(name, Selection(tuple(matchers), first, last, start_times=True))
                      for name in group for matchers in narrowed(matcher_sets, name)]
            for part, rows in _captured(storage, chosen, losses, context, several=len(matcher_sets) > 1):
                yield rows
                progress(done + round(part * PROGRESS_OF_A_CAPTURE), total)
            done += PROGRESS_OF_A_CAPTURE
            progress(done, total)


def narrowed(matcher_sets: MatcherSets, name: str) -> list[tuple[Matcher, ...]]:
    """The sets, for one metric; without those that name another one."""
    own = Matcher(MatchType.EQUAL, METRIC_NAME, name)
    found = []
    for matchers in matcher_sets:
        others = [m for m in matchers if m.name == METRIC_NAME and m.type is MatchType.EQUAL and m.value != name]
        if not others:
            found.append((own, *(matcher for matcher in matchers if matcher != own)))
    return found


def _slices(mint: int, maxt: int, length: int, origin: int) -> Iterator[tuple[int, int]]:
    """(first, last) ms, with borders at `origin` plus multiples of `length`."""
    begin = mint
    while begin <= maxt:
        past = begin - (begin - origin) % length + length
        yield begin, min(past - 1, maxt)
        begin = past


def _captured(storage: Queryable, chosen: Sequence[tuple[str, Selection]], losses: Losses, context: RequestContext, *,
              several: bool) -> Iterator[tuple[float, Rows]]:
    """With how much of the capture that is, 0 to 1."""
    if not chosen:
        return
    with released(context), storage.capture([selection for _, selection in chosen], context) as capture:
        seen: set[bytes] = set()
        metric = None
        for number, ((name, _), selected) in enumerate(zip(chosen, capture.selected, strict=True)):
            if name != metric:
                metric = name
                seen.clear()
            series, tiles = selected.series, selected.tile_rows.size - 1
            for index in range(tiles):
                context.check()
                tile = selected.tile(index)
                begin = _unseen(series, tile, seen) if several else tile.begin
                count = int((tile.end - begin).sum())
                context.statistics.samples_read += count
                context.statistics.tiles_read += 1
                if count:
                    yield (number + (index + 1) / tiles) / len(chosen), Rows(name, series, tile, begin)
        losses.warnings += [text for text in capture.warnings if text not in losses.warnings]


def _unseen(series: SeriesSet, tile: Tile, seen: set[bytes]) -> NDArray[np.int64]:
    """i64[rows]: where the samples of rows begin; at their end where `seen` has the series already. Adds them."""
    begin = tile.begin.copy()
    pairs = pair_ids(series)
    offsets = series.offsets[tile.first_row : tile.first_row + tile.rows + 1].tolist()
    for row in range(tile.rows):
        key = pairs[offsets[row] : offsets[row + 1]].tobytes()
        if key in seen:
            begin[row] = tile.end[row]
        seen.add(key)
    return begin


def pair_ids(series: SeriesSet) -> NDArray[np.uint64]:
    """u64[labels]: name << 32 | value."""
    return series.names.astype(np.uint64) << np.uint64(32) | series.values


@contextmanager
def released(context: RequestContext) -> Iterator[None]:
    """What is reserved within is given back at the end, and series that are selected are not counted on."""
    reserved, selected = context.bytes_reserved, context.statistics.series_selected
    try:
        yield
    finally:
        context.reserve(reserved - context.bytes_reserved)
        context.statistics.series_selected = selected
