"""What an explanation tells of a query: the tree, what was read and given, and what the optimiser made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tsdb.promql import Engine
from tsdb.testing.memory_storage import MemoryStorage

MINUTE = 60_000


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    storage = MemoryStorage(rows_per_tile=2)
    for job in "abc":
        storage.add({"__name__": "m_total", "job": job}, np.arange(0, 1_500_000, 15_000), np.arange(100.0))
    with Engine(storage) as made:
        yield made


def tree(engine: Engine, expr: str) -> dict[str, Any]:
    found = engine.query_range(expr, 5 * MINUTE, 10 * MINUTE, MINUTE, explain=True).explanation
    assert found is not None
    return found.as_dict()


def shape(node: Mapping[str, Any]) -> tuple[Any, ...]:
    return (node["node"], *map(shape, node.get("children", ())))


TREES: list[tuple[str, tuple[Any, ...]]] = [
    ("sum by (job) (rate(m_total[5m])) > 0.01",
     ("operator >", ("aggregation sum by (job)", ("function rate", ("selector m_total[5m]",))), ("0.01",))),
    ("(m_total)", ("selector m_total",)),
    ("max_over_time(rate(m_total[1m])[5m:1m])",
     ("function max_over_time", ("subquery [5m:1m]", ("function rate", ("selector m_total[1m]",))))),
    ("m_total * on (job) -m_total", ("operator * on (job)", ("selector m_total",), ("sign -", ("selector m_total",)))),
]


@pytest.mark.parametrize(("expr", "expected"), TREES, ids=[row[0] for row in TREES])
def test_the_tree_is_that_of_the_query(engine: Engine, expr: str, expected: tuple[Any, ...]) -> None:
    assert shape(tree(engine, expr)) == expected


def test_what_was_read_and_given(engine: Engine) -> None:
    root = tree(engine, "sum(rate(m_total[1m]))")
    rate = root["children"][0]
    selector = rate["children"][0]
    assert (root["steps"], root["series"], root["points"]) == (6, 1, 6)
    assert (rate["steps"], rate["series"], rate["points"]) == (6, 3, 18)
    assert (selector["samples"], selector["bytes"], selector["series"]) == (3 * 24, 3 * 24 * 16, 3)
    assert (selector["tier"], selector["sources"]) == ("raw", ["memory"])
    assert (selector["start"], selector["end"]) == (9, 20)
    assert root["seconds"] >= rate["seconds"] > 0 and selector["decode_seconds"] >= 0
    assert tree(engine, "sum(gone)")["children"][0]["series"] == 0


def test_what_the_optimiser_made_of_it(engine: Engine) -> None:
    root = tree(engine, "sum(m_total) / (sum(m_total) + sum(m_total @ 300))")
    again, pinned = root["children"][1]["children"]
    assert again["optimised"] == ["the same as a part before: computed once"] and "children" not in again
    assert pinned["optimised"] == ["the same at every step: computed at one"] and pinned["steps"] == 1
    assert "optimised" not in root


def test_answers_are_the_same(engine: Engine) -> None:
    """Functions that look at the operator of their argument see it through the measuring."""
    for expr in ("timestamp(m_total)", "timestamp(m_total @ 300)", "info(m_total)", "sum(m_total) + sum(m_total)",
                 "absent(gone)", "topk(1, m_total)"):
        plain = engine.query_range(expr, 0, 10 * MINUTE, MINUTE)
        told = engine.query_range(expr, 0, 10 * MINUTE, MINUTE, explain=True)
        assert plain.values[plain.present].tolist() == told.values[told.present].tolist(), expr
        assert (plain.present == told.present).all() and plain.explanation is None
