"""What is deleted from the head and still stands in its chunks: from the log, in checkpoints, and until it is cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import Corruption
from tsdb.storage.head.head import Head
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.tombstones import Tombstones
from tsdb.wal import TombstoneColumns

SECTION = "tombstones"
"""Of a checkpoint: refs u64[n], mint and maxt i64[n] (ms, inclusive) as bytes; what the log's dropped segments said."""


def take_over(head: Head, deleted: TombstoneColumns, slots: NDArray[np.int32]) -> None:
    """Hides what a record of the log says; `slots` i32[n] are those of its series, -1: not in the head any more. Late
    samples are the caller's. The caller holds the head's lock, or is alone."""
    inside = (slots >= 0) & (deleted.through >= deleted.mint) & (deleted.through != NO_TS)
    through = deleted.through[inside]
    if through.size:
        head.tombstones = head.tombstones.adding(slots[inside], np.full(through.size, deleted.mint), through)


def section(head: Head) -> dict[str, bytes]:
    """The content of `SECTION`."""
    found = head.tombstones
    return {"refs": head.records["ref"][found.series].tobytes(), "mint": found.mint.tobytes(),
            "maxt": found.maxt.tobytes()}


def restore(head: Head, content: Any, find: Callable[[NDArray[np.uint64]], NDArray[np.int32]]) -> None:
    """Takes over the content of `SECTION`; `find` gives the slots of refs, -1: unknown. Raises Corruption."""
    try:
        refs = np.frombuffer(content["refs"], np.uint64)
        mint, maxt = np.frombuffer(content["mint"], np.int64), np.frombuffer(content["maxt"], np.int64)
        if not refs.size == mint.size == maxt.size:
            raise ValueError("columns of different lengths")
    except (TypeError, KeyError, ValueError) as problem:
        raise Corruption(f"the checkpoint's tombstones cannot be read: {problem}") from None
    slots = find(refs)
    known = slots >= 0
    head.tombstones = head.tombstones.adding(slots[known], mint[known], maxt[known])


def forget(head: Head) -> None:
    """Drops tombstones of what is not in the head any more: cut into blocks, or dropped. The caller holds the lock."""
    found = head.tombstones
    if len(found):
        oldest = min((window.mint for window in head.windows.every), default=head.border)
        needed = (found.maxt >= min(oldest, head.border)) & (head.records["ref"][found.series] != 0)
        if not needed.all():
            head.tombstones = Tombstones(found.series[needed], found.mint[needed], found.maxt[needed])
