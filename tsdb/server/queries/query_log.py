"""The file that queries are logged to: a line of JSON for each, with the keys that Prometheus writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from tsdb.model.errors import ConfigError
from tsdb.server.http.answer import rfc3339

log = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class QueryLog:
    """Opened anew at each reload, so that the file may be rotated. One thread writes."""

    def __init__(self, path: Path, failed: Callable[[], None]) -> None:
        """`failed` is called for each line that cannot be written. Raises ConfigError."""
        self._path = path
        self._failed = failed
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as problem:
            raise ConfigError(f"global.query_log_file: {path} cannot be written: {problem.strerror}") from None
        self._works = True

    def line(self, text: str, start: int, end: int, step: int, stats: Mapping[str, Any], origin: Mapping[str, Any],
             error: str | None) -> bytes:
        """Of one query; times are ms."""
        params = {"end": _date(end), "query": text, "start": _date(start), "step": step // 1000}
        return orjson.dumps({
            "time": rfc3339(time.time_ns()), "level": "INFO", "source": "query_log.py", "msg": "promql query logged",
            "params": params, **({} if error is None else {"error": error}), "stats": stats, **origin,
        }, option=orjson.OPT_APPEND_NEWLINE)

    def write(self, line: bytes) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(line)
            self._works = True
        except OSError as problem:
            self._failed()
            if self._works:
                log.warning("queries cannot be logged", extra={"fields": {
                    "file": self._path, "err": problem.strerror,
                }})
            self._works = False

    def close(self) -> None:
        self._file.close()


def _date(ms: int) -> str:
    """As Prometheus writes it, with milliseconds; years that have no four digits as a number."""
    try:
        return (_EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
    except OverflowError:
        return f"{ms / 1000}"
