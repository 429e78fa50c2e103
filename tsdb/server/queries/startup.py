"""What a start does for queries: which did not end before, counting them by metric, how much memory each may take."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from tsdb.model.context import RequestContext
from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher
from tsdb.server.queries.active_file import ActiveFile
from tsdb.server.usage.usage import Usage
from tsdb.wal.files import LocalFileSystem

if TYPE_CHECKING:
    from tsdb.server.services import Database, Services

log = logging.getLogger(__name__)

_LOOKUP_S: Final = 10.0
_LEAST_MEMORY: Final = 1 << 30
_CGROUP_FILES: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def name_unfinished(services: Services, data: Path) -> None:
    """Logs which queries ran when the last process died, and has the file name those that run from now on. The data
    directory is ours alone."""
    slots = services.query_concurrency + 1  # and one on the event loop
    try:
        services.running.active, unfinished = ActiveFile.open(LocalFileSystem(), data, slots)
    except OSError as problem:
        log.warning("running queries cannot be noted in the data directory: a crash will not tell which they were",
                    extra={"fields": {"err": problem}})
        return
    if unfinished:
        named = [{"query": text, "timestamp_sec": began} for text, began in unfinished]
        log.warning("These queries didn't finish in prometheus' last run:",
                    extra={"fields": {"queries": orjson.dumps(named).decode()}})


def count_usage(services: Services, data: Path, database: Database) -> None:
    """Has queries counted by metric from now on, where the config gives it memory."""
    most = int(services.config.query.usage_memory)
    if not most:
        return

    def metrics(matchers: Sequence[Matcher] | None, start: int, end: int) -> list[str]:
        context = RequestContext.with_timeout(_LOOKUP_S)
        return database.label_values(METRIC_NAME, [] if matchers is None else [matchers], start, end, context)

    services.running.usage = Usage(LocalFileSystem(), data, most, metrics)
    services.running.usage.start()


def query_memory(concurrency: int) -> int:
    """Bytes for one of so many queries: together they take half of the memory, but each has 1 GiB at least, or half of
    the memory where that is less."""
    half = memory() // 2
    return min(half, max(_LEAST_MEMORY, half // concurrency))


def memory() -> int:
    """Bytes of memory of this machine, or of the container's limit."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _CGROUP_FILES:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            found.append(int(text))
    return min(found)
