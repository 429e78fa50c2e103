"""Late samples through the whole storage: queried, logged, flushed to blocks, opened again."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.storage.batches import make_batch, read
from tsdb.model.batch import ACCEPTED, DUPLICATE, OUT_OF_ORDER, TOO_LATE, TOO_OLD
from tsdb.model.errors import Unavailable
from tsdb.model.native_histograms import BOX
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.block import BlockMeta, write_block
from tsdb.storage.head import head as head_module
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.upkeep import late_blocks
from tsdb.storage.upkeep.late_blocks import ranges
from tsdb.storage.upkeep.retention import Retention

HOUR = 3_600_000
NOW = time.time_ns() // 1_000_000
SERIES = [{"__name__": "m", "n": str(n)} for n in range(5)]
Samples = dict[int, dict[int, int]]


def submit(storage: Storage, samples: list[tuple[int, int, int]], *, history: bool = False) -> list[int]:
    batch = make_batch(storage.secret, SERIES, samples)
    batch.history = history
    codes: list[int] = storage.submit(batch).result(30).codes.tolist()
    return codes


def content(storage: Storage, mint: int = -(1 << 60), maxt: int = 1 << 60) -> Samples:
    found = read(storage, mint=mint, maxt=maxt)
    return {int(dict(labels)["n"]): dict(values) for labels, values in found.items()}


def flush(storage: Storage) -> None:
    """As the maintenance does by itself."""
    maintenance, appender = storage._maintenance, storage._appender
    assert maintenance is not None and appender is not None
    maintenance.do(lambda: maintenance.truncation.run(appender)).result(30)


def test_history_in_any_order(tmp_path: Path) -> None:
    """Of five series, from 400 days ago to now, in batches at random; flushed and opened again in between."""
    chance = random.Random(7)
    model: Samples = {}
    storage = Storage.open(tmp_path)
    for step in range(40):
        start = NOW - chance.choice((1, 30, 400)) * 24 * HOUR + chance.randrange(HOUR)
        batch = [(chance.randrange(5), start + chance.randrange(50) * 60_000, chance.randrange(BOX))
                 for _ in range(chance.choice((1, 30, 300)))]
        codes = submit(storage, batch, history=True)
        assert set(codes) <= {ACCEPTED, DUPLICATE}
        for (n, ts, value), code in zip(batch, codes, strict=True):
            if code == ACCEPTED:
                model.setdefault(n, {}).setdefault(ts, value)
        assert content(storage) == model
        if step % 9 == 8:
            flush(storage)
            assert storage.statistics().late_stored == 0
            assert content(storage) == model
        if step % 15 == 14:
            storage.close()
            storage = Storage.open(tmp_path)
            assert content(storage) == model
    for days in (2, 35, 300):
        mint, maxt = NOW - days * 24 * HOUR, NOW - HOUR
        expected = {n: {t: v for t, v in values.items() if mint <= t <= maxt} for n, values in model.items()}
        assert content(storage, mint, maxt) == {n: values for n, values in expected.items() if values}
    storage.close()


def test_a_window_for_late_samples(tmp_path: Path) -> None:
    """What comes out of order is taken within the window, on top of what is in order, which wins."""
    storage = Storage.open(tmp_path, StorageOptions(late_window_ms=HOUR // 2))
    base = NOW - HOUR
    assert submit(storage, [(0, base, 1), (0, base + 60_000, 2), (1, base, 1)]) == [ACCEPTED] * 3
    minute = 60_000
    assert submit(storage, [
        (0, base + 30_000, 3), (0, base, 9), (0, base + minute, 2), (0, base + minute, 9), (0, base - 28 * minute, 4),
        (0, base - 30 * minute, 5), (2, base - 40 * minute, 6), (2, base - 70 * minute, 7), (2, base - 70 * minute, 7),
    ]) == [ACCEPTED, ACCEPTED, ACCEPTED, DUPLICATE, ACCEPTED, TOO_LATE, ACCEPTED, TOO_LATE, TOO_LATE]
    expected = {0: {base - 28 * minute: 4, base: 1, base + 30_000: 3, base + minute: 2}, 1: {base: 1},
                2: {base - 40 * minute: 6}}
    assert content(storage) == expected
    storage.set_late_window(0)
    assert submit(storage, [(0, base + 31_000, 3), (1, base - 70 * minute, 7)]) == [OUT_OF_ORDER, TOO_OLD]
    statistics = storage.statistics()
    assert (statistics.late_appended, statistics.late_stored) == (3, 3)
    batch = make_batch(storage.secret, SERIES, [(0, base + 32_000, 3)])
    batch.discard_late = True
    storage.set_late_window(HOUR)
    assert storage.submit(batch).result(30).codes.tolist() == [OUT_OF_ORDER]
    assert content(storage) == expected
    storage.close()
    with_log = Storage.open(tmp_path)
    assert content(with_log) == expected
    with_log.close()


def test_flushed_samples_leave_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "LATE_ENOUGH", 1000)
    storage = Storage.open(tmp_path)
    submit(storage, [(0, NOW, 1)])
    expected: Samples = {0: {NOW: 1}}
    for part in range(12):
        batch = [(n, NOW - (400 - 30 * part) * 24 * HOUR + i * 1000, i) for n in range(2) for i in range(200)]
        submit(storage, batch, history=True)
        for n, ts, value in batch:
            expected.setdefault(n, {})[ts] = value
    deadline = time.monotonic() + 30
    while storage.statistics().late_stored > 1000 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert storage.statistics().late_stored <= 1000
    assert content(storage) == expected
    flush(storage)
    assert storage._head.late.through > 0
    storage.close()
    storage = Storage.open(tmp_path)
    assert storage.statistics().late_stored == 0
    assert content(storage) == expected
    storage.close()


def test_a_flush_that_fails_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.open(tmp_path)
    samples = [(n, NOW - day * 24 * HOUR, day) for n in range(3) for day in range(90)]
    submit(storage, samples, history=True)
    expected = content(storage)
    assert expected == {n: {NOW - day * 24 * HOUR: day for day in range(90)} for n in range(3)}
    made: list[BlockMeta] = []

    def fail(*args: Any, **kinds: Any) -> BlockMeta:
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        made.append(write_block(*args, **kinds))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(late_blocks, "write_block", fail)
        with pytest.raises(OSError, match="No space"):
            flush(storage)
    assert not storage._blocks.every
    assert content(storage) == expected
    flush(storage)
    assert len(storage._blocks.every) > 1 and content(storage) == expected
    storage.close()


def test_history_waits_while_blocks_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded: what is more than the store may hold is refused in the end."""
    monkeypatch.setattr(head_module, "LATE_ENOUGH", 100)
    monkeypatch.setattr("tsdb.storage.appender.HISTORY_WAIT_S", 0.2)
    storage = Storage.open(tmp_path)
    submit(storage, [(0, NOW, 1)])
    maintenance = storage._maintenance
    assert maintenance is not None
    monkeypatch.setattr(maintenance.late, "due", lambda: False)  # as if it took very long
    with pytest.raises(Unavailable, match="late samples"):
        for part in range(20):
            submit(storage, [(0, NOW - (part * 100 + i) * HOUR, 1) for i in range(1, 101)], history=True)
    assert storage.statistics().late_stored < 1000
    assert submit(storage, [(0, NOW + 1, 2)]) == [ACCEPTED]
    storage.close()


