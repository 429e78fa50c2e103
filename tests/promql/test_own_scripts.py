"""The project's own scripts in the language of Prometheus' tests of PromQL, so that everybody has some."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsdb.testing.run import run_cases
from tsdb.testing.script import read_script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.test"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path) -> None:
    outcome = run_cases(read_script(script))
    assert outcome.total > 0
    problems = [f"{case}: {case.expr}\n{problem}" for case, problem in (*outcome.failures, *outcome.unsupported)]
    assert not problems, "\n".join(problems)
