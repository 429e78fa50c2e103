"""The examples of docs/queries.md: each command is run, and its output stands below it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import tsdb
from tsdb.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
BEGIN = 1_795_435_200
"""s since the epoch: 2026-11-23T12:00:00Z"""


def put_data(folder: Path) -> None:
    """What the page asks about, and its script."""
    times = [BEGIN + 15 * step for step in range(-20, 41)]
    with tsdb.open(folder / "data") as db:
        for number, job in enumerate(("api", "db")):
            for instance in ("a:80", "b:80"):
                labels = {"__name__": "requests_total", "job": job, "instance": instance}
                db.append(labels, times, [float((number + 1) * (step + 20)) for step in range(-20, 41)])
    script = re.search(r"this is `rates.test`:\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert script is not None
    (folder / "rates.test").write_text(script[1])


def with_outputs(page: str) -> str:
    """The page with what its commands print, run in the working directory."""

    def fill(block: re.Match[str]) -> str:
        lines = []
        for command in (line for line in block[1].splitlines() if line.startswith("$ ")):
            done = CliRunner().invoke(cli, shlex.split(command)[2:], env={"COLUMNS": "100"})
            assert done.exit_code in (0, 1), f"{command}: {done.output} {done.exception!r}"
            lines += [command, *re.sub(r"\d+\.\d\d ms", "0.12 ms", done.output).splitlines()]
        return "```console\n" + "\n".join(lines) + "\n```"

    return re.sub(r"```console\n(.*?)```", fill, page, flags=re.DOTALL)


def test_the_examples_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put_data(tmp_path)
    page = PAGE.read_text()
    assert with_outputs(page) == page, "python -m tests.commands.test_queries_page writes it anew"


if __name__ == "__main__":
    import os
    import tempfile

    text = PAGE.read_text()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        put_data(Path(name))
        PAGE.write_text(with_outputs(text))
    sys.exit(0)
