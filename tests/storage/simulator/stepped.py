"""A storage without threads: commits happen when they are submitted, maintenance when it is asked for."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest.mock import patch

from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import Appended, Batch
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.appender import Appender
from tsdb.storage.block import ulid
from tsdb.storage.head.payloads import Payloads
from tsdb.storage.head.windows import Windows
from tsdb.storage.upkeep.maintenance import Maintenance
from tsdb.wal import WalOptions

FOLDER = Path("/data")
NOW_S = 1_700_000_000.0
T = TypeVar("T")


class _Waits(BaseException):
    """The maintenance has done what there was, and would wait now."""


class _Wake:
    """Instead of an event: the first wait returns, the second ends the pass."""

    def __init__(self) -> None:
        self._waited = False

    def wait(self, timeout: float | None = None) -> bool:
        if self._waited:
            raise _Waits
        self._waited = True
        return True

    def set(self) -> None:
        pass

    def clear(self) -> None:
        pass


class SteppedAppender(Appender):
    """Every batch is a commit, at once."""

    def start(self) -> None:
        pass

    def submit(self, batch: Batch, *, patient: bool = False) -> Future[Appended]:
        future = super().submit(batch)
        self._drain()
        return future

    def run_between_commits(self, work: Callable[[], None]) -> Future[Appended]:
        future = super().run_between_commits(work)
        self._drain()
        return future

    def close(self) -> None:
        self._closed = True

    def _drain(self) -> None:
        while not self._queue.empty():
            self._work()


class SteppedMaintenance(Maintenance):
    """A pass happens in `step`, work at once."""

    _begun_with: Appender | None = None

    def start(self, appender: Appender) -> None:
        self._begun_with = appender

    def do(self, work: Callable[[], T]) -> Future[T]:
        future = super().do(work)
        self._do_work()
        return future

    def step(self) -> None:
        """One pass, as after a call."""
        assert self._begun_with is not None
        wake, self._wake = self._wake, cast(Any, _Wake())
        try:
            with suppress(_Waits):
                self._run(self._begun_with)
        finally:
            self._wake = wake


@contextmanager
def stepped(seed: int) -> Iterator[None]:
    """Storages that are opened inside are stepped, small in everything, and their names follow from the seed."""
    names = random.Random(seed)
    made = 0

    def new_ulid(now_ms: int | None = None) -> str:
        nonlocal made
        made += 1
        number = (round(NOW_S * 1000) + made) << 80 | names.getrandbits(80)
        return "".join(ulid._DIGITS[number >> shift & 31] for shift in range(125, -1, -5))

    here = "tsdb.storage.storage."
    with ExitStack() as patches:
        patches.enter_context(patch(here + "Appender", functools.partial(SteppedAppender, clock=lambda: NOW_S)))
        patches.enter_context(patch(here + "Maintenance", SteppedMaintenance))
        patches.enter_context(patch(here + "Windows", functools.partial(Windows, step=1 << 14)))
        patches.enter_context(patch(here + "Payloads", functools.partial(Payloads, step=1 << 12)))
        patches.enter_context(patch(here + "WalOptions", functools.partial(WalOptions, segment_bytes=4000,
                                                                           sync_interval_s=0)))
        patches.enter_context(patch("tsdb.storage.upkeep.maintenance.lower_priority"))  # of the test
        patches.enter_context(patch("tsdb.storage.upkeep.compaction.SPARE_BYTES", 1 << 14))
        patches.enter_context(patch("tsdb.storage.upkeep.cleaning.SPARE_BYTES", 1 << 14))
        patches.enter_context(patch("tsdb.storage.upkeep.reserve.LARGEST", 1 << 14))
        patches.enter_context(patch("tsdb.storage.upkeep.reserve.SMALLEST", 1 << 13))
        for module in ulid_users():
            patches.enter_context(patch(module + ".new_ulid", new_ulid))
        yield


def ulid_users() -> list[str]:
    """Modules that have imported `new_ulid`."""


    return [name for name, module in list(sys.modules.items())
            if name.startswith("tsdb.") and getattr(module, "new_ulid", None) is ulid.new_ulid]


def open_storage(fs: SimulatedFileSystem, options: StorageOptions | None = None) -> Storage:
    """Within `stepped`. Raises as Storage.open."""
    return Storage.open(FOLDER, options, fs=fs)


def step(storage: Storage) -> None:
    """One pass of the maintenance."""
    maintenance = storage._maintenance
    assert isinstance(maintenance, SteppedMaintenance)
    maintenance.step()
