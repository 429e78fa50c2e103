"""Small forms of what other parts are to bring: scraping of static targets, text only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import aiohttp
import numpy as np
from numpy.typing import NDArray

from scraper.batches import Report, Seen, joined
from scraper.config import ScrapeConfig
from scraper.discovery.groups import Discoverer, Publish, TargetGroup
from tsdb.ingest.text import ParsedText, parse
from tsdb.model.batch import Appended, Batch, Metadata
from tsdb.model.errors import BadRequest, UnsupportedMedia
from tsdb.net.config import HttpClientConfig

INTERIM_ACCEPT = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


class HttpClient:
    def __init__(self, config: HttpClientConfig, *, base: Path, user_agent: str, limit: int = 0) -> None:
        self._agent = user_agent
        self._follow = config.follow_redirects
        self._session: aiohttp.ClientSession | None = None

    def request(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
                ) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, headers={"User-Agent": self._agent},
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session.request(method, url, headers=headers, data=data, allow_redirects=self._follow)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class Format(Enum):
    TEXT = "text"


def choose_format(content_type: str, fallback: str | None) -> Format:
    if content_type.partition(";")[0].strip() != "text/plain" and fallback is None:
        raise UnsupportedMedia(
            f'received unsupported Content-Type "{content_type}" and no fallback_scrape_protocol specified for target'
            if content_type else
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for "
            "target"
        )
    return Format.TEXT


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    sample_limit: int = 0
    legacy_names: bool = False


class ScrapeRefused(BadRequest):
    scraped = kept = added = 0


@dataclass(slots=True)
class Scrape:
    parsed: ParsedText
    scraped: int
    kept: int
    added: int


class TargetSeries:
    def __init__(self, secret: NDArray[np.uint64], labels: Mapping[str, str], *, reports: Sequence[str],
                 honor_labels: bool, limits: SeriesLimits,
                 relabel: Callable[[dict[str, str]], dict[str, str] | None] | None = None) -> None:
        self._secret, self._labels, self._honor = secret, labels, honor_labels
        self._seen, self._report = Seen(), Report(labels, secret)
        self.metadata: Mapping[str, Metadata] = {}

    def parse(self, body: bytes, format: Format, ts: int, *, honor_timestamps: bool = True,
              track_staleness: bool = False) -> Scrape:
        parsed = parse(body, self._labels, self._honor, ts, self._secret)
        if not honor_timestamps and parsed.explicit_ts.any():
            parsed.batch.ts[parsed.explicit_ts] = ts
            parsed.explicit_ts[:] = False
        samples = parsed.batch.samples
        return Scrape(parsed, samples, samples, self._seen.added(parsed.batch))

    def batch(self, scrape: Scrape | None, ts: int, reports: Sequence[float]) -> Batch:
        batches = [scrape.parsed.batch] if scrape is not None else []
        explicit = scrape.parsed.explicit_ts if scrape is not None else np.empty(0, np.bool_)
        stale = self._seen.stale(scrape.parsed.batch if scrape is not None else None, explicit, ts)
        if stale is not None:
            batches.append(stale)
        return joined([*batches, self._report.batch(ts, *reports[:5])])

    def end(self, ts: int) -> Batch | None:
        return self._seen.stale(None, np.empty(0, np.bool_), ts)

    def appended(self, appended: Appended) -> None:
        pass

    def forget(self) -> None:
        pass


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
