"""Whatever the samples are, windows give what they give: random series, resolutions, ranges, offsets and steps."""

from __future__ import annotations

import math
import random

import pytest

from tests.promql.tiers.stored import differs
from tests.storage.batches import bits, make_batch
from tests.storage.simulator.stepped import open_storage, stepped
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import STALE_NAN
from tsdb.promql import Engine
from tsdb.storage import StorageOptions
from tsdb.storage.tiers.rule import TierRule

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_600_000_000_000 // DAY * DAY
FUNCTIONS = [
    "sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time",
    "first_over_time", "present_over_time", "absent_over_time", "rate", "increase", "delta", "resets",
    "ts_of_first_over_time", "ts_of_last_over_time",
]
ABOVE = ["{}", "sum({})", "max by (kind) ({})", "count({}) / 2", "topk(2, {})", "sum(max_over_time({}[{sub}:{step}]))"]
ODD = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e6, -1e6, 1 / 3]
"""None so large that what it is added to is lost: then the order of additions, which windows change, decides."""


def value(chance: random.Random, kind: str, before: float) -> float:
    if kind == "counter":
        return float(chance.randrange(5)) if chance.random() < 0.02 else before + chance.randrange(1000) / 8
    if kind == "odd" and chance.random() < 0.1:
        return chance.choice(ODD)
    return chance.uniform(-1e3, 1e3)


def run(seed: int, queries: int) -> None:
    chance = random.Random(seed)
    resolution = chance.choice([MINUTE, 5 * MINUTE, 20 * MINUTE, HOUR, 6 * HOUR])
    days = min(4.0, 60 * resolution / DAY)
    rule = TierRule(resolution, 0, (), (0.25,))
    series = [{"__name__": "m", "kind": kind, "n": str(n)} for kind in ("counter", "gauge", "odd") for n in range(3)]
    with stepped(seed):
        storage = open_storage(SimulatedFileSystem(), StorageOptions(late_window_ms=10 * DAY, tiers=(rule,)))
        batch = []
        for row, labels in enumerate(series):
            # of some series there are many samples in a window, of others one in many windows
            interval = max(1000, int(resolution * chance.choice([0.02, 0.3, 1, 3.1])))
            at, now = START + chance.randrange(interval), 0.0
            while at < START + days * DAY:
                now = value(chance, labels["kind"], 0.0 if math.isnan(now) else now)
                batch.append((row, at, STALE_NAN if chance.random() < 0.03 else bits(now)))
                at += chance.choice([interval, interval, chance.randrange(1, 2 * interval), 7 * interval])
        assert storage.submit(make_batch(storage.secret, series, batch)).result(0).accepted == len(batch)
        storage.compact()
        assert storage.tiers().tiers[0].spans
        used = 0
        with Engine(storage) as engine:
            for _ in range(queries):
                width = resolution * chance.choice([1, 2, 3, 12, 50])
                function = chance.choice(FUNCTIONS)
                offset = resolution * chance.choice([0, 0, 0, 1, 5])
                inner = f"{function}(m[{width}ms]{f' offset {offset}ms' if offset else ''})"
                if chance.random() < 0.1:
                    inner = f"quantile_over_time(0.25, m[{resolution}ms])"
                elif chance.random() < 0.1:
                    inner = chance.choice(["m", "timestamp(m)"])
                expr = chance.choice(ABOVE).replace("{}", inner)
                expr = expr.replace("{sub}", f"{10 * resolution}ms").replace("{step}", f"{resolution}ms")
                start = START + resolution * chance.randrange(-2, int(days * DAY // resolution) + 3)
                step = resolution * chance.choice([1, 1, 2, 24])
                end = start + step * chance.randrange(1, 40)
                lookback = resolution * chance.choice([1, 2])
                wanted = engine.query_range(expr, start, end, step, None, lookback, max_source_resolution_ms=0)
                for resolution_ms in (None, resolution):
                    found = engine.query_range(expr, start, end, step, None, lookback,
                                               max_source_resolution_ms=resolution_ms)
                    problem = differs(found, wanted)
                    assert not problem, f"seed {seed}, {resolution_ms}: {expr} {start} {end} {step}: {problem}"
                    assert not [info for info in found.infos if "downsampling" in info], found.infos
                    used += resolution in found.tiers_used
        assert used > queries / 2, f"tiers were read {used} times by {queries} queries, each asked twice"
        storage.close()


@pytest.mark.parametrize("seed", range(4))
def test_windows_answer_as_samples_do(seed: int) -> None:
    run(seed, 30)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(100, 160))
def test_more_windows_answer_as_samples_do(seed: int) -> None:
    run(seed, 60)
