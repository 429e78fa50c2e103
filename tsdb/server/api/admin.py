"""/api/v1/admin: deletes, snapshots and compaction, where --web.enable-admin-api allows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tsdb.model.errors import BadData, TsdbError, Unavailable
from tsdb.model.threads import in_thread
from tsdb.server.api import parameters
from tsdb.server.http.answer import Answer, failure, success
from tsdb.server.http.route import Request
from tsdb.server.services import Services

T = TypeVar("T")


class AdminFailed(TsdbError):
    """Answered with 500, in Prometheus' words."""


async def delete_series(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return _disabled()
    if request.form_error:
        raise BadData(f"error parsing form values: {request.form_error}")
    if not request.form.get("match[]"):
        raise BadData("no match[] parameter provided")
    start = parameters.time_or(request, "start", parameters.MIN_TIME)
    end = parameters.time_or(request, "end", parameters.MAX_TIME)
    try:
        found = parameters.selectors(request)
    except BadData as problem:
        raise parameters.invalid("match[]", str(problem)) from None
    selected = [matchers for matchers in found if matchers]  # `{}` deletes nothing, as in Prometheus
    await _done(services, "delete series", lambda: services.storage.delete_series(selected, start, end))
    return Answer(204)


async def snapshot(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return _disabled()
    skip_head = parameters.boolean(request, "skip_head", "unable to parse boolean")
    name = await _done(services, "create snapshot", lambda: services.storage.snapshot(skip_head=skip_head))
    return success({"name": name})


async def clean_tombstones(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return _disabled()
    await _done(services, "clean tombstones", services.storage.clean_tombstones)
    return Answer(204)


async def compact(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return _disabled()
    await _done(services, "compact", services.storage.compact)
    return Answer(204)


async def drop_series(services: Services, request: Request) -> Answer:
    """DELETE /api/v1/series has never been there, in Prometheus too."""
    return failure(500, "internal", "not implemented")


def _enabled(services: Services) -> bool:
    return services.options.enable_admin_api


def _disabled() -> Answer:
    return failure(500, "unavailable", "admin APIs disabled")


async def _done(services: Services, what: str, work: Callable[[], T]) -> T:
    """Runs what may take long in a thread of its own."""
    try:
        return await in_thread("admin", work)
    except (BadData, Unavailable):
        raise
    except OSError as problem:
        raise AdminFailed(f"{what}: {disk_failed(problem, services.config.storage.tsdb.path)}") from problem
    except TsdbError as problem:
        raise AdminFailed(f"{what}: {problem}") from problem


def disk_failed(problem: OSError, data: str) -> str:
    """What failed, where, and what to do."""
    from tsdb.storage.upkeep.reserve import is_full

    reason = problem.strerror or str(problem)
    where = problem.filename or data
    if is_full(problem):
        return (f"{reason} ({where}): all samples are as they were; free some space on the disk, or delete series, for "
                "which a reserve is kept, then ask again")
    return f"{reason} ({where}): all samples are as they were; look at the disk and at the server's log, then ask again"
