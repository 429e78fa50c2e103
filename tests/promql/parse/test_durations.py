"""Durations computed from the query's step and range."""

from __future__ import annotations

import pytest

from tsdb.model.errors import ExecutionError
from tsdb.promql.ast import Duration, MatrixSelector, VectorSelector
from tsdb.promql.durations import resolve
from tsdb.promql.syntax.parser import parse


def range_of(text: str) -> Duration:
    tree = parse(f"a[{text}]")
    assert isinstance(tree, MatrixSelector)
    return tree.range


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30m", 1_800_000),
        ("26m+4m", 1_800_000),
        ("60*30", 1_800_000),
        ("24m+((1.5*2m)+3m)", 1_800_000),
        ("-5m+35m", 1_800_000),
        ("1h/2", 1_800_000),
        ("1h30m % 1h", 1_800_000),
        ("-7 % 3", -1000),
        ("-2 ^ 2", -4000),
        ("2 ^ 3 ^ 2", 512_000),
        ("(-2) ^ 2", 4000),
        ("step()", 15_000),
        ("-step()", -15_000),
        ("1 + (STEP() - 5) * 2", 21_000),
        ("range()", 3_600_000),
        ("min_of(range(), 8s)", 8000),
        ("max_of(min_of(step()+1,1h),1ms)", 16_000),
        ("step() / 8", 1875),
    ],
)
def test_values(text: str, ms: int) -> None:
    assert resolve(range_of(text), step=15_000, range=3_600_000) == ms


def test_an_offset_ends_with_its_first_operand() -> None:
    tree = parse("a offset -min_of(step(), 2s)")
    assert isinstance(tree, VectorSelector)
    assert resolve(tree.offset, step=5000, range=0) == -2000


@pytest.mark.parametrize(
    "text", ["1 / (1 - 1)", "1 % step()", "1e300 * 1e300", "2 ^ 1e9", "(-1) ^ 0.5", "1e10 * 2", "0 ^ -1"]
)
def test_impossible_durations(text: str) -> None:
    with pytest.raises(ExecutionError, match="duration expression"):
        resolve(range_of(text), step=0, range=0)
