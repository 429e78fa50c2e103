"""Static targets, until there is more of discovery."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from scraper.config import ScrapeConfig
from scraper.discovery.groups import Discoverer, Publish, TargetGroup


class StaticTargets:
    def __init__(self, groups: Sequence[TargetGroup]) -> None:
        self._groups = groups

    async def run(self, publish: Publish) -> None:
        publish(self._groups)
        await asyncio.Event().wait()


def discoverers(job: ScrapeConfig, base: Path) -> list[Discoverer]:
    return [StaticTargets([
        TargetGroup(str(number), tuple({"__address__": address} for address in group.targets), group.labels)
        for number, group in enumerate(job.static_configs)
    ])] if job.static_configs else []
