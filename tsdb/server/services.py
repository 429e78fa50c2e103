"""What the handlers of one server share."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from tsdb.flags import Flags
from tsdb.model.batch import Appended, Batch, Metadata
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.tiles import Queryable
from tsdb.server.api.small import SmallWork
from tsdb.server.completion.known import Known
from tsdb.server.http.access import Access
from tsdb.server.http.bodies import Memory
from tsdb.server.metrics import Metrics
from tsdb.server.notifications import Notifications
from tsdb.server.queries.running import Queries

if TYPE_CHECKING:
    from scraper.scraper import Scraper
    from tsdb.config import Config
    from tsdb.promql.result import QueryResult
    from tsdb.storage import StorageStatistics
    from tsdb.storage.block import BlockMeta
    from tsdb.storage.exemplars.selecting import SeriesExemplars
    from tsdb.storage.head.cardinality import Cardinality, HeadChurn
    from tsdb.storage.head.limits import SeriesLimits
    from tsdb.storage.tiers.rule import TierRule
    from tsdb.storage.upkeep.retention import Retention
    from tsdb.storage.uploads import Uploads
    from tsdb.wal.replay import ReplayProgress


class Database(Queryable, Protocol):
    """What the server needs of storage."""

    @property
    def secret(self) -> NDArray[Any]: ...

    @property
    def uploads(self) -> Uploads: ...

    def submit(self, batch: Batch, *, patient: bool = False) -> Future[Appended]: ...

    def metadata(self, family: str | None) -> dict[str, list[Metadata]]: ...

    def names_at_hand(self, label: str | None, mint: int, maxt: int) -> list[str] | None: ...

    def cardinality(self, most: int, matcher_sets: Sequence[Sequence[Matcher]] = ()) -> Cardinality: ...

    def churn(self, most: int) -> HeadChurn: ...

    def statistics(self) -> StorageStatistics: ...

    def block_metas(self) -> list[BlockMeta]: ...

    def follow_damage(self, told: Callable[[list[str]], None]) -> None: ...

    def set_late_window(self, window_ms: int) -> None: ...

    def set_retention(self, retention: Retention) -> None: ...

    def exemplars(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int, context: RequestContext,
                  ) -> list[SeriesExemplars]: ...

    def set_max_exemplars(self, most: int) -> None: ...

    def set_tiers(self, rules: Sequence[TierRule]) -> None: ...

    def set_series_limits(self, limits: SeriesLimits) -> None: ...

    def delete_series(self, matcher_sets: Sequence[Sequence[Matcher]], mint: int, maxt: int) -> None: ...

    def clean_tombstones(self) -> None: ...

    def compact(self) -> None: ...

    def snapshot(self, *, skip_head: bool = False) -> str: ...

    def end_upkeep(self) -> None: ...

    def close(self) -> None: ...


class QueryEngine(Protocol):
    """What the server needs of PromQL. Times and durations are ms."""

    default_step_ms: int

    def query(
        self, expr: str, time: int, context: RequestContext, lookback_delta_ms: int | None = None, *,
        explain: bool = False, max_source_resolution_ms: int | None = None,
    ) -> QueryResult: ...

    def query_range(
        self, expr: str, start: int, end: int, step: int, context: RequestContext,
        lookback_delta_ms: int | None = None, *, explain: bool = False,
        max_source_resolution_ms: int | None = None,
    ) -> QueryResult: ...

    def close(self) -> None: ...


class Phase(Enum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


async def nothing_to_reload() -> None:
    """Of a server that was not given a config file."""


@dataclass
class Services:
    config: Config
    """In effect, flags included; replaced as a whole by a reload."""
    metrics: Metrics
    memory: Memory
    """What the bodies of requests under way hold."""
    file_config: Config | None = None
    """The same without the flags, as it is shown to users; None: no flag says anything."""
    options: Flags = field(default_factory=Flags)
    """Values of the flags that the server was started with."""
    external_url: str = ""
    """Under which others reach the server, without a slash at its end."""
    phase: Phase = Phase.STARTING
    doing: str = "opening the data directory"
    """What a start is busy with, for /-/ready."""
    replay: ReplayProgress | None = None
    """How far the log is replayed, or was at the end of the start. None: it was not, so far."""
    database: Database | None = None
    engine: QueryEngine | None = None
    access: Access | None = None
    """Who is let in; None: everybody, to do everything."""
    reload: Callable[[], Awaitable[None]] = nothing_to_reload
    """Reads the config again. Raises ConfigError, the old config going on, and NotReady while the server stops."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Values of all flags as /api/v1/status/flags shows them."""
    scraper: Scraper | None = None
    """None: nothing was ever scraped."""
    notifications: Notifications = field(default_factory=Notifications)
    quit: Callable[[], None] | None = None
    """Stops the server soon. None: it has no say in when it ends."""
    began_ns: int = field(default_factory=time.time_ns)
    """Unix time of the start."""
    address: str = ""
    """``host:port``, once it listens."""
    known: Known = field(default_factory=Known)
    """What completion and search remember of names."""
    small: SmallWork = field(default_factory=SmallWork)
    query_threads: int = 1
    """Threads that one query may use."""
    query_concurrency: int = 1
    """Queries that run at once, besides small ones on the event loop."""
    query_memory: int = 1 << 30
    """Bytes that one query may take where the config does not say it."""
    queries: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """Runs queries and label lookups; its size is the query concurrency, its queue the query queue."""
    ingest: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """Decodes what is written."""
    chores: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """Self-metrics, compression and the like: short, never behind a query."""
    exporting: set[str] = field(default_factory=set)
    """Ids of the exports that run now."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("tsdb.server"))
    running: Queries = field(init=False)
    """Queries that wait or run."""

    def __post_init__(self) -> None:
        self.running = Queries(self.metrics.query_seconds, self.metrics.queries.inc, self.chores)

    @property
    def storage(self) -> Database:
        assert self.database is not None, "the dispatcher lets nobody in before"
        return self.database

    @property
    def promql(self) -> QueryEngine:
        assert self.engine is not None, "the dispatcher lets nobody in before"
        return self.engine

    def close_pools(self) -> None:
        for pool in (self.queries, self.ingest, self.chores):
            pool.shutdown(wait=True, cancel_futures=True)
