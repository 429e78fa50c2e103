"""Start times of what is in the head: in checkpoints, and until it is cut."""

from __future__ import annotations

from tsdb.storage.head.head import Head
from tsdb.wal import StartColumns


def columns(head: Head) -> StartColumns | None:
    """For a checkpoint: what the log's dropped segments said, and perhaps more. None: there are none. In the thread
    that frees slots."""
    if not head.starts.active:
        return None
    runs = head.starts.runs()
    return StartColumns(head.records["ref"][runs.series], runs.ts, runs.starts)


def forget(head: Head) -> None:
    """Drops those of what is not in the head any more: cut into blocks, or dropped; and of series that have left.
    Between commits."""
    if head.starts.active:
        oldest = min((window.mint for window in head.windows.every), default=head.border)
        head.starts.forget(min(oldest, head.border), head.records["ref"])
