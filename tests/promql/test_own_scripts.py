"""The project's own scripts in the language of Prometheus' tests of PromQL, so that everybody has some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.promql.reference import difference, reference
from tsdb.testing.run import run_cases
from tsdb.testing.script import read_script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.test"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path) -> None:
    outcome = run_cases(read_script(script))
    assert outcome.total > 0
    problems = [f"{case}: {case.expr}\n{problem}" for case, problem in (*outcome.failures, *outcome.unsupported)]
    assert not problems, "\n".join(problems)


NEWER = frozenset(("fill", "histogram_operators", "info", "limit_ratio", "operators"))
"""Scripts of what the installed Prometheus does not have yet, or does otherwise."""


@pytest.mark.slow
@pytest.mark.peer
def test_prometheus_agrees(peer: Callable[[str], Path]) -> None:
    with reference(peer("prometheus")) as made:
        problems = [f"{case}: {case.expr}\n{problem}" for path in SCRIPTS if path.stem not in NEWER
                    for case in read_script(path) if (problem := difference(case, made.answer(case))) is not None]
    assert not problems, "\n".join(problems)
