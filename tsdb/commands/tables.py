"""Tables and amounts as text: readable, and easy to cut into columns."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence

import click

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_lines(lines: Iterable[str]) -> None:
    """Many lines, some at once: each write is flushed."""
    waiting = iter(lines)
    while part := list(itertools.islice(waiting, 500)):
        click.echo("\n".join(part))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Columns two spaces apart; `align` has a letter for each: l or r."""
    every = [list(head), *map(list, rows)]
    widths = [max(_width(row[column]) for row in every) for column in range(len(head))]
    lines = []
    for row in every:
        cells = [_padded(cell, width, side) for cell, width, side in zip(row, widths, align, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def bars(counts: Sequence[int], width: int = 30) -> list[str]:
    """A bar for each count, the longest `width` long."""
    most = max(counts, default=0)
    return ["▇" * max(round(count / most * width), 1 if count else 0) for count in counts]


def size(count: float) -> str:
    """Bytes."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.1f} {_UNITS[unit]}"


def amount(count: int) -> str:
    """With thousands apart."""
    return f"{count:,}"


def wrapped(text: str, indent: str, width: int = 100) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)


def _width(text: str) -> int:
    return len(_STYLE.sub("", text))


def _padded(text: str, width: int, side: str) -> str:
    gap = " " * (width - _width(text))
    return gap + text if side == "r" else text + gap
