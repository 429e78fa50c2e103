"""Tiers are built, built anew and merged, samples go and are deleted: whenever the process is killed or loses power
meanwhile, the windows that a tier says it has are those of the samples, and no sample goes that no tier has taken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.storage.batches import bits, make_batch, read
from tests.storage.simulator.stepped import open_storage, step, stepped
from tests.storage.tiers.plain import Labels, expected, read_tier
from tests.storage.tiers.test_storage_tiers import DAY, HOUR, RULE, SERIES, START, fill, n_is
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.tiers.rule import TierRule

OPTIONS = StorageOptions(wal_sync="commit", late_window_ms=20 * DAY, tiers=(RULE, TierRule(6 * HOUR, 0)))
Content = dict[Labels, list[tuple[int, int]]]


def build(storage: Storage) -> None:
    step(storage)


def build_anew(storage: Storage) -> None:
    late = [(2, START + 5 * HOUR + 7, bits(1e6)), (1, START + DAY + HOUR, bits(5.0))]
    storage.submit(make_batch(storage.secret, SERIES, late)).result(0)
    storage.compact()


def expire(storage: Storage) -> None:
    fill(storage, 0.5, START + 8 * DAY)
    step(storage)
    step(storage)


def delete(storage: Storage) -> None:
    storage.delete_series([[n_is("2")], [n_is("4")]], START + 5 * HOUR, START + 2 * DAY)
    step(storage)


def check(storage: Storage, before: Content, after: Content, rest: Callable[[Content], Content]) -> None:
    """`before` and `after`: all samples there ever were; `rest`: without what was being deleted."""
    tiers, samples = storage.tiers(), read(storage)
    for labels, own in samples.items():
        assert set(own) <= set(after[labels])
    for labels, own in rest(before).items():
        assert {each for each in own if each[0] >= tiers.raw_from} <= set(samples.get(labels, []))
    for tier in tiers.tiers:
        for begin, end in tier.spans:
            found = read_tier(storage, tier.resolution_ms, mint=begin + 1, maxt=end)
            everything = samples if tiers.raw_from < START else before if end < START + 8 * DAY else after
            wanted = {labels: {at: each for at, each in own.items() if at > begin}
                      for labels, own in expected(everything, tier.resolution_ms, end).items()}
            assert found == {labels: own for labels, own in wanted.items() if own}
        if tiers.raw_from > START:
            assert any(begin < START and end >= tiers.raw_from - tier.resolution_ms for begin, end in tier.spans)


@pytest.mark.parametrize("most", [3, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cut", ["kill", "power"])
@pytest.mark.parametrize("act", [build, build_anew, expire, delete])
def test_crashes(act: Callable[[Storage], None], cut: str, most: int) -> None:
    options = OPTIONS if act is not expire else StorageOptions(wal_sync="commit", tiers=OPTIONS.tiers,
                                                               retention_ms=5 * DAY)
    with stepped(7):
        base = SimulatedFileSystem()
        storage = open_storage(base, options)
        fill(storage, 2.3, series=SERIES[:5])
        if act in (build_anew, delete):
            step(storage)
        before: Content = read(storage)
        base = base.copy()

        def rest(content: Content) -> Content:
            if act is not delete:
                return content
            return {labels: left for labels, own in content.items()
                    if (left := [(ts, value) for ts, value in own if dict(labels)["n"] not in "24"
                                 or not START + 5 * HOUR <= ts <= START + 2 * DAY])}

        whole = base.copy()
        storage = open_storage(whole, options)
        first = len(whole.operations)
        act(storage)
        after = merged(before, read(storage))
        check(storage, rest(after), rest(after), rest)
        done = whole.operations[first:]
        begun = next(number for number, operation in enumerate(done) if "tiers" in operation.path.parts)
        concerned = [number for number, operation in enumerate(done)
                     if number >= begun and {"tiers", "blocks"} & {*operation.path.parts}]
        for number in concerned[cut == "power" :: -(-len(concerned) // most)]:
            fs = base.copy().with_chance(number)
            storage = open_storage(fs, options)
            fs.kill_at = len(fs.operations) + number
            with suppress(Killed):
                act(storage)
            fs = fs.killed() if cut == "kill" else fs.power_cut()
            storage = open_storage(fs, options)
            check(storage, before, after, rest)
            step(storage)
            check(storage, before, after, rest)


def merged(one: Content, other: Content) -> dict[Labels, list[tuple[int, int]]]:
    return {labels: sorted({*one.get(labels, []), *other.get(labels, [])}) for labels in {**one, **other}}


