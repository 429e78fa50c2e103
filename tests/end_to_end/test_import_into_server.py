"""Importing into a server that runs: queries answer at once, and a second time nothing is added."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import StartTsdb
from tsdb.cli import cli
from tsdb.kernels import cache


def test_files_into_a_server(start_tsdb: StartTsdb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = int(time.time()) // 7200 * 7200 - 5 * 86_400
    lines = [f'm{{n="{n}"}} {n * i} {first + i * 60}' for n in range(20) for i in range(600)]
    (tmp_path / "history.om").write_text("\n".join(["# TYPE m gauge", *lines, "# EOF", ""]))
    server = start_tsdb()
    monkeypatch.setenv("TSDB_CACHE_DIR", str(cache.writable_folder()))
    arguments = ["import", "openmetrics", str(tmp_path / "history.om"), "--url", f"http://127.0.0.1:{server.port}"]
    for machine, said in (("one", "12000 samples of 20 series"), ("one", "nothing to do"), ("other", "nothing to do")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0 and said in done.output, done.output
        assert server.client.query("sum(count_over_time(m[6d]))", time.time())[0]["value"][1] == "12000"
        assert server.client.query("sum(m)", first + 599 * 60)[0]["value"][1] == str(sum(range(20)) * 599)
    assert len(server.client.data("status/tsdb/blocks")["blocks"]) < 5
