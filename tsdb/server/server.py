"""The life of a server: listen, open the data, serve, stop."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tsdb import flags as flag_table
from tsdb.flags import Flags
from tsdb.kernels import registry
from tsdb.model.context import RequestContext
from tsdb.model.errors import ConfigError, TsdbError
from tsdb.model.threads import in_thread, lower_priority
from tsdb.server.api.json_result import encode_result
from tsdb.server.api.routes import PAGES, ROUTES
from tsdb.server.effective import addresses, effective, retention, series_limits, shown, tiers
from tsdb.server.http.access import Access
from tsdb.server.http.bodies import Memory
from tsdb.server.http.connections import Acceptor
from tsdb.server.http.dispatch import Dispatcher
from tsdb.server.http.web_config import WebConfigFile
from tsdb.server.metrics import Metrics, version
from tsdb.server.metrics.scraping import observed
from tsdb.server.notifications import SHUTTING_DOWN, STARTING_UP
from tsdb.server.queries.query_log import QueryLog
from tsdb.server.queries.startup import count_usage, name_unfinished, query_memory
from tsdb.server.reload import Apply, Load, Reloader
from tsdb.server.services import Database, Phase, QueryEngine, Services

if TYPE_CHECKING:
    from scraper.scraper import Scraper
    from tsdb.config import Config

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_REQUEST_LINE = 1 << 20
"""Bytes; as Prometheus. Queries in URLs may be long."""
LONGEST_HEADER = 64 << 10
QUERY_NICE = 5
"""How far threads of queries stand back behind those that take writes and answer health checks."""

_FIRST_QUERY = "sum by (job) (rate(up[5m]))"

Report = Callable[[int, int, str], None]
"""Called as (done, in all, what) while kernels compile."""
Open = Callable[[Services], tuple[Database, QueryEngine]]
"""Opens the data directory; may take long, runs in a thread of its own."""


def listen(address: str) -> socket.socket:
    """A listening socket on ``host:port``, ``[v6]:port`` or ``:port`` (all addresses). Raises ConfigError."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f'cannot listen on "{address}": give host:port, as in 127.0.0.1:9090')
    try:
        found = socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        return socket.create_server(place[:2], family=family, backlog=1024)
    except OSError as problem:
        reason = "another process listens there" if problem.errno == 98 else problem.strerror or str(problem)
        raise ConfigError(f"cannot listen on {address}: {reason}; choose another with --web.listen-address") from None


