"""A bar of progress on a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping


def bar(what: str, totals: Mapping[str, int]) -> tuple[Callable[[str, int], None], Callable[[], None]]:
    """(progress, finish). `progress` is told what is read and how many bytes of it are done, `totals` are the bytes of
    each. The bar is on standard error."""
    total = sum(totals.values())
    if not sys.stderr.isatty() or total < 1 << 20:
        return (lambda kind, done: None), (lambda: None)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    shown = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True),
                     TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task = shown.add_task(what, total=total)
    shown.start()
    reached = dict.fromkeys(totals, 0)

    def progress(kind: str, done: int) -> None:
        reached[kind] = max(reached.get(kind, 0), done)
        shown.update(task, completed=sum(reached.values()), description=f"{what}: {kind}")

    return progress, shown.stop
