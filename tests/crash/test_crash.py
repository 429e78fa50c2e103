"""A few rounds of the crash harness; with -m slow many."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.rounds import Rounds


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """So that phases are seen while they last."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("rounds", [2, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_nothing_acknowledged_is_lost(rounds: int, tmp_path: Path) -> None:
    report = Rounds(tmp_path / "run", seed=rounds).run(rounds)
    assert report.rounds == rounds
    assert report.acknowledged > 0 and report.compared > 0
