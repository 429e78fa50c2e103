"""The examples of docs/export.md: each command is run, and its output stands below it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.commands.test_queries_page import put_data, with_outputs
from tests.conftest import StartTsdb
from tests.processes import TSDB

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def filled(page: str) -> str:
    return re.sub(r": [\d.]+ KiB of jsonl, compressed to [\d.]+ \w+", ": 5.3 KiB of jsonl, compressed to 600 B",
                  with_outputs(page))


def test_the_examples_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put_data(tmp_path)
    page = PAGE.read_text()
    assert filled(page) == page, "python -m tests.exports.test_page writes it anew"


@pytest.mark.slow
def test_the_examples_by_http_run(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    put_data(tmp_path)
    server = start_tsdb()
    (block,) = re.findall(r"## By HTTP\n\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = block.replace(":9090", f":{server.port}").replace("=up", "=requests_total").replace(
        "--match up", "--match requests_total").splitlines()
    for command in commands:
        argv, _, target = command.partition(" > ")
        words = [TSDB if word == "tsdb" else word for word in shlex.split(argv)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60, check=True)
        if target:
            (tmp_path / target).write_bytes(done.stdout)
    assert (tmp_path / "api.jsonl").read_bytes().count(b'{"metric":{"__name__":"requests_total"') == 2
    assert (tmp_path / "up.parquet").read_bytes().startswith(b"PAR1")
    assert (tmp_path / "up.csv.gz").stat().st_size > 100


if __name__ == "__main__":
    text = PAGE.read_text()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        put_data(Path(name))
        PAGE.write_text(filled(text))
