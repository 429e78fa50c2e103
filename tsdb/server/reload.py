"""Hot reload: a new config in a running server, whole or not at all.

The whole file is loaded and checked and every part prepares what it needs before anything changes; then the config is
swapped and the parts apply what they have prepared, which cannot fail. One reload at a time: who asks while one is
under way waits for the next, together with all others who ask meanwhile. Who asks while the server starts waits until
it is open; once it stops, nothing is reloaded any more.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tsdb.config import Config
from tsdb.model.errors import ConfigError, NotReady, TsdbError
from tsdb.server.config_changes import taken_over
from tsdb.server.effective import effective
from tsdb.server.services import Services

log = logging.getLogger(__name__)

T = TypeVar("T")

FAILED = "Configuration reload has failed."
"""The notification, in Prometheus' words."""

Load = Callable[[], tuple[Config, Sequence[str]]]
"""Reads and checks the config, without the flags: (config, warnings). Raises ConfigError. Runs in a thread."""

Apply = Callable[[], Awaitable[None]]
"""Puts into effect what was prepared. Cannot fail."""

Prepare = Callable[[Config | None, Config], Apply | None]
"""Called on the event loop with (config in effect; None: at the start, config to be): checks and builds all that a
part needs, and changes nothing. None: nothing to do. Raises ConfigError."""


class Reloader:
    """Of one server; all methods are for its event loop."""

    def __init__(self, services: Services, file: Path | None = None, load: Load | None = None) -> None:
        """`file` is where `load` reads: named in errors, and watched. Without, there is nothing to reload."""
        self._services = services
        self._file = file
        self._load = load
        self.incomplete = False
        """Set by a part that could not begin all of the first config: a reload tries again, be the file the same."""
        self._parts: list[Prepare] = []
        self._reopened: list[Prepare] = []
        self._wanted = services.file_config or services.config
        """What the file said last; the config in effect differs in flags, and in keys that need a restart."""
        self._opened = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._stopping = False
        self._tasks: set[asyncio.Future[None]] = set()
        self._checksum: bytes | None = None
        self._watch: asyncio.Task[None] | None = None

    def add_part(self, prepare: Prepare, *, reopens: bool = False) -> None:
        """A part of the server that follows the config. Parts are prepared and applied in the order they are added. One
        that `reopens` files takes part in each reload, be the config the same."""
        self._parts.append(prepare)
        if reopens:
            self._reopened.append(prepare)

    async def start(self, watch_s: float | None = None) -> None:
        """Applies the first config; from then on it can be reloaded, and is whenever its files have changed (looked at
        every `watch_s` seconds; None: never). Raises ConfigError."""
        config = self._services.config
        if watch_s is not None:
            self._checksum = await self._read_checksum()
        prepared = [prepare(None, config) for prepare in self._parts]
        for apply in prepared:
            if apply is not None:
                await apply()
        self._services.metrics.config_loaded()
        self._opened.set()
        if watch_s is not None and self._file is not None:
            self._watch = asyncio.create_task(self._watch_files(watch_s), name="auto-reload")

    async def reload(self) -> None:
        """Returns when the config that the file has now is in effect. Raises ConfigError: the old one goes on; and
        NotReady where the server stops."""
        if self._next is None:
            self._next = self._keep(asyncio.create_task(self._run_next(), name="reload"))
        await asyncio.shield(self._next)

    def request(self) -> None:
        """Reloads soon; what goes wrong is in the log. For signals."""
        self._keep(asyncio.create_task(self.reload(), name="reload requested"))

    async def stop(self) -> None:
        """Waits for a reload under way; later ones are refused. Before anything else is stopped."""
        self._stopping = True
        self._opened.set()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        async with self._one_at_a_time:
            pass

    async def _run_next(self) -> None:
        async with self._one_at_a_time:
            self._next = None  # who asks from now on may mean a newer file
            await self._opened.wait()
            if self._stopping:
                raise NotReady("the server is stopping: its config is not reloaded any more")
            if self._load is None:
                log.info("no config file: nothing to reload")
                return
            await self._reload(self._load)

    async def _reload(self, load: Load) -> None:
        began = time.perf_counter()
        log.info("Loading configuration file", extra={"fields": {"filename": self._file}})
        try:
            checksum = await self._read_checksum() if self._watch is not None else None
            config, warnings = await self._in_thread(load)
            await self._put_into_effect(config, warnings)
        except Exception as problem:
            self._checksum = None  # the watch tries again until it is right, be it by taking the change back
            self._services.metrics.config_failed()
            self._notify(True)
            known = isinstance(problem, TsdbError)
            reason = str(problem) if known else "internal error: the server's log has the details"
            error = ConfigError(f'couldn\'t load configuration (--config.file="{self._file}"): {reason}')
            log.error("Error reloading config", extra={"fields": {"err": error}}, exc_info=not known)
            raise error from problem
        self._checksum = checksum
        self._services.metrics.config_loaded()
        self._notify(False)
        log.info("Completed loading of configuration file", extra={"fields": {
            "filename": self._file, "totalDuration": f"{(time.perf_counter() - began) * 1000:.3f}ms",
        }})

    async def _put_into_effect(self, config: Config, warnings: Sequence[str]) -> None:
        services = self._services
        if config == self._wanted and not self.incomplete:
            for apply in [prepare(services.config, services.config) for prepare in self._reopened]:
                if apply is not None:
                    await apply()
            return
        running = services.config
        wanted, pending = taken_over(running, effective(config, services.options))
        prepared = [prepare(running, wanted) for prepare in self._parts]
        # From here on nothing fails.
        services.file_config, _ = taken_over(services.file_config or running, config)
        services.config = wanted
        self._wanted = config
        for warning in warnings:
            log.warning(warning)
        if pending:
            names = ", ".join(pending)
            log.warning("changed keys that need a restart to take effect", extra={"fields": {"keys": names}})
        for apply in prepared:
            if apply is not None:
                await apply()

    async def _watch_files(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            found = await self._read_checksum()
            if found is not None and found == self._checksum:
                continue
            log.info("Configuration file change detected, reloading the configuration.")
            try:
                await self.reload()
            except TsdbError:
                continue  # logged

    async def _read_checksum(self) -> bytes | None:
        """Of the config file and the files it names; None where one cannot be read."""
        config = self._services.config
        file = self._file
        named = [*config.rule_files, *config.scrape_config_files]
        patterns = [str(Path(name).absolute()) for name in named]  # they were joined to the file's folder already
        return None if file is None else await self._in_thread(lambda: checksum(file, patterns))

    def _notify(self, failed: bool) -> None:
        notifications = self._services.notifications
        (notifications.add if failed else notifications.remove)(FAILED)

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """The loop itself holds tasks by weak references only."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # logged, and raised to who waits; nobody may wait

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._services.chores, work)


def checksum(file: Path, patterns: Sequence[str]) -> bytes | None:
    """Of a config file and the files that match `patterns`, relative to its folder: names and contents. None where one
    cannot be read."""
    digest = hashlib.sha256()
    try:
        digest.update(file.read_bytes())
        for pattern in patterns:
            # pathlib matches no absolute patterns
            for name in sorted(glob.glob(str(file.parent / pattern))):  # noqa: PTH207
                digest.update(f"\0{name}\0".encode(errors="surrogateescape"))
                digest.update(Path(name).read_bytes())
    except OSError:
        return None
    return digest.digest()
