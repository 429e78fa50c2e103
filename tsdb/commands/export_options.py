"""Options that exports have in common."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorated = Callable[..., Any]


def options(*chosen: Decorated) -> Callable[[Decorated], Decorated]:
    def decorate(command: Decorated) -> Decorated:
        for option in reversed(chosen):
            command = option(command)
        return command

    return decorate


SELECTION = options(
    click.option("--data", type=click.Path(path_type=Path), metavar="DIR",
                 help="A data directory, which is only read: a server may run on it.  [default: data]"),
    click.option("--match", "matches", multiple=True, metavar="SELECTOR",
                 help="Only series that satisfy it, as in '{job=\"api\"}' or up; repeatable.  [default: all series]"),
    click.option("--start", metavar="TIME", help="The first time: -30d, unix seconds or RFC 3339.  [default: of the "
                 "oldest sample]"),
    click.option("--end", metavar="TIME", help="The last time, included.  [default: of the newest sample]"),
)
URL = click.option("--url", metavar="URL", help="A server instead, as in http://127.0.0.1:9090; name and password may "
                   "stand in it.")
OUTPUT = click.option("-o", "--output", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE",
                      help="Compressed where its name ends with .gz or .zst.  [default: standard output]")


def times(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """ms; None: open. Both are seen from the same now. Raises ConfigError."""
    from tsdb.commands.query_times import moment
    from tsdb.model.errors import ConfigError

    now = int(clock.time()) * 1000
    first = None if start is None else moment(start, now, "--start")
    last = None if end is None else moment(end, now, "--end")
    if first is not None and last is not None and first > last:
        raise ConfigError(f"--start {start} is after --end {end}")
    return first, last
