"""The reference store is killed at any file operation, and its recovery too; then its content is compared.

Always: nothing is there that nobody wrote, series are in order, and it starts again. After a killed process, and after
a power cut in mode `commit`: every acknowledged sample is there, and a commit that was under way is there whole or not
at all. After a power cut in mode `interval`: what was acknowledged before the last sync. `test_a_mistake_is_noticed`
shows that these checks see a sync left out or a step in the wrong order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.wal.reference_store import DATA, GRACE, Mistakes, ReferenceStore, Sample
from tests.wal.simulated import Killed, Operation, SimulatedFileSystem
from tsdb.wal import Sync, WalOptions

Lie = Callable[[Operation], bool]


def make_workload() -> list[list[Sample]]:
    """Commits of several series, of which some come late and some lag behind; repeated samples among them."""
    chance = random.Random(7)
    commits: list[list[Sample]] = []
    newest: dict[str, int] = {}
    now = 0
    for number in range(44):
        now += chance.randint(2, 6)
        commit = []
        for name in ("a", "b", "lagging", f"new{number // 9}"):
            lag = chance.randint(0, GRACE - 4) if name == "lagging" else 0
            ts = max(0, now - lag)
            if ts > newest.get(name, -1):
                commit.append((name, ts, ts * 1000 + number))
                newest[name] = ts
        if number % 5 == 4 and commits[-1]:
            commit.insert(0, commits[-1][-1])
        commits.append(commit)
    return commits


WORKLOAD = make_workload()


@dataclass
class Ledger:
    """What the client knows."""

    started: dict[tuple[str, int], int] = field(default_factory=dict)
    acknowledged: dict[tuple[str, int], int] = field(default_factory=dict)
    synced: dict[tuple[str, int], int] = field(default_factory=dict)
    done: int = 0
    """Commits acknowledged."""


def options(mode: Sync) -> WalOptions:
    return WalOptions(sync=mode, sync_interval_s=0, segment_bytes=400)


def run(store: ReferenceStore, ledger: Ledger, until: int = len(WORKLOAD)) -> None:
    while ledger.done < until:
        samples = {(key, ts): value for key, ts, value in WORKLOAD[ledger.done]}
        ledger.started |= samples
        store.commit(WORKLOAD[ledger.done])
        ledger.acknowledged |= samples
        ledger.done += 1
        if ledger.done % 4 == 0:
            store.sync()
            ledger.synced |= ledger.acknowledged
        store.maintain()


def check(store: ReferenceStore, ledger: Ledger, mode: Sync, *, power: bool) -> None:
    found = {(key, ts): value for key, samples in store.content().items() for ts, value in samples}
    for key, samples in store.content().items():
        times = [ts for ts, _ in samples]
        assert times == sorted(set(times)), f"series {key} is out of order: {times}"
    assert found.items() <= ledger.started.items(), "samples that nobody wrote"
    safe = mode == "commit" or not power
    needed = ledger.acknowledged if safe else ledger.synced if mode == "interval" else {}
    assert needed.items() <= found.items(), f"lost: {sorted(needed.keys() - found.keys())}"
    if safe:
        under_way = ledger.started.keys() - ledger.acknowledged.keys()
        assert under_way <= found.keys() or not under_way & found.keys(), "half a commit"


def crash(fs: SimulatedFileSystem, *, power: bool) -> SimulatedFileSystem:
    return fs.power_cut() if power else fs.killed()


def scenario(mode: Sync, kill_at: int, seed: int, *, power: bool, lie: Lie = lambda _: False,
             mistakes: Mistakes | None = None) -> None:
    """One life, its end, a recovery that may be killed, another, some more life, another end."""
    chance = random.Random(f"{mode} {kill_at} {seed} {power}")
    fs = SimulatedFileSystem(kill_at=kill_at, chance=chance, lies=lie)
    ledger = Ledger()
    with pytest.raises(Killed):
        run(ReferenceStore(fs, options(mode), mistakes), ledger)
    fs = crash(fs, power=power)
    any_power = power
    for _ in range(chance.randint(0, 2)):
        fs.kill_at = chance.randint(0, 5)
        try:
            ReferenceStore(fs, options(mode), mistakes)
        except Killed:
            any_power |= (cut := chance.random() < 0.5)
            fs = crash(fs, power=cut)
    fs.kill_at = -1
    store = ReferenceStore(fs, options(mode), mistakes)
    check(store, ledger, mode, power=any_power)
    if any_power and mode != "commit":  # what came through is the new truth
        found = {(key, ts): value for key, samples in store.content().items() for ts, value in samples}
        ledger.acknowledged, ledger.synced = dict(found), dict(found)
    run(store, ledger, until=min(len(WORKLOAD), ledger.done + chance.randint(0, 8)))
    power = mode == "commit" or chance.random() < 0.3
    store = ReferenceStore(crash(fs, power=power), options(mode), mistakes)
    check(store, ledger, mode, power=power)


def every_operation(mode: Sync, *, power: bool, seeds: int, share: float = 1, lie: Lie = lambda _: False,
                    mistakes: Mistakes | None = None) -> int:
    """Runs `scenario` for each operation of the workload, or a share of them, in random order. Returns how many."""
    fs = SimulatedFileSystem(lies=lie)
    run(ReferenceStore(fs, options(mode), mistakes), Ledger())
    count = round(share * len(fs.operations))
    for kill_at in random.Random(1).sample(range(len(fs.operations)), count):
        for seed in range(seeds):
            scenario(mode, kill_at, seed, power=power, lie=lie, mistakes=mistakes)
    return count


def test_the_workload_reaches_everything() -> None:
    fs = SimulatedFileSystem()
    ledger = Ledger()
    store = ReferenceStore(fs, options("commit"))
    run(store, ledger)
    names = {(operation.name, operation.path.parent.name) for operation in fs.operations}
    assert {("rename", "wal"), ("unlink", "wal"), ("datasync", "chunks"), ("sync_directory", "data")} <= names
    assert sum(operation.name == "rename" for operation in fs.operations) >= 3
    assert store.border > 0
    check(store, ledger, "commit", power=False)


@pytest.mark.parametrize("share", [0.25, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["commit", "interval", "os"])
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power cut"])
def test_killed_at_any_operation(mode: Sync, power: bool, share: float) -> None:
    """A quarter of the operations; with -m slow every single one."""
    assert every_operation(mode, power=power, seeds=1, share=share) > share * 100


def in_wal(operation: Operation) -> bool:
    return operation.path.parent == DATA / "wal"


LIES: dict[str, Lie] = {
    "log not synced": lambda operation: operation.name == "datasync" and in_wal(operation),
    "chunk files not synced": lambda operation: operation.name == "datasync" and not in_wal(operation),
    "names of chunk files not synced": lambda operation: operation.name == "sync_directory" and not in_wal(operation),
    "checkpoint not synced": lambda operation: operation.name == "datasync" and operation.path.suffix == ".tmp",
    "names in the log not synced": lambda operation: operation == Operation("sync_directory", DATA / "wal"),
}


class NoSyncAfterRename:
    """The checkpoint's name is not synced; other names are."""

    def __init__(self) -> None:
        self._renamed = False

    def __call__(self, operation: Operation) -> bool:
        lie = self._renamed and operation.name == "sync_directory"
        self._renamed = operation.name == "rename"
        return lie