@pytest.mark.parametrize(("times", "length", "count"), [
    ([0], WINDOW_MS, 1),
    ([-1, 0], WINDOW_MS, 2),
    (range(0, 24 * HOUR, HOUR), WINDOW_MS, 12),
    (range(0, 26 * HOUR, HOUR), 3 * WINDOW_MS, 5),
    (range(0, 365 * 24 * HOUR, HOUR), 243 * WINDOW_MS, 19),
    ([], 0, 0),
])
def test_ranges(times: list[int], length: int, count: int) -> None:
    found = ranges(np.array(times, np.int64))
    assert len(found) == count
    assert all(maxt - mint == length for mint, maxt in found[:-1])
    assert all(mint % length == 0 for mint, _ in found)
    if found:
        assert found[-1][1] - WINDOW_MS <= max(times) < found[-1][1]
    assert all(sum(mint <= t < maxt for mint, maxt in found) == 1 for t in times)


def test_blocks_of_long_ranges_do_not_reach_into_the_future(tmp_path: Path) -> None:
    """Retention counts from the newest sample, wherever the ranges of blocks end."""
    end = NOW // (81 * WINDOW_MS) * 81 * WINDOW_MS + HOUR
    times = [*range(end - 30 * 24 * HOUR, end, HOUR)]
    storage = Storage.open(tmp_path)
    submit(storage, [(1, end, 1)])
    submit(storage, [(0, ts, 1) for ts in times], history=True)
    storage.compact()
    submit(storage, [(1, end + 1000, 1)])
    storage.compact()
    assert max(block.meta.maxt for block in storage._blocks.every) <= end + 2 * HOUR
    storage.set_retention(Retention(time_ms=20 * 24 * HOUR))
    maintenance, appender = storage._maintenance, storage._appender
    assert maintenance is not None and appender is not None
    maintenance.do(lambda: storage._expiry.run(appender)).result(30)
    kept = sorted(content(storage)[0])
    assert times[0] < kept[0] <= end - 20 * 24 * HOUR and kept == [ts for ts in times if ts >= kept[0]]
    storage.close()