class Server:
    """One HTTP server over one database. Several may live in one process."""

    def __init__(
        self, config: Config, file: Path | None = None, load: Load | None = None, flags: Flags | None = None
    ) -> None:
        """`config` is the config file's, flags are put on top of it. `file` is that file, if there is one, and `load`
        reads it again. Raises ConfigError where the web configuration is wrong."""
        options = flags or Flags()
        file_config, config = config, effective(config, options)
        cores = len(os.sched_getaffinity(0))
        concurrency = config.query.max_concurrency or max(2, min(cores, 8))
        self._concurrency = concurrency
        metrics = Metrics()
        metrics.queries_max.set(concurrency)
        memory = Memory(int(config.server.max_bodies_size))
        metrics.bodies.set_function(lambda: memory.held)
        self.services = Services(
            config,
            metrics,
            memory,
            file_config=file_config,
            options=options,
            flags=shown(config, options, concurrency),
            external_url=flag_table.external_url(options.external_url, addresses(config)[0]),
            access=Access(WebConfigFile(options.web_config_file)) if options.web_config_file is not None else None,
            query_threads=max(1, min(cores, 4)),
            query_concurrency=concurrency,
            query_memory=query_memory(concurrency),
            queries=ThreadPoolExecutor(concurrency, "query", lower_priority, (QUERY_NICE,)),
            ingest=ThreadPoolExecutor(2, "ingest"),
            chores=ThreadPoolExecutor(1, "chores"),
        )
        self._file = file
        self.reloader = Reloader(self.services, file, load)
        self.services.reload = self.reloader.reload
        self._acceptor: Acceptor | None = None
        self.address = ""
        """``host:port``, the first, once it listens."""
        self.url = ""
        """Under which a client on this machine reaches it, once it listens."""

    async def start(self, *sockets: socket.socket) -> None:
        """Answers on the sockets, which it closes at the end: so far only that it is not ready."""
        services = self.services
        services.notifications.add(STARTING_UP)
        access = services.access
        tls = access is not None and access.file.current().tls is not None
        self._acceptor = Acceptor(
            Dispatcher(services, (*ROUTES, *PAGES)),
            limit=services.options.max_connections,
            context=access.context if access is not None and tls else None,
            admit=access.refused_client if access is not None and tls else None,
            access_log=None,
            # bodies stay as they are sent: what is compressed, and how far that may grow, is for the handlers
            auto_decompress=False,
            keepalive_timeout=services.config.server.read_seconds,
            max_line_size=LONGEST_REQUEST_LINE,
            max_field_size=LONGEST_HEADER,
        )
        self._acceptor.start(sockets)
        host, port = sockets[0].getsockname()[:2]
        self.address = services.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        services.external_url = flag_table.external_url(services.options.external_url, self.address)
        self.url = f"http{'s' if tls else ''}://{self.address}{services.options.route_prefix}"

    async def open(self, open_database: Open) -> None:
        """Opens the database; then the server is ready. Errors are `open_database`'s."""
        services = self.services
        database, services.engine = await in_thread("open", lambda: open_database(services))
        services.database = database
        services.metrics.add_storage(database.statistics)
        damage: list[str] = []
        database.follow_damage(lambda texts: services.notifications.change(damage, texts))
        services.doing = "beginning to scrape"
        self.reloader.add_part(self._follow_config)
        self.reloader.add_part(self._follow_query_log, reopens=True)
        services.scraper = self._make_scraper(database)
        watch_ms = services.options.auto_reload_interval_ms
        await self.reloader.start(watch_ms / 1000 if watch_ms else None)
        services.metrics.ready.set(1)
        services.phase, services.doing = Phase.READY, ""
        services.notifications.remove(STARTING_UP)

    async def stop(self) -> None:
        """Stops accepting, lets requests finish, closes the database."""
        services = self.services
        services.phase, services.doing = Phase.STOPPING, "finishing requests"
        services.metrics.ready.set(0)
        services.notifications.add(SHUTTING_DOWN)
        services.notifications.close()
        if services.database is not None:
            services.database.end_upkeep()  # nobody waits minutes for a compaction that goes on at the next start
        await self.reloader.stop()
        if services.scraper is not None:
            await services.scraper.stop()
        if self._acceptor is not None:
            await self._acceptor.stop(services.config.server.shutdown_timeout.seconds)
        if services.access is not None:
            services.access.close()
        services.close_pools()
        services.running.close()
        if services.engine is not None:
            services.engine.close()
        if services.database is not None:
            await in_thread("close", services.database.close)

    def _follow_config(self, running: Config | None, config: Config) -> Apply | None:
        """What else a reload changes; other limits are read from the config where they are needed."""
        services = self.services
        if running is None:
            return None

        async def apply() -> None:
            services.promql.default_step_ms = config.global_.evaluation_interval
            services.storage.set_late_window(config.storage.tsdb.late_window_ms)
            await in_thread("exemplars", lambda: services.storage.set_max_exemplars(config.storage.max_exemplars))
            services.storage.set_retention(retention(config.storage))
            services.storage.set_tiers(tiers(config))
            services.storage.set_series_limits(series_limits(config.storage))
            services.flags = shown(config, services.options, self._concurrency)

        return apply

    def _follow_query_log(self, running: Config | None, config: Config) -> Apply:
        """The log of queries is opened anew by every reload."""
        running_queries, metrics = self.services.running, self.services.metrics
        name = config.global_.query_log_file
        opened = QueryLog(Path(name), metrics.query_log_failures.inc) if name else None

        async def apply() -> None:
            before, running_queries.log = running_queries.log, opened
            metrics.query_log.set(opened is not None)
            if before is not None:
                self.services.chores.submit(before.close)  # behind the lines that are still to be written

        return apply

    def _make_scraper(self, database: Database) -> Scraper:
        """It follows the config from the first one on."""
        from scraper.scraper import Scraper
        from scraper.submission import Submission

        append = Submission(lambda batch: database.submit(batch, patient=True))
        services = self.services
        features = services.options.features
        scraper = Scraper(append, database.secret, services.ingest, user_agent=f"tsdb/{version()}", features=features)
        folder = Path.cwd()  # names in the file were joined to its folder when it was read
        told: list[str] = []

        def prepare(running: Config | None, config: Config) -> Apply:
            prepared = scraper.prepare(config.global_, config.scrape_configs, folder, starting=running is None)

            async def apply() -> None:
                self.reloader.incomplete = bool(prepared.left_out)
                texts = [f'Scrape job "{name}" is left out: {why}' for name, why in prepared.left_out.items()]
                for text in told:
                    if text not in texts:
                        services.notifications.remove(text)
                for text in texts:
                    services.notifications.add(text)
                told[:] = texts
                await scraper.apply(prepared)

            return apply

        self.reloader.add_part(prepare)
        services.metrics.add_scraping(lambda: observed(scraper))
        return scraper


