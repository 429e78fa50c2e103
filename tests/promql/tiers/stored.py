"""A storage with tiers of an hour and of six, and queries over it with and without them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.storage.batches import bits, make_batch
from tests.storage.simulator.stepped import open_storage, step, stepped
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import STALE_NAN
from tsdb.promql.result import QueryResult
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.upkeep.retention import Retention

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_600_000_000_000 // (4 * DAY) * 4 * DAY
SERIES = [{"__name__": "m_total", "n": str(n)} for n in range(4)]
DAYS = 7
RULES = (TierRule(HOUR, 0), TierRule(6 * HOUR, 0, (), (0.5,)))


@contextmanager
def stored(seed: int = 1, raw_days: int = 0, *, upkeep: bool = True) -> Iterator[Storage]:
    """A storage with counters that begin anew, gaps and stale markers over `DAYS` days, each 7 minutes or so, and one
    that is new. Where `raw_days` is not 0, older samples have expired. Without `upkeep` there is no tier."""
    with stepped(seed):
        storage = open_storage(SimulatedFileSystem(), StorageOptions(late_window_ms=DAY, tiers=RULES))
        chance = random.Random(seed)
        series = [*SERIES, {"__name__": "m_total", "n": "new"}]
        now = [0.0] * len(series)
        batch = []
        for at in range(START + 1, START + DAYS * DAY, 7 * MINUTE):
            for row in range(len(series)):
                day, hour = (at - START) // DAY, (at - START) // HOUR
                if (row == 1 and day in (2, 3)) or (row == 2 and hour % 5 < 2) or (row == 4 and day < DAYS - 1):
                    continue
                now[row] = 0.0 if chance.random() < 0.01 else now[row] + chance.randrange(100)
                stale = chance.random() < 0.03
                batch.append((row, at + chance.randrange(1000) * (row % 2), STALE_NAN if stale else bits(now[row])))
        submitted = storage.submit(make_batch(storage.secret, series, batch)).result(0)
        assert submitted.accepted == len(batch)
        if raw_days:
            storage.set_retention(Retention(raw_days * DAY))
            step(storage)
            step(storage)
        elif upkeep:
            storage.compact()
        yield storage


def differs(one: QueryResult, other: QueryResult) -> str:
    """How two results are not the same; "" if they are, to 1e-9."""
    found = []
    for each in (one, other):
        assert each.series is not None
        rows = {}
        for row in range(len(each.series)):
            labels = tuple(sorted(each.series.labels(row).items()))
            rows[labels] = np.where(each.present[row], each.values[row], np.inf)
        found.append(rows)
    left, right = found
    if left.keys() != right.keys():
        return f"series {left.keys() ^ right.keys()}"
    for labels, values in left.items():
        same = np.isclose(values, right[labels], rtol=1e-9, atol=1e-9, equal_nan=True)
        if not same.all():
            at = int(np.flatnonzero(~same)[0])
            return f"{labels} at step {at} of {same.size}: {values[at]!r} is not {right[labels][at]!r}"
    return ""
