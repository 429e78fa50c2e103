"""Random operations on a storage, and what must come of them."""

from __future__ import annotations

import dataclasses
import errno
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.storage.batches import make_batch
from tests.storage.histograms.tokens import read, token, with_histograms
from tests.storage.simulator.exemplars import SentExemplars
from tests.storage.simulator.starts import start_problems, with_starts
from tests.storage.simulator.stepped import FOLDER, NOW_S, open_storage, step
from tests.wal.simulated import Killed, Operation, SimulatedFileSystem
from tsdb.model.batch import ACCEPTED, REASONS
from tsdb.model.context import RequestContext
from tsdb.model.errors import TsdbError
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX
from tsdb.storage import Storage, StorageOptions
from tsdb.wal import Sync

MINUTE = 60_000
HOUR = 60 * MINUTE
LATE_MS = 3 * HOUR
CAPACITY = 2_400_000
"""Bytes of the disk."""
Key = tuple[tuple[str, str], ...]
Sample = tuple[int, int, int]
"""Index of the series, ms, bits."""


class Wrong(AssertionError):
    """The storage lost, changed or invented something, or does not open."""


def labels_of(number: int) -> dict[str, str]:
    return {"__name__": f"m{number % 3}", "job": f"j{number % 2}", "n": str(number)}


def key_of(number: int) -> Key:
    return tuple(sorted(labels_of(number).items()))


@dataclasses.dataclass(frozen=True)
class Faults:
    """What may happen to the disk in a run."""

    cut: str = "kill"
    """What a crash is: "kill", "power", or "either"."""
    sync: Sync = "commit"
    """When writes are acknowledged. Where it is not "commit", a power cut may take what was acknowledged, and the
    storage must be right about what is left."""
    crash: float = 0.25
    """How probable a crash is in each operation."""
    errors: float = 0.0
    """How probable it is that an operation is one of those during which the disk fails now and then."""
    full: float = 0.0
    """How probable it is that the disk is full for some operations."""
    short: float = 0.0
    """How probable a short write is."""
    histograms: bool = True
    """Some series have them, among floats."""


