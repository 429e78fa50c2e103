"""The formats of exports, a row each."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    """As commands and the HTTP API have it."""
    content_type: str
    module: str
    """Of its `export`; imported when it is asked for."""
    options: tuple[str, ...] = ()
    """What `export` takes besides, by name."""
    text: bool = True
    """May be shown on a terminal, and is smaller compressed."""

    @property
    def export(self) -> Callable[..., Generator[bytes]]:
        """A `tsdb.exports.reading.Export`. Raises ConfigError where a package is missing."""
        found: Callable[..., Generator[bytes]] = import_module(self.module).export
        return found


FORMATS = {each.name: each for each in (
    Format("jsonl", "application/stream+json; charset=utf-8", "tsdb.exports.jsonl",
           ("max_rows_per_line",)),
    Format("csv", "text/csv; charset=utf-8", "tsdb.exports.csv", ("time_format",)),
    Format("openmetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", "tsdb.exports.openmetrics"),
    Format("parquet", "application/vnd.apache.parquet", "tsdb.exports.parquet", text=False),
)}
