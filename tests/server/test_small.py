"""Which queries are answered on the event loop."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.storage.batches import bits, make_batch
from tsdb.server.api.small import SmallQueries
from tsdb.storage import Storage

HOUR = 3_600_000
NOW = int(time.time() * 1000)
LOOKBACK = 300_000


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    opened = Storage.open(tmp_path_factory.mktemp("data"))
    series = [{"__name__": "m", "host": f"h{n}", "job": "a"} for n in range(1500)]
    series += [{"__name__": "few", "host": f"h{n}"} for n in range(10)]
    series += [{"row": f"r{n // 22}", "column": f"c{n % 22}"} for n in range(22 * 22)]
    samples = [(row, NOW, bits(1.0)) for row in range(len(series))]
    opened.submit(make_batch(opened.secret, series, samples)).result(30)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("expr", "span", "step", "small"),
    [
        ("1 + 1", 0, 0, True),
        ('m{host="h7"}', 0, 0, True),
        ('m{host="h7"}', HOUR, 60_000, True),
        ('m{host="h7"}', 1000 * HOUR, HOUR, False),
        ('sum by (job) (rate(m{host="h7"}[5m]))', HOUR, 60_000, True),
        ('rate(m{host="h7"}[5000h])', 0, 0, False),
        ("few", 0, 0, True),
        ("few - few", 0, 0, True),
        ("few", 20 * HOUR, 60_000, False),
        ("nothing_of_this_name", HOUR, 60_000, True),
        ('{row="r7"}', 0, 0, True),
        ('{row="r7"}', 2 * HOUR, 60_000, False),
        ('{row="r7", column="c3"}', 2 * HOUR, 60_000, True),
        ("m", 0, 0, False),
        ('m{host=~"h7"}', 0, 0, False),
        ('{host="h7"}', 0, 0, True),
        ('{host!="h7"}', 0, 0, False),
        ("1", 100_000 * HOUR, 1000, False),
        ("max_over_time(few[1m:1s])", 0, 0, False),
        ("quantile_over_time(0.5, few[1m])", 0, 0, False),
        ("few @ 1", 0, 0, False),
        ("few offset -1h", 0, 0, False),
        ("few{", 0, 0, False),
        ("few + " * 100 + "few", 0, 0, False),
    ],
)
def test_what_is_small(storage: Storage, expr: str, span: int, step: int, small: bool) -> None:
    queries = SmallQueries()
    assert not queries.is_small(storage, expr, NOW - span, NOW, step, LOOKBACK), "not before kernels are loaded"
    queries.ready = True
    assert queries.is_small(storage, expr, NOW - span, NOW, step, LOOKBACK) == small


def test_series_are_counted_or_known_to_be_too_many(storage: Storage) -> None:
    from tsdb.model.matchers import Matcher, MatchType

    def at_most(*pairs: tuple[str, str]) -> int:
        return storage.series_at_most([Matcher(MatchType.EQUAL, name, value) for name, value in pairs], 100, NOW)

    assert at_most(("__name__", "m"), ("host", "h7")) <= 2
    assert at_most(("__name__", "few")) >= 10
    assert at_most(("__name__", "m")) > 100
    assert at_most(("row", "r7"), ("column", "c3")) <= 22
    assert at_most(("__name__", "nothing")) <= 1994
