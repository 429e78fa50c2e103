"""Queries that tiers answer exactly: the same as from samples, and the tier is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.promql.tiers.stored import DAY, HOUR, MINUTE, START, differs, stored
from tsdb.promql import Engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with stored() as storage, Engine(storage) as made:
        yield made


EXACT = [
    ("sum_over_time(m_total[1d])", (6,)),
    ("sum_over_time(m_total[9h])", (1,)),
    ("sum_over_time(m_total[90m])", (0,)),
    ("sum_over_time(m_total[1h])", (0,)),
    ("sum_over_time(m_total[1d] offset 1h)", (1,)),
    ("sum_over_time(m_total[1d] offset 30m)", (0,)),
    ("avg_over_time(m_total[2d])", (6,)),
    ("min_over_time(m_total[6h])", (6,)),
    ("max_over_time(m_total[3d])", (6,)),
    ("count_over_time(m_total[1d])", (6,)),
    ("last_over_time(m_total[7h])", (1,)),
    ("first_over_time(m_total[1d])", (6,)),
    ("present_over_time(m_total[1d])", (6,)),
    ("absent_over_time(m_total{n='9'}[1d])", (6,)),
    ("absent_over_time(m_total{n='1'}[12h])", (6,)),
    ("ts_of_first_over_time(m_total[1d])", (6,)),
    ("ts_of_last_over_time(m_total[1d])", (6,)),
    ("rate(m_total[1d])", (6,)),
    ("increase(m_total[5h])", (1,)),
    ("delta(m_total[1d])", (6,)),
    ("resets(m_total[3d])", (6,)),
    ("quantile_over_time(0.5, m_total[6h])", (6,)),
    ("quantile_over_time(0.5, m_total[12h])", (0,)),
    ("quantile_over_time(0.9, m_total[6h])", (0,)),
    ("stddev_over_time(m_total[1d])", (0,)),
    ("irate(m_total[1d])", (0,)),
    ("m_total", (0,)),
    ("sum(rate(m_total[1d])) / sum(increase(m_total[6h])) + count(changes(m_total[1d]))", (0, 6)),
    ("max_over_time(rate(m_total[1h])[1d:1h])", (1,)),
    ("rate(m_total[1d] anchored)", (0,)),
]
"""Queries, and the tiers (hours; 0: samples) that they read at multiples of six hours."""


@pytest.mark.parametrize(("expr", "hours"), EXACT, ids=[row[0] for row in EXACT])
def test_instant(engine: Engine, expr: str, hours: tuple[int, ...]) -> None:
    for at in (START + 4 * DAY, START + 3 * DAY + 12 * HOUR):
        found = engine.query(expr, at)
        assert differs(found, engine.query(expr, at, max_source_resolution_ms=0)) == ""
        assert found.tiers_used == tuple(hour * HOUR for hour in hours)
        assert not [info for info in found.infos if "downsampling" in info]


@pytest.mark.parametrize("expr", [row[0] for row in EXACT])
@pytest.mark.parametrize(("start", "end", "step"), [
    (START - DAY, START + 9 * DAY, 6 * HOUR),
    (START + DAY, START + 9 * DAY, HOUR),
    (START + DAY, START + 8 * DAY, 20 * MINUTE),
], ids=["6h", "1h", "20m"])
def test_ranges(engine: Engine, expr: str, start: int, end: int, step: int) -> None:
    found = engine.query_range(expr, start, end, step)
    plain = engine.query_range(expr, start, end, step, max_source_resolution_ms=0)
    assert differs(found, plain) == ""
    assert plain.tiers_used == (0,)
