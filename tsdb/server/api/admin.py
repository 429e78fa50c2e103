"""/api/v1/admin: deletes and snapshots, where --web.enable-admin-api allows them. They are not built yet."""

from __future__ import annotations

from tsdb.model.errors import BadData
from tsdb.server.api import parameters
from tsdb.server.http.answer import Answer, failure
from tsdb.server.http.route import Request
from tsdb.server.services import Services


async def delete_series(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return _disabled()
    if request.form_error:
        raise BadData(f"error parsing form values: {request.form_error}")
    if not request.form.get("match[]"):
        raise BadData("no match[] parameter provided")
    parameters.time_or(request, "start", parameters.MIN_TIME)
    parameters.time_or(request, "end", parameters.MAX_TIME)
    parameters.matcher_sets(request, named=True)
    return _not_built(request)


async def snapshot(services: Services, request: Request) -> Answer:
    if not _enabled(services):
        return _disabled()
    parameters.boolean(request, "skip_head", "unable to parse boolean")
    return _not_built(request)


async def clean_tombstones(services: Services, request: Request) -> Answer:
    return _not_built(request) if _enabled(services) else _disabled()


async def drop_series(services: Services, request: Request) -> Answer:
    """DELETE /api/v1/series has never been there, in Prometheus too."""
    return failure(500, "internal", "not implemented")


def _enabled(services: Services) -> bool:
    return services.options.enable_admin_api


def _disabled() -> Answer:
    return failure(500, "unavailable", "admin APIs disabled")


def _not_built(request: Request) -> Answer:
    return failure(501, "unavailable", f"{request.route.path} is not built yet: nothing was changed")
