"""Health, readiness, build information and the server's own metrics."""

from __future__ import annotations

import asyncio
import platform
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder

from tsdb.server.http.answer import Answer, success, text
from tsdb.server.http.route import Request
from tsdb.server.metrics import PROMETHEUS_VERSION, version
from tsdb.server.services import Phase, Services


async def index(services: Services, request: Request) -> Answer:
    """For who opens the address in a browser."""
    from tsdb.server.api.routes import ROUTES

    lines = [f"{', '.join(route.methods):10} {route.path:38} {route.doc}" for route in ROUTES]
    return text(200, "\n".join([f"tsdb {version()}: a time-series database server.", "", *lines]))


async def to_index(services: Services, request: Request) -> Answer:
    """As Prometheus' own redirects: to a path below that of the external URL."""
    return text(302, "Found", {"Location": f"{urlsplit(services.external_url).path}/"})


async def healthy(services: Services, request: Request) -> Answer:
    return text(200, "tsdb is Healthy.")


async def ready(services: Services, request: Request) -> Answer:
    stopping = str(services.phase is Phase.STOPPING).lower()
    if services.phase is Phase.READY:
        return text(200, "tsdb is Ready.")
    message = f"Service Unavailable: tsdb is {services.phase.value}: {services.doing}"
    return text(503, message, {"Retry-After": "1", "X-Prometheus-Stopping": stopping})


async def build_info(services: Services, request: Request) -> Answer:
    """Grafana reads `version` to learn which Prometheus it speaks to; ours stands beside it."""
    return success(build())


def build() -> dict[str, str]:
    return {
        "version": PROMETHEUS_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "tsdbVersion": version(),
        "pythonVersion": platform.python_version(),
    }


async def metrics(services: Services, request: Request) -> Answer:
    encoder: Any
    encoder, content_type = choose_encoder(request.http.headers.get("Accept", ""))
    body = await asyncio.get_running_loop().run_in_executor(services.chores, encoder, services.metrics.gather())
    return Answer(200, [body], content_type)
