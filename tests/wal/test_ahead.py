"""Reading ahead: the same items in the same order, errors in their place, and no thread is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tsdb.wal.ahead import ahead


def readers() -> int:
    return sum(thread.name == "read-ahead" for thread in threading.enumerate())


def test_items_come_in_order_and_few_are_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    taken = []
    for number in ahead(items(), 3):
        taken.append(number)
        assert len(made) <= len(taken) + 3 + 1, "one is being handed over"
    assert taken == list(range(100))
    assert readers() == 0


def test_an_error_comes_behind_what_was_made_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    taken = []
    with pytest.raises(ValueError, match="the third"):
        for number in ahead(items(), 1):
            taken.append(number)
    assert taken == [1, 2]
    assert readers() == 0


def test_who_stops_early_leaves_no_thread() -> None:
    endless = ahead(iter(range(10**9)), 2)
    assert [next(endless), next(endless)] == [0, 1]
    endless.close()
    assert readers() == 0
