"""Blocks: immutable, self-contained folders with the series and chunks of a time range. docs/formats.md draws them.

::

    meta = write_block(fs, folder, source)          # published atomically as folder / meta.ulid
    for path in block_paths(fs, folder):            # what is there; what a crash left half made is removed
        block = Block.open(fs, path)                # maps, and reads the tables of contents only
        rows = block.find(matchers)                 # i32[], sorted: series are sorted by labels
        block.series_set(rows), block.label_names()
        ranges = block.chunk_ranges(rows, mint, maxt)
        begin, end, ts, values = block.decode(ranges, 0, 256)
        block.release()                             # the last one lets go of the memory
"""

from tsdb.storage.block.block import Block, ChunkRanges
from tsdb.storage.block.folders import block_paths
from tsdb.storage.block.meta import BlockMeta, Compaction, Parent, Stats, TierMeta
from tsdb.storage.block.source import BlockSource, Chunks, SeriesLabels, TimeColumns
from tsdb.storage.block.ulid import new_ulid
from tsdb.storage.block.writer import write_block

__all__ = [
    "Block",
    "BlockMeta",
    "BlockSource",
    "ChunkRanges",
    "Chunks",
    "Compaction",
    "Parent",
    "SeriesLabels",
    "Stats",
    "TierMeta",
    "TimeColumns",
    "block_paths",
    "new_ulid",
    "write_block",
]
