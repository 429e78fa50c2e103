"""Targets named in the config."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from scraper.config import StaticConfig
from scraper.discovery.groups import Publish, TargetGroup
from scraper.discovery.parse import ADDRESS
from scraper.discovery.statistics import DiscoveryStatistics


class StaticTargets:
    """All static_configs of a job."""

    def __init__(self, configs: Sequence[StaticConfig], statistics: DiscoveryStatistics) -> None:
        self._groups = [
            TargetGroup(str(number), tuple({ADDRESS: target} for target in config.targets), config.labels)
            for number, config in enumerate(configs)
        ]
        self._statistics = statistics

    async def run(self, publish: Publish) -> None:
        self._statistics.updates += 1
        publish(self._groups)
        await asyncio.Event().wait()
