"""/api/v1/targets and its neighbours: what the scraper scrapes, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from tsdb import flags
from tsdb.model.durations import format_duration
from tsdb.model.errors import BadData, ConfigError
from tsdb.relabel.config import RelabelConfig
from tsdb.server.api import parameters
from tsdb.server.api.global_url import global_url
from tsdb.server.http.answer import Answer, rfc3339, success
from tsdb.server.http.route import Request
from tsdb.server.services import Services

if TYPE_CHECKING:
    from scraper.config import ScrapeConfig
    from scraper.status import PoolStatus, TargetStatus

Shape = dict[str, Any]


async def scrape_pools(services: Services, request: Request) -> Answer:
    return success({"scrapePools": [pool.name for pool in _pools(services)]})


async def targets(services: Services, request: Request) -> Answer:
    state = request.value("state").lower()
    wanted = request.value("scrapePool")
    active: list[Shape] = []
    dropped: list[Shape] = []
    counts: dict[str, int] | None = None
    pools = _pools(services)
    chosen = [pool for pool in pools if not wanted or pool.name == wanted]
    if state in ("", "any", "active"):
        listen = services.address
        external = services.external_url or flags.external_url(None, listen)
        active = [_active(target, external, listen) for pool in chosen for target in pool.active]
    if state in ("", "any", "dropped"):
        counts = {pool.name: pool.dropped_count for pool in pools}
        dropped = [
            {"discoveredLabels": _labels(target.discovered_labels), "scrapePool": target.pool}
            for pool in chosen for target in pool.dropped
        ]
    return success({"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts})


async def relabel_steps(services: Services, request: Request) -> Answer:
    """What each rule of a job makes of some discovered labels."""
    from tsdb.relabel.rules import Relabeling

    pool = _pool_parameter(request)
    text = request.value("labels")
    if not text:
        raise BadData("no labels parameter provided")
    try:
        labels = orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        raise BadData(f"error parsing labels: {problem}") from None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise BadData("error parsing labels: give a JSON object of texts")
    job = _job(services, pool)
    try:
        steps = Relabeling(job.relabel_configs).steps(labels)
    except ConfigError as problem:
        raise BadData(f"error retrieving scrape config: {problem}") from None
    return success({"steps": [
        {"rule": _rule(rule), "output": _labels(output) if kept else {}, "keep": kept} for rule, output, kept in steps
    ]})


async def scrape_pool_config(services: Services, request: Request) -> Answer:
    """The config of one job as /api/v1/status/config shows it."""
    from tsdb import config as config_file

    job = _job(services, _pool_parameter(request))
    return success({"yaml": config_file.shown_job(job)})


def _pools(services: Services) -> Sequence[PoolStatus]:
    """By name."""
    return [] if services.scraper is None else sorted(services.scraper.pools(), key=lambda pool: pool.name)


def _active(target: TargetStatus, external: str, listen: str) -> Shape:
    return {
        "discoveredLabels": _labels(target.discovered_labels),
        "labels": _labels(target.labels),
        "scrapePool": target.pool,
        "scrapeUrl": target.url,
        "globalUrl": global_url(target.url, external, listen),
        "lastError": target.last_error,
        "lastScrape": rfc3339(None if target.last_scrape_ms is None else target.last_scrape_ms * 1_000_000),
        "lastScrapeDuration": target.last_duration_s,
        "health": target.health,
        "scrapeInterval": format_duration(target.interval_ms),
        "scrapeTimeout": format_duration(target.timeout_ms),
    }


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return dict(sorted(labels.items()))


def _pool_parameter(request: Request) -> str:
    pool = request.value("scrapePool")
    if not pool:
        raise BadData("no scrapePool parameter provided")
    return pool


def _job(services: Services, pool: str) -> ScrapeConfig:
    for job in services.config.scrape_configs:
        if job.job_name == pool:
            return job
    raise BadData(f"error retrieving scrape config: scrape pool {parameters.quoted(pool)} not found")


def _rule(rule: RelabelConfig) -> Shape:
    """As Prometheus' JSON has it: without what is empty."""
    shape = {
        "source_labels": list(rule.source_labels),
        "separator": rule.separator,
        "regex": rule.regex,
        "modulus": rule.modulus,
        "target_label": rule.target_label,
        "replacement": rule.replacement,
        "action": rule.action,
    }
    return {name: value for name, value in shape.items() if value}
