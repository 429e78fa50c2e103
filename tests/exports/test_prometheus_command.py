"""``tsdb export prometheus``: the command; tests/exports/test_prometheus.py tells of the blocks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import tsdb
from tsdb.cli import cli

BEGIN = 1_700_000_000


@pytest.mark.peer
@pytest.mark.slow
def test_promtool_reads_what_the_command_writes(peer: Callable[[str], Path], tmp_path: Path) -> None:
    with tsdb.open(tmp_path / "data") as db:
        for job in ("a", "b"):
            db.append({"__name__": "up", "job": job}, [BEGIN + 60 * k for k in range(200)], [k / 8 for k in range(200)])
    target = tmp_path / "blocks"
    done = CliRunner().invoke(cli, ["export", "prometheus", str(target), "--data", str(tmp_path / "data")])
    assert done.exit_code == 0 and done.stderr == f"{target}: 2 blocks with 400 samples\n" and done.stdout == ""
    (target / "wal").mkdir()
    dumped = subprocess.run([peer("promtool"), "tsdb", "dump", target], capture_output=True, text=True, timeout=60,
                            check=True)
    assert sorted(dumped.stdout.splitlines()) == sorted(
        f'{{__name__="up", job="{job}"}} {k / 8:g} {1000 * (BEGIN + 60 * k)}' for job in ("a", "b") for k in range(200))


def test_one_selector_and_its_times(tmp_path: Path) -> None:
    with tsdb.open(tmp_path / "data") as db:
        db.append({"__name__": "up", "job": "a"}, [BEGIN, BEGIN + 60], [1, 2])
        db.append({"__name__": "up", "job": "b"}, [BEGIN, BEGIN + 60], [1, 2])
    arguments = ["export", "prometheus", str(tmp_path / "blocks"), "--data", str(tmp_path / "data"), "--match"]
    done = CliRunner().invoke(cli, [*arguments, 'up{job="a"}', "--end", str(BEGIN)])
    assert done.stderr.endswith("1 blocks with 1 samples\n")
    wrong = CliRunner().invoke(cli, [*arguments, "up", "--match", "down"])
    assert "give --match once" in str(wrong.exception)
    assert CliRunner().invoke(cli, [*arguments, "nothing"]).stderr.endswith("0 blocks with 0 samples\n")
