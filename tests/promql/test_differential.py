"""Random expressions that a real Prometheus answers, and those that were once answered differently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.promql.differential.cases import Kept, kept_cases, problem_of
from tests.promql.differential.search import Search
from tests.promql.differential.servers import Servers


@pytest.mark.parametrize("case", kept_cases(), ids=lambda case: str(case.name))
def test_what_was_once_different(case: Kept) -> None:
    assert problem_of(case) is None, case.question.expr


@pytest.mark.peer
@pytest.mark.parametrize(("seed", "count", "delayed"), [
    (1, 300, False),
    pytest.param(2, 4000, False, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    pytest.param(3, 4000, True, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
])
def test_prometheus_says_the_same(peer: Callable[[str], Path], seed: int, count: int, delayed: bool) -> None:
    with Servers(peer("prometheus"), delayed_name_removal=delayed) as servers:
        tally = Search(servers, seed, most=3).run(count)
    assert not [(found.question, found.problem) for found in tally.found]
    assert tally.meaningful >= 0.9 * tally.asked, "\n".join(tally.lines())
