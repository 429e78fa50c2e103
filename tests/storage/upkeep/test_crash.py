"""Everything is compacted: whenever the process is killed or loses power meanwhile, all samples are there, once."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.storage.batches import make_batch, read
from tests.storage.simulator.stepped import FOLDER, open_storage, stepped
from tests.wal.simulated import Killed, SimulatedFileSystem
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX
from tsdb.storage import Storage, StorageOptions

HOUR = 3_600_000
SERIES = [{"__name__": "m", "n": str(n)} for n in range(4)]
OPTIONS = StorageOptions(wal_sync="commit", late_window_ms=5 * HOUR)
Samples = dict[tuple[tuple[str, str], ...], list[tuple[int, int]]]
START = 1_600_000_000_000 // (6 * HOUR) * 6 * HOUR


def fill(storage: Storage) -> None:
    """Seven hours, with late samples and deletes; in the middle all is compacted for the first time."""
    chance = random.Random(1)
    clocks = [START] * len(SERIES)
    for k in range(30):
        batch = []
        for n in range(4 if k < 20 else 2):
            for _ in range(8):
                clocks[n] += chance.randint(1, 200_000)
                batch.append((n, clocks[n], chance.randrange(BOX)))
        if k % 5 == 4:
            batch.append((k % 4, clocks[0] - 2 * HOUR - k, k))
        assert storage.submit(make_batch(storage.secret, SERIES, batch)).result(0).accepted == len(batch)
        if k == 12:
            storage.compact()
        if k in (8, 22):
            storage.delete_series([[Matcher(MatchType.EQUAL, "n", "1")]], clocks[1] - HOUR, clocks[1] - HOUR // 2)


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cut", ["kill", "power"])
def test_killed_while_everything_is_compacted(cut: str, step: int) -> None:
    with stepped(1):
        base = SimulatedFileSystem()
        storage = open_storage(base, OPTIONS)
        fill(storage)
        expected: Samples = read(storage)
        storage.compact()
        assert read(storage) == expected
        ranges = [(block.meta.mint - START) // (6 * HOUR) for block in storage._blocks.every]
        assert ranges == [-1, 0, 1], "as few blocks as there are ranges"
        base = SimulatedFileSystem()
        fill(open_storage(base, OPTIONS))
        base = base.copy()
        storage = open_storage(whole := base.copy(), OPTIONS)
        first = len(whole.operations)
        storage.compact()
        count = len(whole.operations) - first
        assert count > 100
        for number in range(0 if cut == "kill" else step // 2, count, step):
            fs = base.copy().with_chance(number)
            storage = open_storage(fs, OPTIONS)
            fs.kill_at = len(fs.operations) + number
            with suppress(Killed):
                storage.compact()
            last = fs.operations[-1]
            fs = fs.killed() if cut == "kill" else fs.power_cut()
            storage = open_storage(fs, OPTIONS)
            assert read(storage) == expected, f"killed at operation {number}, {last}"
            names = {block.path.name for block in storage._blocks.every}
            assert {path.parts[3] for path in fs.paths() if FOLDER / "blocks" in path.parents} == names


def test_samples_after_everything_was_compacted() -> None:
    """In order they go into the head, before its border they are late; none is refused."""
    with stepped(2):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage)
        storage.compact()
        expected = read(storage)
        newest = storage._head.max_ts
        sent = [(3, newest - 1, 7), (0, newest + 1, 1), (1, newest, 2), (1, newest + 2, 3), (2, newest - HOUR // 2, 4)]
        known = {n: max(ts for ts, _ in samples) for n, samples in enumerate(expected.values())}
        batch = make_batch(storage.secret, SERIES, [each for each in sent if each[1] > known[each[0]]])
        assert storage.submit(batch).result(0).codes.tolist() == [0] * batch.samples
        for n, ts, value in sent:
            if ts > known[n]:
                expected.setdefault(tuple(sorted(SERIES[n].items())), []).append((ts, value))
        assert read(storage) == expected
        assert read(open_storage(fs.killed(), OPTIONS)) == expected
        storage.compact()
        storage.compact()
        assert read(storage) == expected
        assert read(open_storage(fs.killed(), OPTIONS)) == expected
        lowest = storage.statistics().lowest_ts
        assert lowest is not None
        assert 0 <= min(ts for samples in expected.values() for ts, _ in samples) - lowest < 2 * HOUR
