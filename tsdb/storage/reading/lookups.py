"""Series that have samples within a time range, over the head, late samples and blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.storage.blocks import Blocks, precedence
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.reading import capture_kernels
from tsdb.storage.reading.sources import BlockRows, Damaged, texts_of, told
from tsdb.storage.reading.view import View

AT_ONCE = 100_000
"""Slots looked at in one hold of the head's lock: some ms."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """Series that satisfy any of the matcher sets (none: all) and have a chunk that touches mint..maxt (ms, inclusive)
    and is not deleted as a whole."""

    matcher_sets: Sequence[Sequence[Matcher]]
    mint: int
    maxt: int

    def slots(self, view: View, head: Head, index: Index, blocks: Blocks) -> NDArray[np.int32] | None:
        """Those of the head, i32[n]; None: the view is stale."""
        if self.matcher_sets:
            selected = [index.select(matchers) for matchers in self.matcher_sets]
            slots = selected[0] if len(selected) == 1 else np.unique(np.concatenate(selected))
        else:
            slots = np.arange(head.table.size, dtype=np.int32)
        found, nothing = np.zeros(slots.size, np.bool_), np.zeros(min(slots.size, AT_ONCE), np.int64)
        for start in range(0, max(slots.size, 1), AT_ONCE):
            part = slots[start : start + AT_ONCE]
            with head.lock:
                if view.is_stale(blocks):
                    return None
                table, deleted = head.windows.table, head.tombstones
                places = head.windows.overlapping(self.mint, self.maxt)
                first, past = deleted.of(part) if len(deleted) else (nothing, nothing)
                capture_kernels.find_touching(
                    part, self.mint, self.maxt, head.records, table.addresses[places], table.chains[places], first,
                    past, deleted.mint, deleted.maxt, found[start : start + AT_ONCE],
                )
                late = None if head.late.empty else head.late.view()
        if late is not None and not found.all():
            others = np.flatnonzero(~found)
            begin, end, *_ = late.collect(slots[others], self.mint, self.maxt)
            found[others[begin < end]] = True
        return slots[found]

    def blocks(self, view: View, context: RequestContext, damaged: Damaged | None) -> list[BlockRows]:
        """Those of the view's blocks, in order of precedence; blocks that have none are left out."""
        found = []
        for block in sorted(view.blocks, key=precedence):
            context.check()
            rows = BlockRows(block, block.tombstones, self.matcher_sets, self.mint, self.maxt, damaged)
            if rows.rows.size:
                found.append(rows)
        return found

    def texts_of_blocks(self, label: str | None, view: View, context: RequestContext, damaged: Damaged | None,
                        ) -> Iterator[list[str]]:
        """Of each block, the values of a label; None: the names of labels."""
        for block in view.blocks:
            context.check()
            with told(block, damaged):
                every = (not self.matcher_sets and not len(block.tombstones)
                         and block.all_touch(self.mint, self.maxt))
            rows = None
            if not every:
                rows = BlockRows(block, block.tombstones, self.matcher_sets, self.mint, self.maxt, damaged).rows
            yield texts_of(block, label, rows, damaged)
