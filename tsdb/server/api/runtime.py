"""/api/v1/status: config, flags, what the process is doing, and what the storage holds."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from tsdb.model.durations import format_duration
from tsdb.model.errors import BadData
from tsdb.model.matchers import Matcher
from tsdb.server.api import parameters
from tsdb.server.config import RetentionConfig
from tsdb.server.http.answer import Answer, rfc3339, success, success_sorted
from tsdb.server.http.route import Request
from tsdb.server.services import Services

if TYPE_CHECKING:
    from tsdb.storage.head.churn import Churned

MOST_ROWS = 10_000
_NO_LIMIT = 2**63 - 1


async def config(services: Services, request: Request) -> Answer:
    """The config in effect, without secrets, and without what flags say: those are shown by themselves."""
    from tsdb import config as config_file

    loop = asyncio.get_running_loop()
    shown = services.file_config or services.config
    return success({"yaml": await loop.run_in_executor(services.chores, config_file.shown, shown)})


async def flags(services: Services, request: Request) -> Answer:
    return success_sorted(dict(services.flags))


async def runtime_info(services: Services, request: Request) -> Answer:
    """Fields are Prometheus'; those about Go say what comes nearest: tasks and threads, cores, no limit of memory."""
    loop = asyncio.get_running_loop()
    tasks = len(asyncio.all_tasks(loop)) + threading.active_count()
    return success(await loop.run_in_executor(services.chores, _runtime_info, services, tasks))


def _runtime_info(services: Services, tasks: int) -> dict[str, Any]:
    value = services.metrics.registry.get_sample_value
    reloaded = int(value("prometheus_config_last_reload_success_timestamp_seconds") or 0)
    return {
        "startTime": rfc3339(services.began_ns),
        "CWD": os.getcwd(),  # noqa: PTH109 - text is what is wanted
        "hostname": socket.gethostname(),
        "serverTime": rfc3339(time.time_ns()),
        "reloadConfigSuccess": bool(value("prometheus_config_last_reload_successful")),
        "lastConfigTime": rfc3339(reloaded * 1_000_000_000),
        "corruptionCount": int(value("prometheus_tsdb_wal_corruptions_total") or 0),
        "goroutineCount": tasks,
        "GOMAXPROCS": len(os.sched_getaffinity(0)),
        "GOMEMLIMIT": _NO_LIMIT,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention_text(services.config.storage.tsdb.retention),
    }


def retention_text(retention: RetentionConfig) -> str:
    """``15d``, ``15d or 10GiB or 80%``; empty: for ever."""
    limits = []
    if retention.time_ms:
        limits.append(format_duration(retention.time_ms))
    if retention.size:
        limits.append(str(retention.size))
    if retention.percentage:
        limits.append(f"{retention.percentage:g}%")
    return " or ".join(limits)


async def tsdb(services: Services, request: Request) -> Answer:
    """Sizes of the head, and what makes the most series."""
    most = 10
    if request.value("limit"):
        most = parameters.number(request, "limit", "limit must be a positive number")
        if most < 1:
            raise BadData("limit must be a positive number")
        if most > MOST_ROWS:
            raise BadData(f"limit must not exceed {MOST_ROWS}")
    matchers = parameters.matcher_sets(request)
    return success(await asyncio.get_running_loop().run_in_executor(services.chores, _tsdb, services, most, matchers))


def _tsdb(services: Services, most: int, matchers: Sequence[Sequence[Matcher]]) -> dict[str, Any]:
    statistics = services.storage.statistics()
    found = services.storage.cardinality(most, matchers)
    churn = services.storage.churn(most)
    chunks = services.metrics.registry.get_sample_value("prometheus_tsdb_head_chunks")
    tables = {
        "seriesCountByMetricName": found.series_by_metric,
        "labelValueCountByLabelName": found.values_by_name,
        "memoryInBytesByLabelName": found.bytes_by_name,
        "seriesCountByLabelValuePair": found.series_by_pair,
    }
    return {
        "headStats": {
            "numSeries": found.series,
            "numLabelPairs": found.label_pairs,
            "chunkCount": found.series if chunks is None else int(chunks),
            "minTime": 2**63 - 1 if statistics.min_ts is None else statistics.min_ts,
            "maxTime": -(2**63) if statistics.max_ts is None else statistics.max_ts,
        },
        **{name: [{"name": text, "value": count} for text, count in top] for name, top in tables.items()},
        "tsdbSeriesChurnByMetricName": {
            "since": rfc3339(int(churn.since * 1e9)),
            "lastHour": [_churned(each) for each in churn.last_hour],
            "lastDay": [_churned(each) for each in churn.last_day],
        },
    }


def _churned(each: Churned) -> dict[str, Any]:
    return {"name": each.metric, "value": each.total, "created": each.created, "removed": each.removed}


async def blocks(services: Services, request: Request) -> Answer:
    return success({"blocks": [meta.document() for meta in services.storage.block_metas()]})


async def wal_replay(services: Services, request: Request) -> Answer:
    """Segments of the log that the start replays, or has replayed: none after a clean stop."""
    at = services.replay
    first, last, segment = (0, 0, 0) if at is None else (at.first, at.last, at.segment)
    return success({"min": first, "max": last, "current": segment})


async def version(services: Services, request: Request) -> Answer:
    """What /api/v1/status/buildinfo says, without the envelope."""
    from tsdb.server.api.status import build

    return Answer(200, [orjson.dumps(build()) + b"\n"])