def _rehearse(services: Services, engine: QueryEngine) -> None:
    """A first query, so that nobody else's has to load the parser and the usual kernels. In a daemon thread while it
    waits for kernels to compile, which takes long and must not keep the server from stopping."""
    from tsdb.kernels import KernelError
    from tsdb.promql.syntax.parser import parse

    lower_priority(QUERY_NICE)
    try:
        parse(_FIRST_QUERY)
        for kernel in registry.registered():
            if kernel.stage != "later":
                kernel.load()
        services.queries.submit(_first_query, engine)
    except KernelError as problem:
        log.warning("the first query failed: %s", problem)
    except RuntimeError:
        log.debug("no first query: the server has stopped")


def _first_query(engine: QueryEngine) -> None:
    try:
        now = time.time_ns() // 1_000_000
        result = engine.query_range(_FIRST_QUERY, now - 60_000, now, 15_000, RequestContext.with_timeout(600))
        list(encode_result(result)[0])
    except TsdbError as problem:
        log.warning("the first query failed: %s", problem)


def open_storage(data: Path, report: Report | None) -> Open:
    """Opens a data directory while missing kernels compile. Raises TsdbError."""

    def open_it(services: Services) -> tuple[Database, QueryEngine]:
        from tsdb import kernels
        from tsdb.promql import Engine, EngineOptions
        from tsdb.storage import Storage, StorageOptions
        from tsdb.storage.restart.recovery import Progress

        warming: Future[object] = Future()

        def compiled(done: int, total: int, name: str) -> None:
            services.doing = f"compiling kernels, {done} of {total}"
            if report is not None:
                report(done, total, name)

        def warm() -> None:
            try:
                warming.set_result(kernels.warm_up(data, progress=compiled))
            except BaseException as problem:  # noqa: BLE001 - raised by who waits
                warming.set_exception(problem)

        def opening(at: Progress) -> None:
            services.doing, services.replay = at.doing, at.log

        began = time.monotonic()
        threading.Thread(target=warm, name="warm-up", daemon=True).start()
        try:
            config = services.config.storage
            wanted = retention(config)
            storage_options = StorageOptions(
                late_window_ms=config.tsdb.late_window_ms, series_limits=series_limits(config),
                max_exemplars=config.max_exemplars,
                wal_sync=config.wal.sync, retention_ms=wanted.time_ms, retention_bytes=wanted.size_bytes,
                retention_percentage=wanted.percentage, retention_rules=wanted.rules,
                tiers=tiers(services.config),
            )
            storage = Storage.open(data, storage_options, report=opening)
            try:
                warming.result()
            except BaseException:
                storage.close()
                raise
        except kernels.KernelError as problem:
            raise TsdbError(str(problem)) from problem
        log.info("data directory opened", extra={"fields": {
            "path": data, "series": storage.statistics().series, "seconds": f"{time.monotonic() - began:.2f}",
        }})
        name_unfinished(services, data)
        count_usage(services, data, storage)
        query = services.config.query
        options = EngineOptions(lookback_delta_ms=query.lookback_delta, threads=services.query_threads,
                                default_step_ms=services.config.global_.evaluation_interval, nice=QUERY_NICE,
                                delayed_name_removal="promql-delayed-name-removal" in services.options.features,
                                use_start_timestamps=query.use_start_timestamps
                                or "use-start-timestamps" in services.options.features)
        engine = Engine(storage, options)
        threading.Thread(target=_rehearse, args=(services, engine), name="rehearsal", daemon=True).start()
        return storage, engine

    return open_it
