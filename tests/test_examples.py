"""The examples run as they stand."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import Start, StartTsdb
from tests.processes import TSDB, free_port, wait_until
from tsdb.cli import cli

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_embedded_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                   tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path / "data"))
    names = runpy.run_path(str(EXAMPLES / "embedded.py"))
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("lab") and printed.endswith("1800 samples\n")
    assert names["result"].values.shape == (1, 11)
    assert names["frame"].shape == (6, 2)
    assert names["long"].columns == ["__name__", "room", "time", "value"]


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLES.parent / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    assert code
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["result"].values.shape == (1, 21)  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", [page for page in sorted(EXAMPLES.parent.glob("docs/*.md"))
                                  if "```python\n" in page.read_text()], ids=lambda page: page.name)
def test_the_python_of_the_docs_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in page.read_text().split("```python\n")[1:]:
        exec(compile(block.partition("```")[0], page.name, "exec"), {})


def test_the_quickstart_scrapes_itself(start: Start, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "quickstart.yml"
    config.write_text((EXAMPLES / "quickstart.yml").read_text().replace("9090", str(port)))
    address = f"127.0.0.1:{port}"
    server = start([TSDB, "serve", "--config", config, "--listen", address, "--data", tmp_path / "data"], port)
    server.wait_ready()
    wait_until(lambda: f"http://{address}/api/v1/query?query=up" in server.log.read_text(), "a first query to try")
    wait_until(lambda: server.client.data("query", {"query": "up"})["result"] != [], "it has scraped itself", 30)
    (row,) = server.client.data("query", {"query": "up"})["result"]
    assert row["metric"] == {"__name__": "up", "job": "tsdb", "instance": address}
    assert row["value"][1] == "1"
    assert server.stop() == 0


def test_the_commands_of_the_drop_in_page_run(start: Start, peer: Callable[[str], Path], tmp_path: Path) -> None:
    page = (EXAMPLES.parent / "docs" / "drop-in.md").read_text()
    port = free_port()
    file, data = tmp_path / "prometheus.yml", tmp_path / "data"
    for name, ours in (("/etc/prometheus/prometheus.yml", file), ("/var/lib/tsdb", data), (":9099", f":{port}")):
        assert name in page
        page = page.replace(name, str(ours))
    file.write_text((EXAMPLES / "quickstart.yml").read_text().replace("9090", str(port)))
    programs = {"tsdb": TSDB, "promtool": str(peer("promtool")), "curl": "curl"}
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    check, serve, *others = ([programs[line[0]], *line[1:]] for line in lines)
    assert [Path(argv[0]).name for argv in others] == ["curl", "curl", "promtool", "promtool"]
    subprocess.run(check, timeout=60, check=True)
    server = start(serve, port)
    server.wait_ready()
    wait_until(lambda: server.client.data("query", {"query": "up"})["result"] != [], "it has scraped itself", 30)
    for argv in others:
        subprocess.run(argv, timeout=60, check=True)


def test_the_commands_of_the_cardinality_page_run(start_tsdb: StartTsdb, peer: Callable[[str], Path], tmp_path: Path,
                                                  ) -> None:
    page = (EXAMPLES.parent / "docs" / "cardinality.md").read_text()
    limits, rules = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    port, config, rule_file = free_port(), tmp_path / "tsdb.yml", tmp_path / "rules.yml"
    rule_file.write_text(rules)
    subprocess.run([peer("promtool"), "check", "rules", rule_file], timeout=60, check=True)
    often = (EXAMPLES / "quickstart.yml").read_text().replace("9090", str(port)).replace("5s", "1s").replace("4s", "1s")
    config.write_text(often + limits)
    client = start_tsdb("--config", str(config), data=tmp_path / "data", port=port).client
    wait_until(lambda: client.data("query", {"query": "tsdb_series_limit_used"})["result"] != [], "a scrape", 30)
    limited = client.data("query", {"query": "tsdb_series_limit"})["result"]
    assert {row["metric"].get("label", "") for row in limited} == {"", "user_id", "path", "*"}
    for expr in re.findall(r"expr: (.*)", rules):
        assert client.data("query", {"query": expr})["resultType"] == "vector"
    page = page.replace(":9090", f":{port}").replace("/var/lib/tsdb", str(tmp_path / "data"))
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [line[0] for line in lines] == ["curl", "tsdb", "curl", "tsdb", "tsdb", "curl", "curl"]
    for line in lines:
        if line[0] == "tsdb":
            printed = CliRunner().invoke(cli, line[1:], catch_exceptions=False).output
        else:
            printed = subprocess.run(line, timeout=60, check=True, capture_output=True, text=True).stdout
        assert "prometheus_http_request_duration_seconds_bucket" in printed


def test_the_command_has_help_and_a_version() -> None:
    for argument in ("--help", "--version"):
        done = subprocess.run([TSDB, argument], capture_output=True, text=True, timeout=60, check=True)
        assert "tsdb" in done.stdout
