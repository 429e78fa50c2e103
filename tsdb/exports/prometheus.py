"""Export into blocks of Prometheus' own format, which Prometheus and Thanos open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import Queryable, Selection
from tsdb.prometheus_data.block_writer import BlockWriter
from tsdb.prometheus_data.meta import PrometheusMeta
from tsdb.storage.block.ulid import new_ulid
from tsdb.wal.files import FileSystem, LocalFileSystem

HOUR = 3_600_000
RANGES = (2 * HOUR, 6 * HOUR, 18 * HOUR, 54 * HOUR)
"""Of blocks, ms: as Prometheus compacts them, up to what stays small in memory."""
MOST_BLOCKS = 48
"""Up to which the shorter range is taken."""
Progress = Callable[[int, int], None]
"""(ms done, ms in all)"""


@dataclass(slots=True)
class PrometheusExport:
    """What was written."""

    blocks: list[PrometheusMeta] = field(default_factory=list)
    start_times: int = 0
    """Samples that have a start time, which such blocks cannot carry."""
    warnings: list[str] = field(default_factory=list)
    """What is missing, as of a query."""

    @property
    def samples(self) -> int:
        return sum(block.samples for block in self.blocks)


def block_range(mint: int, maxt: int) -> int:
    """How long (ms) the blocks of an export are: the shortest that gives no more than MOST_BLOCKS."""
    return next((length for length in RANGES if (maxt - mint) // length < MOST_BLOCKS), RANGES[-1])


def export(storage: Queryable, target: Path, matchers: Sequence[Matcher], mint: int, maxt: int, *,
           range_ms: int | None = None, fs: FileSystem | None = None, progress: Progress | None = None,
           context: Callable[[], RequestContext] = RequestContext) -> PrometheusExport:
    """Writes the samples with mint <= ts <= maxt (ms) of the series that satisfy all matchers into blocks in `target`,
    of aligned ranges of `range_ms` (by default `block_range`); ranges without a sample have none.

    Each block is one capture, so that memory is bounded: what is deleted meanwhile is in the earlier ones. Floats keep
    their bits, native histograms their counts; their reset hints become what Prometheus would say. A block appears when
    it is whole.
    """
    fs = fs or LocalFileSystem()
    fs.mkdir(target)
    length = range_ms or block_range(mint, maxt)
    done = PrometheusExport()
    for begin in range(mint // length * length, maxt + 1, length):
        first, last = max(begin, mint), min(begin + length - 1, maxt)
        writer = BlockWriter(fs, target, new_ulid())
        selection = Selection(tuple(matchers), first, last, start_times=True)
        try:
            with storage.capture([selection], context()) as capture:
                selected = capture.selected[0]
                for index in range(len(selected.tile_rows) - 1):
                    tile = selected.tile(index)
                    if tile.start_ts is not None:
                        done.start_times += int((tile.start_ts != 0).sum())
                    writer.add(tile)
                meta = writer.finish(selected.series)
                done.warnings += [text for text in capture.warnings if text not in done.warnings]
        except BaseException:
            writer.discard()
            raise
        if meta is not None:
            done.blocks.append(meta)
        if progress is not None:
            progress(last + 1 - mint, maxt + 1 - mint)
    return done
