"""Log lines as Prometheus writes them, to standard error: ``time=… level=INFO source=run.py:51 msg="…" key=value``, or
as JSON objects with these keys."""

from __future__ import annotations

import json
import logging
import re
import sys
import time

LEVELS = ("debug", "info", "warn", "error")
FORMATS = ("logfmt", "json")

_PLAIN = re.compile(r"[^\s\"=\\]+")


class LineFormatter(logging.Formatter):
    """One line for each record; a traceback follows it. ``extra={"fields": {…}}`` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        line = " ".join(f"{name}={quote(str(value))}" for name, value in fields(record).items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object for each record; a traceback is its key ``stack``."""

    def format(self, record: logging.LogRecord) -> str:
        values = fields(record)
        if record.exc_info:
            values["stack"] = self.formatException(record.exc_info)
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=str)


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Keys of a record, in their order."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return {
        "time": f"{moment}.{int(record.msecs):03d}Z",
        "level": "WARN" if record.levelno == logging.WARNING else record.levelname,
        "source": f"{record.filename}:{record.lineno}",
        "msg": record.getMessage(),
        "component": record.name.removeprefix("tsdb."),
        **getattr(record, "fields", {}),
    }


def quote(value: str) -> str:
    """The value as it is if it is one word, otherwise in quotes."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


class StderrHandler(logging.Handler):
    """Writes to what standard error is at the moment: a progress bar may have put itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):
            self.handleError(record)


def set_up(level: str, form: str = "logfmt") -> None:
    """Sends the logs of this process to standard error, from `level` (one of `LEVELS`) on, in one of `FORMATS`."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    logging.getLogger("asyncio").setLevel(logging.WARNING)
