"""``tsdb test``: files that say what queries must answer, tried out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tsdb.testing.run import Outcome
    from tsdb.testing.script import Case

FAILED, UNREADABLE = 1, 2
"""Exit codes."""


@click.group()
def test() -> None:
    """Runs tests that are written in files, without a server."""


@test.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--early-names", is_flag=True, help="Drop metric names as a stock server does, in every step of a query. "
              "Scripts are written for the end of a query (the feature promql-delayed-name-removal).")
@click.option("-q", "--quiet", is_flag=True, help="Print only files in which something failed.")
def promql(files: tuple[Path, ...], early_names: bool, quiet: bool) -> None:
    """Runs scripts in the language of Prometheus' own tests of PromQL.

    A script loads samples and says what expressions give. Lines that follow each other
    belong together; a blank line or a comment (#) ends a command:

    \b
      load 1m
        requests_total{job="api", code="200"}  0+60x10
        requests_total{job="api", code="500"}  0+6x10
        up{job="api"}                          1 1 0 _ 1 stale
    \b
      eval instant at 5m sum by (job) (rate(requests_total[5m]))
        {job="api"} 1.1
    \b
      eval range from 0 to 2m step 1m requests_total{code="500"} > 0
        requests_total{job="api", code="500"} _ 6 12
    \b
      eval instant at 1m rate(requests_total)
        expect fail regex: .*expected type range vector.*

    Samples begin at time 0, one each step: 0+60x10 is 0, 60, … 600; _ is none; stale ends
    a series. `expect` is one of fail, warn, info (with `msg:` and a text or `regex:` and a
    pattern), no_warn, no_info, ordered, string "…". Values may differ by a millionth.
    `clear` drops what was loaded. Each instant query is also asked as a range query.

    \b
    Examples:
      tsdb test promql alerts.test
      tsdb test promql tests/*.test --quiet

    \b
    Exit codes:
      0  every answer is the expected one
      1  one is not, or needs what this version does not have yet
      2  a file cannot be read, or is not understood

    docs/queries.md says more.
    """
    from tsdb.kernels import warm_up
    from tsdb.model.errors import ConfigError
    from tsdb.testing.run import OPTIONS, run_cases
    from tsdb.testing.script import read_script

    warm_up(None)
    code, passed, total = 0, 0, 0
    for file in files:
        try:
            cases = read_script(file)
        except ConfigError as problem:
            click.echo(f"tsdb: {problem}", err=True)
            code = UNREADABLE
            continue
        outcome = run_cases(cases, replace(OPTIONS, delayed_name_removal=not early_names))
        passed, total = passed + outcome.passed, total + outcome.total
        if outcome.passed < outcome.total:
            code = max(code, FAILED)
        if outcome.passed < outcome.total or not quiet:
            click.echo("\n".join(_lines(file, outcome)))
    if len(files) > 1:
        click.echo(f"{passed}/{total} passed in {len(files)} files")
    click.get_current_context().exit(code)


def _lines(file: Path, outcome: Outcome) -> Iterator[str]:
    yield f"{file}: {outcome.passed}/{outcome.total} passed"
    problems = [*outcome.failures, *((case, f"this needs what is {text}") for case, text in outcome.unsupported)]
    for case, text in sorted(problems, key=lambda problem: problem[0].line):
        yield f"  {file}:{case.line}: {case.expr}"
        yield f"    {_when(case)}: {text}"


def _when(case: Case) -> str:
    from tsdb.model.durations import format_duration

    start, end, step = (format_duration(ms) if ms >= 0 else f"-{format_duration(-ms)}"
                        for ms in (case.start, case.end, case.step))
    return f"from {start} to {end} step {step}" if case.step else f"at {start}"
