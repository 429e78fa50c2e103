"""`tsdb serve` as a process: start, signals, what is refused."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, StartTsdb
from tests.processes import TSDB, free_port, wait_until


def run(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TSDB, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def test_serve_and_stop(start_tsdb: StartTsdb) -> None:
    server = start_tsdb()
    now = time.time_ns() // 1_000_000
    assert server.client.write([({"__name__": "up", "job": "a"}, [(now, 1.0)])]).status == 204
    assert server.stop() == 0
    text = server.tail()
    assert f"tsdb serves on http://127.0.0.1:{server.port}" in text
    assert f"curl 'http://127.0.0.1:{server.port}/api/v1/query?query=up'" in text
    assert "level=INFO" in text and "msg=stopped" in text
    assert "Traceback" not in text
    again = start_tsdb()
    assert again.client.data("label/job/values") == ["a"]


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "tsdb", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, run("--version").stdout) and "tsdb" in done.stdout


def test_a_second_server_on_the_same_data(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    start_tsdb()
    second = run("serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data")
    assert second.returncode == 1
    problem = second.stderr.splitlines()[-1]
    assert problem.startswith("tsdb: ") and str(tmp_path / "data") in problem
    assert "Traceback" not in second.stderr and not second.stdout


def test_a_newer_format(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("tsdb 99\n")
    refused = run("serve", "--listen", "127.0.0.1:0", "--data", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(f"tsdb: {tmp_path} has format 99")
    assert "Traceback" not in refused.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run("serve", "--listen", f"127.0.0.1:{port}", "--data", tmp_path / "data")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        f"tsdb: cannot listen on 127.0.0.1:{port}: another process listens there; "
        "choose another with --web.listen-address"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("listen", "words"),
    [("9090", "give host:port"), ("127.0.0.1:99999", "give host:port"), ("no.such.host.invalid:1", "cannot listen on")],
)
def test_addresses_that_make_no_sense(tmp_path: Path, listen: str, words: str) -> None:
    refused = run("serve", "--listen", listen, "--data", tmp_path / "data")
    assert refused.returncode == 1 and words in refused.stderr and "Traceback" not in refused.stderr


def test_a_broken_config(tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    file.write_text("server: {lisen: ':1'}")
    refused = run("serve", "--config", file, "--data", tmp_path / "data")
    assert refused.returncode == 1
    assert refused.stderr == f'tsdb: {file}:1:10: unknown key "server.lisen": did you mean "listen"?\n'


def test_options_win_over_the_file(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    file.write_text(f"server: {{listen: '127.0.0.1:{free_port()}'}}\nstorage: {{tsdb: {{path: /nowhere}}}}")
    server = start_tsdb("--config", str(file))
    assert server.client.get("/-/healthy").status == 200
    assert server.stop() == 0


def test_a_stop_while_it_starts(tmp_path: Path) -> None:
    """Kernels have to be compiled first: the signal does not wait for them."""
    port = free_port()
    process = subprocess.Popen(
        [TSDB, "serve", "--listen", f"127.0.0.1:{port}", "--data", tmp_path / "data"],
        env={"TSDB_CACHE_DIR": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin"}, stderr=subprocess.PIPE, text=True,
    )
    assert process.stderr is not None
    assert "msg=starting" in process.stderr.readline()
    time.sleep(1)
    process.terminate()
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text
    assert "Traceback" not in text


def test_the_quickstart(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    """It scrapes itself; its target is the default address, here another."""
    port = free_port()
    text = (REPOSITORY / "examples" / "quickstart.yml").read_text()
    assert "127.0.0.1:9090" in text
    file = tmp_path / "quickstart.yml"
    file.write_text(text.replace("127.0.0.1:9090", f"127.0.0.1:{port}"))
    client = start_tsdb("--config", str(file), port=port).client

    def up() -> bool:
        found = client.data("query", {"query": "up"})["result"]
        return bool(found) and found[0]["value"][1] == "1"

    wait_until(up, "a scrape", timeout=30, every=0.2)
    assert client.data("query", {"query": "up"})["result"][0]["metric"] == {
        "__name__": "up", "instance": f"127.0.0.1:{port}", "job": "tsdb",
    }
    assert client.data("metadata", {"metric": "prometheus_ready"})["prometheus_ready"][0]["type"] == "gauge"


def test_help_and_version() -> None:
    assert run("--version").stdout.startswith("tsdb ")
    text = run("--help").stdout
    assert "tsdb serve" in text and "curl" in text
    text = run("serve", "--help").stdout
    assert all(option in text for option in ("--config", "--listen", "--data", "--log-level", "127.0.0.1:9090"))
    assert run("serve", "--nothing").returncode == 2
    assert run("nothing").returncode == 2
