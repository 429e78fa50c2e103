"""What a range query says of a series over time: runs of one value, and of nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """A stretch in which a series had one value (as printed), or was absent (None)."""

    value: str | None
    begin: float
    """Unix s of its first point."""


Timeline = list[Run]


def timelines(rows: Iterable[Mapping[str, Any]], begin: float, end: float, step: float,
              constant: Callable[[Labels], bool], blind: tuple[float, float] = (0, 0)) -> dict[Labels, Timeline]:
    """Of each series of a range query; where it is not `constant` by nature, only whether it is there counts.

    What changes within `blind` (Unix s) is not seen until it changes again.
    """
    grid = [begin + i * step for i in range(math.floor((end - begin) / step + 1e-6) + 1)]
    out = {}
    for row in rows:
        labels = frozenset(row["metric"].items())
        keep = constant(labels)
        values = {round((t - begin) / step): v if keep else "some" for t, v in row["values"]}
        cells: list[tuple[str | None, float]] = []
        hidden: str | None = ""
        for i, at in enumerate(grid):
            value = values.get(i)
            if cells and blind[0] <= at <= blind[1]:
                hidden, value = value, cells[-1][0]
            elif value == hidden:
                value = cells[-1][0]
            else:
                hidden = ""
            cells.append((value, at))
        out[labels] = [Run(value, next(group)[1]) for value, group in itertools.groupby(cells, lambda cell: cell[0])]
    return out


def difference(theirs: Timeline, ours: Timeline, tolerance: Callable[[float], float]) -> str:
    """What differs, in words; "" if nothing does. `tolerance`: seconds that a change around that time may be off."""
    if [run.value for run in theirs] != [run.value for run in ours]:
        return f"Prometheus {words(theirs)}, we {words(ours)}"
    for one, other in zip(theirs, ours, strict=True):
        if abs(one.begin - other.begin) > tolerance(one.begin):
            return (f"to {one.value} {other.begin - one.begin:+.2f} s after Prometheus: "
                    f"Prometheus {words(theirs)}, we {words(ours)}")
    return ""


def words(timeline: Timeline) -> str:
    start = timeline[0].begin
    return " ".join(f"{'-' if run.value is None else run.value}@{run.begin - start:.2f}" for run in timeline)
