"""From when to when there are samples: exports of all times walk no further."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tsdb.storage import StorageStatistics
    from tsdb.storage.block import BlockMeta


class Telling(Protocol):
    """What a storage tells of itself."""

    def statistics(self) -> StorageStatistics: ...

    def block_metas(self) -> list[BlockMeta]: ...


def within(storage: Telling, mint: int | None, maxt: int | None) -> tuple[int, int]:
    """The part of mint..maxt (ms, inclusive; None: open) in which there may be samples; (0, -1) where none is."""
    statistics, metas = storage.statistics(), storage.block_metas()
    first = statistics.lowest_ts
    last = _greatest([*(meta.maxt - 1 for meta in metas), *([] if statistics.max_ts is None else [statistics.max_ts])])
    if first is None or last is None:
        return 0, -1
    first, last = max(first, first if mint is None else mint), min(last, last if maxt is None else maxt)
    return (first, last) if first <= last else (0, -1)


def _greatest(times: Sequence[int]) -> int | None:
    return max(times, default=None)
