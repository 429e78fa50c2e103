"""Charts in a terminal: lines of braille dots, two by four in a character, and bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import click

from tsdb.commands.query_sources import Document
from tsdb.commands.query_text import Points, rows_of, series_text
from tsdb.commands.tables import bars, table

COLOURS = ("cyan", "yellow", "green", "magenta", "red", "blue", "bright_white", "bright_black")
"""Of so many series a chart shows lines."""
HEIGHT = 16
"""Characters."""
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille character, by row and column."""


def chart(answer: Document, width: int) -> Iterator[str]:
    """A chart of a matrix, bars of a vector; what has no numbers is said so. Labels are shown as text."""
    data = answer["data"]
    every = [] if isinstance(data, list) else rows_of(data)
    rows = [(series_text(labels), points) for labels, texts in every if (points := _numbers(texts))]
    if not rows:
        yield "nothing to draw: no series has a finite number there"
    elif data["resultType"] == "matrix":
        yield from _lines(rows, width)
    else:
        values = [points[0][1] for _, points in rows]
        least = min(0.0, *values)
        most = max(values) - least or 1.0
        lengths = [round(1000 * (value - least) / most) for value in values]
        cells = [[name, f"{value:g}", bar] for (name, _), value, bar in zip(rows, values, bars(lengths), strict=True)]
        yield table(["SERIES", "VALUE", ""], cells, "lrl")


def _numbers(points: Points) -> list[tuple[int, float]]:
    """Those that can be drawn."""
    found = []
    for at, text in points:
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            found.append((at, value))
    return found


def _lines(rows: Sequence[tuple[str, list[tuple[int, float]]]], width: int) -> Iterator[str]:
    from tsdb.model.times import time_text

    drawn = rows[: len(COLOURS)]
    times = [at for _, points in drawn for at, _ in points]
    values = [value for _, points in drawn for _, value in points]
    low, high, first, last = min(values), max(values), min(times), max(times)
    if high == low:
        low, high = low - 1, high + 1
    scale = [_label(low + (high - low) * (HEIGHT - 1 - line) / (HEIGHT - 1)) for line in range(HEIGHT)]
    margin = max(map(len, scale))
    columns = max(20, width - margin - 3)
    cells = [[0] * columns for _ in range(HEIGHT)]
    owner = [[0] * columns for _ in range(HEIGHT)]
    for number, (_, points) in enumerate(drawn):
        for x, y in _dots(points, (first, last, 2 * columns), (low, high, 4 * HEIGHT)):
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
            owner[y // 4][x // 2] = number
    for line in range(HEIGHT):
        dots = "".join(click.style(chr(0x2800 + bits), COLOURS[number]) if bits else " "
                       for bits, number in zip(cells[line], owner[line], strict=True))
        yield f"{scale[line] if line % 5 == 0 else '':>{margin}} ┤{dots}".rstrip()
    yield " " * margin + " └" + "─" * columns
    begin, end = time_text(first), time_text(last)
    yield " " * (margin + 2) + begin + end.rjust(max(len(end) + 1, columns - len(begin)))
    yield from (f"{click.style('──', COLOURS[number])} {name}" for number, (name, _) in enumerate(drawn))
    if len(rows) > len(drawn):
        yield f"and {len(rows) - len(drawn)} more series"


def _dots(points: Sequence[tuple[int, float]], across: tuple[int, int, int], up: tuple[float, float, int],
          ) -> Iterator[tuple[int, int]]:
    """Dots of a line through the points: (first, last, dots) across and (low, high, dots) up, row 0 on top. Points far
    apart from each other, as others are not, are not joined."""
    (first, last, columns), (low, high, lines) = across, up
    gaps = sorted(b - a for (a, _), (b, _) in itertools.pairwise(points))
    longest = 3 * gaps[len(gaps) // 2] if gaps else 0
    before: tuple[int, int, int] | None = None
    for at, value in points:
        x = round((at - first) / max(1, last - first) * (columns - 1))
        y = round((high - value) / (high - low) * (lines - 1))
        if before is not None and at - before[2] <= longest:
            steps = max(abs(x - before[0]), abs(y - before[1]), 1)
            yield from ((round(before[0] + (x - before[0]) * i / steps), round(before[1] + (y - before[1]) * i / steps))
                        for i in range(steps))
        yield x, y
        before = x, y, at


def _label(value: float) -> str:
    return f"{value:.4g}"