class World:
    """A disk, a storage on it or none, and the model."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.chance = random.Random(seed)
        self.faults = faults
        self.fs = SimulatedFileSystem(chance=random.Random(seed + 1), capacity=CAPACITY)
        self.storage: Storage | None = None
        self.sure: dict[int, dict[int, int]] = {}
        self.possible: dict[int, dict[int, int]] = {}
        self.now = 1_600_000_000_000 // (2 * HOUR) * (2 * HOUR)
        self.newest = 0
        self.last: dict[int, int] = {}
        """Newest time that was sent in order, by series."""
        self.expired = 0
        self.doomed: set[tuple[int, int]] = set()
        """What a delete that failed may take at the next start."""
        self.without_log: set[tuple[int, int]] = set()
        """Samples that a power cut may have left without their start times."""
        self.trouble = False
        """Whether anything but a crash has happened so far: what is damaged may be the disk's fault."""
        self.snapshots: list[tuple[str, dict[int, dict[int, int]], dict[int, dict[int, int]]]] = []
        """Their names, with what was sure and what was possible."""
        self.exemplars = SentExemplars(seed)
        self.done: Counter[str] = Counter()
        self.history: list[str] = []
        """What was done, for people."""
        self.lies: Callable[[Operation], bool] = lambda _: False
        self._series = 5

    # the storage

    def options(self) -> StorageOptions:
        return StorageOptions(wal_sync=self.faults.sync, late_window_ms=LATE_MS)

    def run(self, operations: int) -> None:
        """So many operations; then all is well for a while, and everything must be there. Raises Wrong."""
        for _ in range(operations):
            self.operate()
        self.recover()
        for _ in range(2):
            self.read()
            step(self._open())
        self.read()
        self._open().close()
        self.storage = None
        self.read()
        for name, sure, possible in self.snapshots:
            self._check_snapshot(name, sure, possible)

    def operate(self) -> None:
        kind = self.chance.choices(list(OPERATIONS), [weight for weight, _ in OPERATIONS.values()])[0]
        trouble = ""
        self.fs.short_writes = self.faults.short
        if self.chance.random() < self.faults.crash:
            if self.chance.random() < 0.5:
                self.fs.kill_at = len(self.fs.operations) + self.chance.choice((0, 1, 2, 3, 5, 8, 13, 21, 34, 55))
                trouble = f"killed at {self.fs.kill_at}"
            else:
                self.fs.kill_at_sync = self.chance.choice((0, 0, 1, 1, 2, 3, 4, 6, 9, 13))
                trouble = f"killed at sync {self.fs.kill_at_sync} from now"
        elif self.chance.random() < self.faults.errors:
            self.fs.faults = self._failing(self.chance.choice((0.05, 0.3, 1.0)))
            trouble = "errors"
        elif self.chance.random() < self.faults.full:
            self.fs.capacity = CAPACITY - self.fs.room_left() + self.chance.choice((0, 50, 500, 5000))
            trouble = "full"
        self.trouble |= trouble in ("errors", "full")
        self.history.append(f"{kind} {trouble}".strip())
        self.done[kind] += 1
        try:
            OPERATIONS[kind][1](self)
        except Killed:
            self.crash()
        except (TsdbError, OSError) as problem:
            self.history[-1] += f": {problem}"
            if trouble not in ("errors", "full"):
                raise Wrong(f"without any trouble: {problem!r}") from problem
        finally:
            self.fs.faults = lambda *_: None
            self.fs.capacity = CAPACITY

    def crash(self, *, stopped: bool = False) -> None:
        """The process is gone; what it left is found by the next one. `stopped`: it had made everything durable."""
        cut = self.chance.choice(("kill", "power")) if self.faults.cut == "either" else self.faults.cut
        self.history.append(cut)
        self.done["crash"] += 1
        self.storage = None
        self.fs = self.fs.killed() if cut == "kill" else self.fs.power_cut()
        if cut == "power" and self.faults.sync != "commit" and not stopped:
            for number, sure in self.sure.items():
                self.possible.setdefault(number, {}).update(sure)
                # a sealed chunk may be there, and the log of its samples not, which had their start times
                self.without_log |= {(number, ts) for ts in self.possible[number]}
                sure.clear()
            self.exemplars.may_be_lost()
            self.snapshots.clear()
        self.fs.short_writes = self.faults.short
        self.fs.capacity = CAPACITY
        self.fs.lies = self.lies

    def recover(self) -> None:
        """Nothing is wrong any more."""
        self.fs.kill_at = self.fs.kill_at_sync = -1
        self.fs.short_writes = 0

    def _open(self) -> Storage:
        if self.storage is None:
            self.storage = open_storage(self.fs, self.options())
        return self.storage

    def _failing(self, probability: float) -> Callable[[int, Operation], int | None]:
        chance = random.Random(self.chance.random())
        kinds = chance.choice(({"datasync", "flush", "sync_directory"}, {"pwrite", "allocate", "create"},
                               {"rename", "unlink", "truncate"}, set[str]()))

        def fails(_: int, operation: Operation) -> int | None:
            if (kinds and operation.name not in kinds) or chance.random() >= probability:
                return None
            return errno.ENOSPC if operation.name in ("pwrite", "allocate", "create") else errno.EIO

        return fails

    # what can be done

    def append(self) -> None:
        """In order: some series, some samples each, and time passes."""
        self.now += self.chance.choice((MINUTE, 20 * MINUTE, HOUR, 3 * HOUR))
        if self.chance.random() < 0.1:
            self._series += 1
        samples = []
        for number in self._some_series():
            ts = max(self.now - 10 * MINUTE, self.last.get(number, 0))
            for _ in range(self.chance.choice((1, 2, 30))):
                ts += self.chance.randint(1, 10_000)
                samples.append((number, ts, self.value(number, ts)))
            self.last[number] = ts
        self._submit(samples)

    def append_late(self) -> None:
        """Within the window, in any order, some of them again."""
        if self.newest == 0:
            return
        samples = []
        for number in self._some_series():
            if number not in self.last:
                continue
            for _ in range(self.chance.choice((1, 5))):
                ts = self.newest - self.chance.randint(0, LATE_MS)
                samples.append((number, ts, self.value(number, ts)))
        self._submit([each for each in samples if each[1] != self.last[each[0]]])

    def append_history(self) -> None:
        """Of any age."""
        if self.newest == 0:
            return
        number = self.chance.randrange(self._series)
        begin = self.newest - self.chance.choice((HOUR, 10 * HOUR, 100 * HOUR))
        times = sorted({begin + self.chance.randint(0, HOUR) for _ in range(10)} - {self.last.get(number, 0)})
        times = [ts for ts in times if ts < self.last.get(number, self.newest - 2 * HOUR)]
        self._submit([(number, ts, self.value(number, ts)) for ts in times], history=True)

    def append_again(self) -> None:
        """What is there already: silently accepted, and there once."""
        number = self.chance.randrange(self._series)
        ts = self.last.get(number, 0)
        if ts in self.sure.get(number, {}) and ts > self.newest - HOUR // 2:
            self._submit([(number, ts, self.value(number, ts))])

    def maintain(self) -> None:
        step(self._open())

    def delete(self) -> None:
        mint, maxt = sorted(self.newest - self.chance.choice((0, HOUR, 5 * HOUR, 30 * HOUR)) for _ in range(2))
        maxt += self.chance.choice((0, HOUR))
        name = self.chance.choice(("m0", "m1", "m2"))
        storage = self._open()
        covered = [
            (number, ts) for number, samples in self.sure.items() if dict(labels_of(number))["__name__"] == name
            for ts in samples if mint <= ts <= maxt
        ]
        for number, ts in covered:
            self.possible.setdefault(number, {})[ts] = self.sure[number].pop(ts)
        self.doomed |= {
            (number, ts) for number, samples in self.possible.items() for ts in samples
            if dict(labels_of(number))["__name__"] == name and mint <= ts <= maxt
        }
        storage.delete_series([(Matcher(MatchType.EQUAL, "__name__", name),)], mint, maxt)
        for number, ts in covered:
            del self.possible[number][ts]

    def compact(self) -> None:
        self._open().compact()

    def clean(self) -> None:
        self._open().clean_tombstones()

    def snapshot(self) -> None:
        storage = self._open()
        sure = {number: dict(samples) for number, samples in self.sure.items()}
        possible = {number: dict(samples) for number, samples in self.possible.items()}
        self.snapshots.append((storage.snapshot(), sure, possible))

    def _check_snapshot(self, name: str, sure: dict[int, dict[int, int]], possible: dict[int, dict[int, int]]) -> None:
        storage = Storage.open(FOLDER / "snapshots" / name, fs=self.fs, read_only=True)
        try:
            problems = self._compare(read(storage), sure, possible)
        finally:
            storage.close()
        if problems:
            raise Wrong(f"snapshot {name}:\n" + "\n".join(problems[:10]))

    def reopen(self) -> None:
        """A clean stop and a start; at times the power is switched off in between, and nothing may be lost by it."""
        self._open().close()
        self.storage = None
        if self.chance.random() < 0.4:
            self.crash(stopped=True)
        if not self._open().opened.clean and not self.trouble:
            raise Wrong("after a clean stop the log was replayed")

    def read(self) -> None:
        """Everything; raises Wrong where it is not as it should be."""
        storage = self._open()
        found = read(storage)
        problems = self._compare(found, self.sure, self.possible)
        problems += self._labels(storage, found)
        problems += self.exemplars.problems(storage, settled=not self.trouble)
        problems += start_problems(storage, self.without_log)
        if not self.trouble and (damaged := storage.statistics().damaged_known):
            problems.append(f"{damaged} files were set aside although the disk has no fault")
        if problems:
            raise Wrong("\n".join(problems[:10]))
        if self.trouble:  # after a failed sync a page may be seen that is not on the disk, which nobody can know
            return
        for key, samples in found.items():  # what was seen once does not vanish any more
            number = int(dict(key)["n"])
            possible = self.possible.get(number, {})
            for ts, bits in samples:
                if ts in possible and (number, ts) not in self.doomed:
                    del possible[ts]
                    self.sure.setdefault(number, {})[ts] = bits

    def _compare(self, found: dict[Key, list[tuple[int, int]]], every_sure: dict[int, dict[int, int]],
                 every_possible: dict[int, dict[int, int]]) -> list[str]:
        problems: list[str] = []
        for key, samples in found.items():
            number = int(dict(key)["n"])
            if key != key_of(number):
                problems.append(f"{key}: never sent")
                continue
            times = [ts for ts, _ in samples]
            if times != sorted(set(times)):
                problems.append(f"{number}: times do not increase: {times}")
            for ts, bits in samples:
                expected = every_sure.get(number, {}).get(ts, every_possible.get(number, {}).get(ts))
                if expected is None:
                    problems.append(f"{number} at {ts}: {bits:#x} came back, or was never sent")
                elif bits != expected:
                    problems.append(f"{number} at {ts}: {bits:#x} instead of {expected:#x}")
        for number, sure in every_sure.items():
            there = {ts for ts, _ in found.get(key_of(number), [])}
            lost = sorted(ts for ts in sure if ts not in there and ts >= self.expired)
            if lost:
                problems.append(f"{number}: lost {len(lost)} of {len(sure)}, {lost[0]} … {lost[-1]}")
        return problems

    def _labels(self, storage: Storage, found: dict[Key, list[tuple[int, int]]]) -> Iterator[str]:
        every = RequestContext()
        matchers = [(Matcher(MatchType.REGEX, "__name__", ".+"),)]
        listed = storage.series(matchers, -(1 << 60), 1 << 60, every)
        keys = {tuple(sorted(listed.labels(row).items())) for row in range(len(listed))}
        yield from (f"{key} has samples and is not listed" for key in found if key not in keys)
        yield from (f"{key} is listed and was never sent" for key in keys if key != key_of(int(dict(key)["n"])))
        names = set(storage.label_values("__name__", matchers, -(1 << 60), 1 << 60, every))
        if names != {dict(key)["__name__"] for key in keys}:
            yield f"names of label values and of series differ: {names}"

    # parts

    def labels(self, number: int) -> dict[str, str]:
        return labels_of(number)

    def value(self, number: int, ts: int) -> int:
        """The only value that a series has at a time."""
        chance = random.Random(number << 48 ^ ts)
        if self.faults.histograms and number % 3 == 1 and chance.random() < 0.7:
            return token(chance.getrandbits(40))
        return chance.randrange(BOX)

    def _some_series(self) -> list[int]:
        return self.chance.sample(range(self._series), self.chance.randint(1, min(4, self._series)))

    def _submit(self, samples: list[Sample], *, history: bool = False) -> None:
        if not samples:
            return
        storage = self._open()
        for number, ts, value in samples:
            self.newest = max(self.newest, ts)
            assert ts < NOW_S * 1000
            if ts not in self.sure.get(number, {}):
                self.possible.setdefault(number, {})[ts] = value
        series = [labels_of(number) for number in range(self._series)]
        batch = with_starts(with_histograms(make_batch(storage.secret, series, samples)), samples)
        if history:
            batch.history = True
        exemplars = self.exemplars.add(batch, [number for number, _, _ in samples])
        codes = storage.submit(batch).result(0).codes
        self.exemplars.acknowledged(exemplars)
        for (number, ts, value), code in zip(samples, codes.tolist(), strict=True):
            if code != ACCEPTED:
                raise Wrong(f"{number} at {ts}: {REASONS[code]}; newest {self.newest}, last {self.last.get(number)}")
            if (number, ts) not in self.doomed:
                self.possible.get(number, {}).pop(ts, None)
                self.sure.setdefault(number, {})[ts] = value


OPERATIONS: dict[str, tuple[int, Callable[[World], None]]] = {
    "append": (10, World.append),
    "append late": (4, World.append_late),
    "append history": (1, World.append_history),
    "append again": (1, World.append_again),
    "maintain": (8, World.maintain),
    "delete": (2, World.delete),
    "compact": (1, World.compact),
    "clean": (1, World.clean),
    "snapshot": (1, World.snapshot),
    "reopen": (1, World.reopen),
    "read": (4, World.read),
}
"""With how often they are chosen."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the storage's complaints about a disk that fails on purpose."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
