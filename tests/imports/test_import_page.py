"""The examples of docs/import.md: each command is run on the files that the page shows, and its output stands below
it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tsdb.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "import.md"


def put_files(page: str, folder: Path) -> None:
    for name, text in re.findall(r"This is `([\w.]+)`:\n\n```\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(text)


def with_outputs(page: str) -> str:
    """The page with what its commands print, run in the working directory."""

    def fill(block: re.Match[str]) -> str:
        lines = []
        for command in (line for line in block[1].splitlines() if line.startswith("$ ")):
            done = CliRunner().invoke(cli, shlex.split(command)[2:], env={"COLUMNS": "100"})
            assert done.exit_code in (0, 1), f"{command}: {done.output} {done.exception!r}"
            said = done.output if done.exit_code == 0 else f"{done.output}tsdb: {done.exception}\n"
            lines += [command, *re.sub(r"in \d+\.\d s", "in 0.1 s", said).splitlines()]
        return "```console\n" + "\n".join(lines) + "\n```"

    return re.sub(r"```console\n(.*?)```", fill, page, flags=re.DOTALL)


def test_the_examples_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text()
    put_files(page, tmp_path)
    assert with_outputs(page) == page, "python -m tests.imports.test_import_page writes it anew"


if __name__ == "__main__":
    import os
    import tempfile

    text = PAGE.read_text()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        put_files(text, Path(name))
        PAGE.write_text(with_outputs(text))
    sys.exit(0)
