"""Where ``tsdb export`` reads: a data directory that nobody need serve, or a server's /api/v1/export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdb.exports.formats import FORMATS
from tsdb.exports.losses import Losses
from tsdb.model.errors import StorageError, TsdbError

if TYPE_CHECKING:
    from tsdb.model.matchers import Matcher
    from tsdb.storage import Storage

EVERY = '{__name__=~".*"}'
"""Selects all series."""
CHUNK = 1 << 20
WAIT_S = 300.0
"""How long a server may take until it says something more."""


@dataclass(slots=True)
class Exported:
    """An export that is about to be read."""

    parts: Iterator[bytes]
    losses: Losses = field(default_factory=Losses)
    done: tuple[int, int] = (0, 0)
    """(done, of): how far it is. (0, 0): nobody knows."""
    note: str = ""
    """What else there is to say at the end."""

    def reached(self, done: int, of: int) -> None:
        self.done = done, of


def selected(matches: Sequence[str]) -> list[Sequence[Matcher]]:
    """Where there is none: one set that all series satisfy. Raises ConfigError."""
    from tsdb.commands.query_sources import matcher_sets

    return matcher_sets(matches) or [()]


@contextmanager
def opened(data: Path) -> Iterator[Storage]:
    """A data directory, to be read. Raises StorageError."""
    from tsdb.kernels import warm_up
    from tsdb.storage import Storage
    from tsdb.storage.directory import FORMAT_NAME

    if not (data / FORMAT_NAME).exists():
        raise StorageError(f"{data} is not a data directory of tsdb: it has no file {FORMAT_NAME}")
    warm_up(None)
    storage = Storage.open(data, read_only=True)
    try:
        yield storage
    finally:
        storage.close()


@contextmanager
def of_directory(data: Path, form: str, matches: Sequence[str], start: int | None, end: int | None,
                 options: Mapping[str, Any]) -> Iterator[Exported]:
    """Times are ms; None: open."""
    from tsdb.exports.extent import within

    export, sets = FORMATS[form].export, selected(matches)
    with opened(data) as storage:
        mint, maxt = within(storage, start, end)
        made = Exported(iter(()))
        made.parts = parts = export(storage, sets, mint, maxt, made.losses, progress=made.reached, **options)
        try:
            yield made
        finally:
            parts.close()


@contextmanager
def of_server(url: str, form: str, matches: Sequence[str], start: int | None, end: int | None,
              options: Mapping[str, Any]) -> Iterator[Exported]:
    """The same by HTTP."""
    import http.client

    from tsdb.commands import ask

    wanted = {"format": [form], "match[]": list(matches) or [EVERY],
              **{name: [str(value)] for name, value in options.items() if value}}
    wanted |= {name: [f"{ms / 1000:.3f}"] for name, ms in (("start", start), ("end", end)) if ms is not None}
    with ask.opened(url, "/api/v1/export", wanted, WAIT_S, method="POST", form=True) as (answer, place):

        def parts() -> Iterator[bytes]:
            try:
                while part := answer.read(CHUNK):
                    yield part
            except (OSError, http.client.HTTPException) as problem:
                raise TsdbError(f"{place} broke off: {problem}; what has come so far is not whole: the server's log "
                                "may say why") from None

        yield Exported(parts(), note="" if form in ("jsonl", "parquet") else
                       "what this format cannot carry is counted in the server's log")
