"""The file that failed scrapes are logged to: a line of JSON for each, with the keys that Prometheus writes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tsdb.model.errors import ConfigError

log = logging.getLogger(__name__)


class FailureLog:
    """Opened anew at each reload of its job, so that the file may be rotated."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError."""
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as problem:
            raise ConfigError(f"scrape_failure_log_file {path} cannot be written: {problem.strerror}") from None
        self._works = True

    def write(self, job: str, url: str, error: str) -> None:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        line = {"time": now, "level": "ERROR", "source": "loop.py", "msg": error, "job_name": job, "target": url}
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._works = True
        except OSError as problem:
            if self._works:
                log.warning("failed scrapes cannot be logged", extra={"fields": {
                    "file": self._path, "err": problem.strerror,
                }})
            self._works = False