MISTAKES: list[tuple[str, Sync, bool, Lie, Mistakes]] = [
    *((name, "commit", True, lie, Mistakes()) for name, lie in LIES.items()),
    ("no sync after the rename", "commit", True, NoSyncAfterRename(), Mistakes()),
    ("chunks sealed after the log was cut", "commit", True, lambda _: False, Mistakes(drop_before_seal=True)),
    ("open chunks forgotten", "os", False, lambda _: False, Mistakes(forget_open_chunks=True)),
    ("log cut too far", "os", False, lambda _: False, Mistakes(border_without_seal=True)),
    ("replay skips by series, not by window", "commit", True, lambda _: False, Mistakes(skip_by_series=True)),
]


@pytest.mark.parametrize(("mode", "power", "lie", "mistakes"), [row[1:] for row in MISTAKES],
                         ids=[row[0] for row in MISTAKES])
def test_a_mistake_is_noticed(mode: Sync, power: bool, lie: Lie, mistakes: Mistakes) -> None:
    with pytest.raises(AssertionError, match=r"lost: |half a commit|nobody wrote|out of order"):
        every_operation(mode, power=power, seeds=4, lie=lie, mistakes=mistakes)


def test_what_a_replay_served_is_synced_before_it_is_built_upon() -> None:
    """Killed between write and sync, the commit is replayed; sent again it is a duplicate, acknowledged unlogged."""
    outcomes = []
    for forgetful in (False, True):
        fs = SimulatedFileSystem()
        store = ReferenceStore(fs, options("commit"))
        store.commit([("a", 1, 1)])
        fs.kill_at = len(fs.operations) + 1
        with pytest.raises(Killed):
            store.commit([("a", 2, 2)])
        fs = fs.killed()
        fs.lies = (lambda operation: operation.name == "datasync") if forgetful else (lambda _: False)
        store = ReferenceStore(fs, options("commit"))
        assert store.content() == {"a": [(1, 1), (2, 2)]}
        store.commit([("a", 2, 2)])
        survived = [len(ReferenceStore(fs.with_chance(seed).power_cut(), options("commit")).content()["a"])
                    for seed in range(20)]
        outcomes.append(min(survived))
    assert outcomes == [2, 1]


def test_a_ref_in_a_chunk_file_is_not_used_again() -> None:
    """A chunk may survive a power cut that the log records naming its series did not."""
    inherited = []
    for mistakes in (Mistakes(), Mistakes(refs_from_log_only=True)):
        wrong = 0
        for seed in range(40):
            fs = SimulatedFileSystem(chance=random.Random(seed))
            store = ReferenceStore(fs, options("interval"), mistakes)
            store.commit([("a", ts, ts) for ts in (1, 2, 3)])
            fs = fs.power_cut()
            store = ReferenceStore(fs, options("interval"), mistakes)
            store.commit([("b", 9, 9)])
            store = ReferenceStore(fs.killed(), options("interval"), mistakes)
            wrong += store.content()["b"] != [(9, 9)]
        inherited.append(wrong)
    assert inherited[0] == 0
    assert inherited[1] > 0
