"""What is left when samples have expired: exact where it can be, and told where it is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.promql.tiers.stored import DAY, DAYS, HOUR, MINUTE, START, differs, stored
from tests.promql.tiers.test_exact_tiers import EXACT
from tsdb.promql import Engine


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    """Over samples of a few days, and over all of them."""
    with (stored(raw_days=3) as storage, stored(upkeep=False) as whole,
          Engine(storage) as expired, Engine(whole) as full):
        tiers = storage.tiers()
        assert START + 2 * DAY < tiers.raw_from <= START + 4 * DAY
        assert START + 5 * DAY <= tiers.tiers[0].spans[-1][1] <= START + 6 * DAY
        yield expired, full


def test_what_is_exact(engines: tuple[Engine, Engine]) -> None:
    expired, full = engines
    told = []
    for expr, _ in EXACT:
        for at in (START + 2 * DAY, START + DAYS * DAY - HOUR, START + (DAYS + 1) * DAY):
            found = expired.query(expr, at)
            if found.infos:
                assert all(info.startswith("PromQL info: read from the downsampling tier 1h: ") for info in found.infos)
                told.append((expr, (at - START) // DAY))
            else:
                assert differs(found, full.query(expr, at)) == "", (expr, at)
    inexact = ("[90m]", "30m)", "0.5, m_total[12h]", "0.9", "stddev", "irate", "anchored", "changes")
    assert told == [(expr, 2) for expr, _ in EXACT if expr == "m_total" or any(part in expr for part in inexact)]


TEXTS = [
    ("m_total", 0, ["the lookback is 1h (1:1)"]),
    ("timestamp(m_total)", 0, ["the lookback is 1h (1:11)"]),
    ("sum by (n) (rate(m_total[5m]))", 0, ["a range of 5m is that of one window (1:18)"]),
    ("rate(m_total[90m])", 0, ["a range of 1h30m is extended to whole windows (1:6)"]),
    ("rate(m_total[2h])", 20 * MINUTE,
     ["evaluation times are not multiples of 1h, and only windows that are over count (1:6)"]),
    ("deriv(m_total[2h])", 0, ["deriv needs samples, and gets the last one of each window (1:7)"]),
    ("irate(m_total[5m])", 0, ["irate needs samples, and gets the last one of each window (1:7)",
                               "a range of 5m is that of one window (1:7)"]),
    ("m_total[3h]", 0, ["a range vector needs samples, and gets the last one of each window (1:1)"]),
]


@pytest.mark.parametrize(("expr", "later", "infos"), TEXTS, ids=[row[0] for row in TEXTS])
def test_what_is_told(engines: tuple[Engine, Engine], expr: str, later: int, infos: list[str]) -> None:
    found = engines[0].query(expr, START + DAY + later)
    assert found.infos == [f"PromQL info: read from the downsampling tier 1h: {info}" for info in infos]
    assert found.tiers_used == (HOUR,) and found.series is not None and len(found.series) >= 3
