"""Queries that read from several sources, or from one that is asked for; and what is told of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.promql.tiers.stored import DAY, DAYS, HOUR, MINUTE, START, differs, stored
from tests.promql.tiers.test_exact_tiers import EXACT
from tsdb.model.context import RequestContext
from tsdb.model.errors import TiersChanged
from tsdb.model.tiles import Capture, Selection
from tsdb.promql import Engine, EngineOptions
from tsdb.storage import Storage


@pytest.fixture(scope="module")
def storages() -> Iterator[tuple[Storage, Storage]]:
    """With samples of a few days, and with all of them."""
    with stored(2, raw_days=3) as expired, stored(2, upkeep=False) as whole:
        yield expired, whole


@pytest.fixture(scope="module")
def engines(storages: tuple[Storage, Storage]) -> Iterator[tuple[Engine, Engine]]:
    with Engine(storages[0]) as expired, Engine(storages[1]) as full:
        yield expired, full


INEXACT = ("[90m]", "30m", "0.5, m_total[12h]", "0.9", "stddev", "irate", "anchored", "changes", "0.5, m_total[6h]")
STITCHED = [expr for expr, _ in EXACT if expr != "m_total" and not any(part in expr for part in INEXACT)]


@pytest.mark.parametrize("expr", [
    *STITCHED,
    "max_over_time(sum(rate(m_total[1h]))[6d:1h])",
    "scalar(sum(increase(m_total[6h])))",
    "sum(increase(m_total[6h] @ end())) + sum(increase(m_total[6h]))",
    "topk(2, sum_over_time(m_total[6h]))",
])
def test_all_steps_are_as_of_samples(engines: tuple[Engine, Engine], expr: str) -> None:
    expired, full = engines
    start, end = START - DAY, START + (DAYS + 1) * DAY
    found = expired.query_range(expr, start, end, HOUR)
    assert differs(found, full.query_range(expr, start, end, HOUR)) == ""
    assert not found.infos or "may not be a counter" in str(found.infos)
    assert found.tiers_used[0] == 0 and len(found.tiers_used) >= 2


@pytest.mark.parametrize("expr", ["m_total", "timestamp(m_total)", "absent(m_total{n='1'})", "sum(m_total) + 1",
                                  "avg_over_time(m_total[1d:6h])"])
def test_selectors_with_a_long_lookback(engines: tuple[Engine, Engine], expr: str) -> None:
    for start in (START - 6 * HOUR, START + 5 * DAY):
        one, other = (engine.query_range(expr, start, start + 3 * DAY, 6 * HOUR, None, 6 * HOUR) for engine in engines)
        assert differs(one, other) == "" and one.infos == [] and HOUR * 6 in one.tiers_used


def test_a_tier_can_be_asked_for(engines: tuple[Engine, Engine]) -> None:
    engine, at = engines[0], START + (DAYS - 1) * DAY - 3 * HOUR
    for most, used in ((0, 0), (5 * MINUTE, HOUR), (HOUR, HOUR), (6 * HOUR - 1, HOUR), (DAY, 6 * HOUR)):
        assert engine.query("m_total", at - 3 * DAY, max_source_resolution_ms=most).tiers_used == (used,)
    wanted = engine.query_range("rate(m_total[10m])", at - 4 * DAY, at + 2 * DAY, 10 * MINUTE,
                                max_source_resolution_ms=HOUR)
    assert wanted.tiers_used == (0, HOUR), "at the end there are no windows"
    assert "PromQL info: read from the downsampling tier 1h: a range of 10m is that of one window (1:6)" in wanted.infos
    fresh = engine.query("m_total", START + DAYS * DAY, max_source_resolution_ms=DAY)
    assert fresh.tiers_used == (0,) and fresh.infos == [], "no tier has that yet"


def test_samples_of_each_step_are_counted(engines: tuple[Engine, Engine]) -> None:
    start, end = START + DAY, START + DAYS * DAY - HOUR
    counts = []
    for engine in engines:
        context = RequestContext()
        steps = (end - start) // HOUR + 1
        context.statistics.by_step = np.zeros(steps, np.int64)
        engine.query_range("sum(rate(m_total[2h]))", start, end, HOUR, context)
        counts.append(context.statistics.by_step)
    assert (counts[0] > 0).all() and counts[0][0] <= 2 * 4 < counts[1][0]
    assert (counts[0][-12:] == counts[1][-12:]).all(), "samples at the end"


def test_an_explanation_names_the_tiers(engines: tuple[Engine, Engine]) -> None:
    found = engines[0].query_range("sum(rate(m_total[1h]))", START + HOUR, START + DAYS * DAY, HOUR, explain=True)
    assert found.explanation is not None
    tree = found.explanation.as_dict()
    assert tree["node"] == "parts of the steps that read from different sources, side by side"
    parts = tree["children"]
    assert isinstance(parts, list)
    selectors = [part["children"][0]["children"][0] for part in parts]
    assert [each["tier"] for each in selectors] == ["1h", "raw"]
    assert sum(part["steps"] for part in parts) == tree["steps"] == found.times.size
    assert selectors[0]["sources"][0].startswith("tier 1h ")


class Restless:
    """Tiers change whenever they are asked for, so many times."""

    def __init__(self, storage: Storage, changes: int) -> None:
        self._storage, self.changes = storage, changes
        for name in ("tiers", "label_names", "label_values", "series"):
            setattr(self, name, getattr(storage, name))

    def capture(self, selections: Sequence[Selection], context: RequestContext) -> Capture:
        self.changes -= 1
        if self.changes >= 0:
            raise TiersChanged("they changed")
        return self._storage.capture(selections, context)


def test_plans_are_made_anew(storages: tuple[Storage, Storage]) -> None:
    with Engine(Restless(storages[0], 2)) as engine:  # type: ignore[arg-type]
        assert engine.query("count(rate(m_total[1d]))", START + 2 * DAY).tiers_used == (6 * HOUR,)
    with Engine(Restless(storages[0], 99)) as engine, pytest.raises(TiersChanged):  # type: ignore[arg-type]
        engine.query("count(rate(m_total[1d]))", START + 2 * DAY)


def test_start_timestamps_are_no_part_of_tiers(storages: tuple[Storage, Storage]) -> None:
    with Engine(storages[1]) as plain, Engine(storages[0], EngineOptions(use_start_timestamps=True)) as engine:
        at = START + 6 * DAY
        found = engine.query("rate(m_total[1d])", at)
        assert found.tiers_used == (0,) and differs(found, plain.query("rate(m_total[1d])", at)) == ""
        found = engine.query("rate(m_total[1d])", START + DAY)
        assert found.tiers_used == (HOUR,) and "start timestamps are not kept (1:6)" in found.infos[0]
