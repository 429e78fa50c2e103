"""``tsdb test promql`` tells which evals of a script failed, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tsdb.cli import cli

GOOD = """
load 1m
  requests_total{job="api", code="200"}  0+60x10
  requests_total{job="api", code="500"}  0+6x10
  "a metric"{} 1x10

eval instant at 5m sum by (job) (rate(requests_total[5m]))
  {job="api"} 1.1

# comments end a command, too
eval range from 0 to 2m step 1m requests_total{code="500"} > 0
  requests_total{job="api", code="500"} _ 6 12

eval instant at 1m rate(requests_total)
  expect fail regex: .*expected type range vector.*

eval instant sort(requests_total)
  expect ordered
  expect no_warn
  requests_total{job="api", code="200"} 0
  requests_total{job="api", code="500"} 0

clear

eval instant at 1m count({__name__=~".+"})
""".replace('  "a metric"{} 1x10\n', '  {"a metric"} 1x10\n')


def run(tmp_path: Path, *arguments: str, **scripts: str) -> tuple[int, str]:
    files = []
    for name, text in scripts.items():
        files.append(tmp_path / f"{name}.test")
        files[-1].write_text(text)
    done = CliRunner(catch_exceptions=False).invoke(cli, ["test", "promql", *arguments, *map(str, files)])
    return done.exit_code, done.output.replace(f"{tmp_path}/", "")


def test_all_pass(tmp_path: Path) -> None:
    assert run(tmp_path, good=GOOD) == (0, "good.test: 5/5 passed\n")


@pytest.mark.parametrize(("wrong", "told"), [
    ('eval instant at 1m a\n  a 2', "  s.test:4: a\n    at 1m: expected 2.0 for {'__name__': 'a'}, got 1.0\n"),
    ('eval instant at 1m a\n  b 1', "  s.test:4: a\n    at 1m: unexpected series {'__name__': 'a'}\n"),
    ('eval instant at 1m a\n  a 1\n  b 1', "    at 1m: expected series {'__name__': 'b'} with (1.0,) is missing\n"),
    ('eval instant at 1m a +\n  a 1', "    at 1m: failed: 1:4: parse error: unexpected end of input\n"),
    ('eval instant at 1m a\n  expect fail', "    at 1m: expected an error, got none\n"),
    ('eval instant at 1m a\n  expect warn\n  a 1', "    at 1m: expected "),
    ('eval range from 0 to 1m step 1m a\n  a 1 2', "    from 0s to 1m step 1m: expected 2.0 for {'__name__': 'a'}, "
     "got 1.0 at step 1\n"),
])
def test_what_is_wrong_is_told(tmp_path: Path, wrong: str, told: str) -> None:
    code, printed = run(tmp_path, s=f"load 1m\n  a 1x10\n\n{wrong}\n")
    assert code == 1
    assert printed.startswith("s.test: 0/1 passed\n")
    assert told in printed


def test_several_files(tmp_path: Path) -> None:
    bad = "load 1m\n  a 1\n\neval instant a\n  a 2\n"
    code, printed = run(tmp_path, "--quiet", good=GOOD, bad=bad)
    assert code == 1
    assert printed.splitlines()[0] == "bad.test: 0/1 passed"
    assert printed.splitlines()[-1] == "5/6 passed in 2 files"


@pytest.mark.parametrize(("text", "told"), [
    ("lod 1m", "s.test:1: unknown command 'lod 1m': load, clear or eval"),
    ("load 1x", 's.test:1: not a valid duration string: "1x"'),
    ("load 1m\n  a 1 what", "s.test:1: not a sequence of values: 'what'"),
    ("load 1m\n  a 1x9999999999", "s.test:1: more than 1000000 values of one series"),
    ("load 1m\n  a{b=1} 1", "s.test:1: not a series: 'a{b=1} 1'"),
    ("eval instant 1\n  expect warn regex: (", "s.test:1: not a regular expression: '('"),
    ("eval instant 1\n  expect the best", "s.test:1: not an expect line: 'expect the best'"),
])
def test_scripts_that_are_not_understood(tmp_path: Path, text: str, told: str) -> None:
    code, printed = run(tmp_path, s=text)
    assert code == 2
    assert told in printed


def test_no_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["test", "promql", str(tmp_path / "gone.test")])
    assert done.exit_code == 2
    assert "gone.test: No such file or directory" in done.output


def test_names_that_are_dropped_early(tmp_path: Path) -> None:
    script = 'load 1m\n  a 1\n  b 1\n\neval instant sum(count by (__name__) (abs({__name__=~"a|b"})))\n  {} 2\n'
    assert run(tmp_path, s=script)[0] == 0
    code, printed = run(tmp_path, "--early-names", s=script)
    assert code == 1
    assert "vector cannot contain metrics with the same labelset" in printed
