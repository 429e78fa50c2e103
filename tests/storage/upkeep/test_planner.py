"""Which blocks become one, as a table. Times are in hours; a letter names each block."""

from __future__ import annotations

import pytest

from tsdb.storage.block import BlockMeta, Stats
from tsdb.storage.upkeep.planner import block_ranges, plan

HOUR = 3_600_000
RANGES = [2 * HOUR, 6 * HOUR, 18 * HOUR]


def blocks(text: str) -> list[BlockMeta]:
    """"a0,2 b2,4:9": block a from hour 0 to 2, and b, which has 9 samples."""
    out = []
    for word in text.split():
        times, _, samples = word[1:].partition(":")
        mint, maxt = (int(float(part) * HOUR) for part in times.split(","))
        out.append(BlockMeta(word[0], mint, maxt, Stats(samples=int(samples or 1))))
    return out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("a0,2", None),
        ("a0,2 b2,4 c4,6", None),  # the newest waits
        ("a0,2 b2,4 c4,6 d6,8", "abc"),
        ("a0,2 b4,6 d6,8", "ab"),  # there is nothing of the third part
        ("a0,2 b2,4 d6,8", None),  # before the newest, but more may still come
        ("a0,2 b2,4 d6,8 e8,10", "ab"),
        ("b2,4 c4,6 d6,8 e8,10", "bc"),
        ("c4,6 d6,8 e8,10 f10,12", None),
        ("c4,6 d6,8 e8,10 f10,12 g12,14", "def"),
        ("a0,6 b6,12 c12,18 d18,20", "abc"),
        ("a0,6 b6,12 c12,14 d14,16", None),
        ("a0,6 b6,12 c18,20 d20,22", "ab"),
        ("a-6,-4 b-4,-2 c-2,0 d0,2", "abc"),
        ("a0,2 b2,4 c3,5 d6,8 e8,10", "bc"),  # overlapping ones first
        ("a0,2 b2,4 c4,6 d5,7", "cd"),
        ("a0,18 b1,2 c17,19 d19,20", "abc"),
        ("a0,2 b0,2", "ab"),
        ("a0,3 b3,4 c4,6 d6,8", "abc"),
        ("a0,4 b4,7 c7,8 d8,10", None),  # b lies across a border
    ],
)
def test_plans(text: str, expected: str | None) -> None:
    found = plan(blocks(text), RANGES)
    assert (None if found is None else "".join(block.ulid for block in found.blocks)) == expected
    assert plan(blocks(text)[::-1], RANGES) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a0,2", None),
        ("a0,2 b2,4", "ab"),
        ("a0,2 b2,4 c4,5.5", "abc"),
        ("a0,2:10 b2,4:4", None),
        ("a0,2:10 b2,4:5", "ab"),
        ("a0,6 b6,8", "ab"),  # within 18 hours
        ("a0,6:9 b6,7:2 c7,8:2", "bc"),
        ("a12,18 b18,20", None),  # not in one range
    ],
)
def test_everything(text: str, expected: str | None) -> None:
    found = plan(blocks(text), RANGES, everything=True)
    assert (None if found is None else "".join(block.ulid for block in found.blocks)) == expected


def test_what_the_head_encoded_is_encoded_anew_where_everything_is_asked_for() -> None:
    fresh = {"a", "c"}
    assert plan(blocks("a0,2:10 b2,4:4"), RANGES, fresh=fresh) is None
    for text, expected in (("a0,2:10 b2,4:4", "a"), ("a0,2:10 b2,4:5", "ab"), ("b0,2:10 c2,4:4", "c"), ("b0,2", None)):
        found = plan(blocks(text), RANGES, everything=True, fresh=fresh)
        assert (None if found is None else "".join(block.ulid for block in found.blocks)) == expected
    assert plan(blocks("a0,2"), RANGES, everything=True, fresh=fresh, failed=fresh) is None


def test_what_failed_is_left_alone() -> None:
    assert plan(blocks("a0,2 b2,4 c4,6 d6,8"), RANGES, failed={"b"}) is None
    found = plan(blocks("a0,1 b0,2 c4,6 d4,6"), RANGES, failed={"b"})
    assert found is not None
    assert [block.ulid for block in found.blocks] == ["c", "d"]


@pytest.mark.parametrize(
    ("retention_days", "hours"),
    [(0, [2, 6, 18, 54, 162, 486]), (15, [2, 6, 18]), (1, [2]), (100, [2, 6, 18, 54, 162]),
     (5000, [2, 6, 18, 54, 162, 486])],
)
def test_ranges(retention_days: int, hours: list[int]) -> None:
    assert block_ranges(retention_days * 24 * HOUR) == [hour * HOUR for hour in hours]
