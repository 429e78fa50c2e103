"""The real Prometheus: its data directory comes in, what is exported it opens, and all three answer alike."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client import Client
from tests.conftest import Start, StartTsdb
from tests.peers.test_agreement import QUERIES, ask, differences, live
from tests.processes import Process, free_port
from tsdb.exports.prometheus import HOUR, block_range, export
from tsdb.imports.prometheus import inputs
from tsdb.imports.session import run
from tsdb.imports.targets import data_directory
from tsdb.model.matchers import Matcher, MatchType
from tsdb.prometheus_data.notes import Notes
from tsdb.storage.storage import Storage

ALL = (Matcher(MatchType.REGEX, "__name__", ".+"),)
OPENMETRICS = """# TYPE a gauge
{samples}# TYPE b counter
b_total{{job="ünïcode",le="+Inf"}} 1 1700000000
b_total{{job="ünïcode",le="+Inf"}} 7.25 1700007200
b_total{{job="ünïcode",le="+Inf"}} NaN 1700014400
# EOF
"""
CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 450ms}}
scrape_configs:
  - job_name: prometheus
    always_scrape_classic_histograms: true
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
NATIVE = [
    ("range", "histogram_quantile(0.9, sum(rate(prometheus_http_request_duration_seconds[10s])))"),
    ("range", "histogram_count(increase(prometheus_http_request_duration_seconds{handler='/metrics'}[10s]))"),
    ("range", "histogram_sum(prometheus_http_request_duration_seconds)"),
]
ASKED = [each for each in QUERIES if not each[1].startswith("metadata?")] + NATIVE
assert len(ASKED) >= 30


def dump(promtool: Path, data: Path) -> list[str]:
    """All samples of a data directory but native histograms, of which promtool leaves some out, sorted."""
    (data / "wal").mkdir(exist_ok=True)
    done = subprocess.run([promtool, "tsdb", "dump", data], capture_output=True, text=True, timeout=60, check=True)
    return sorted(line for line in done.stdout.splitlines() if "} {" not in line)


def into(data: Path, source: Path) -> tuple[int, int, int]:
    """Imports a data directory of Prometheus: (samples, first, last ms)."""
    notes = Notes()
    found = inputs(source, notes)
    with data_directory(data) as target:
        outcome = run(found, target, format="prometheus")
    assert not [text for text in notes.messages() if "exemplars" not in text] and not outcome.left_out.messages()
    return outcome.samples, outcome.mint, outcome.maxt


def test_ranges_are_short_where_there_are_few() -> None:
    assert [block_range(0, hours * HOUR) // HOUR for hours in (1, 90, 200, 800, 9000)] == [2, 2, 6, 18, 54]


@pytest.mark.peer
def test_blocks_of_promtool_come_in_and_go_out(peer: Callable[[str], Path], tmp_path: Path) -> None:
    promtool = peer("promtool")
    lines = [f'a{{job="{job}"}} {(k * 37 % 101) / 8 + job} {1700000000 + 15 * k}\n' for job in range(20)
             for k in range(300)]
    (tmp_path / "in.txt").write_text(OPENMETRICS.format(samples="".join(lines)))
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    subprocess.run([promtool, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "in.txt", theirs],
                   capture_output=True, timeout=60, check=True)
    count, first, last = into(tmp_path / "data", theirs)
    assert count == len(lines) + 3
    storage = Storage.open(tmp_path / "data")
    done = export(storage, ours, ALL, first, last)
    storage.close()
    assert done.samples == count and len(done.blocks) == 3 and not done.start_times and not done.warnings
    assert dump(promtool, ours) == dump(promtool, theirs)
    analyzed = subprocess.run([promtool, "tsdb", "analyze", ours], capture_output=True, text=True, timeout=60)
    assert analyzed.returncode == 0 and "ünïcode" in analyzed.stdout + subprocess.run(
        [promtool, "tsdb", "dump", ours], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.peer
@pytest.mark.slow
def test_answers_agree_there_and_back(peer: Callable[[str], Path], start: Start, start_tsdb: StartTsdb, tmp_path: Path,
                                      ) -> None:
    """A Prometheus scrapes itself; its log, and a snapshot of its head, come in; queries agree with it. What is
    exported from there another Prometheus opens, and agrees."""
    port = free_port()
    (tmp_path / "scraping.yml").write_text(CONFIG.format(port=port))
    (tmp_path / "idle.yml").write_text("{}")

    def prometheus(data: Path, config: str, port: int) -> Process:
        return start([peer("prometheus"), f"--config.file={tmp_path / config}", f"--storage.tsdb.path={data}",
                      f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=native-histograms",
                      "--web.enable-admin-api", "--storage.tsdb.retention.time=10y", "--log.level=warn"], port,
                     ).wait_ready()

    began = time.time()
    source = tmp_path / "source"
    running = prometheus(source, "scraping.yml", port)
    live(running.client, 15)
    end = math.floor(time.time()) - 1.0
    deleted = urllib.parse.urlencode({"match[]": "go_gc_duration_seconds", "start": began, "end": began + 5})
    assert running.client.request("POST", f"/api/v1/admin/tsdb/delete_series?{deleted}").status == 204
    name = running.client.request("POST", "/api/v1/admin/tsdb/snapshot").json()["data"]["name"]
    live(running.client, 3)
    running.stop()
    for kind, place in (("log", source), ("snapshot", source / "snapshots" / name)):
        ours = tmp_path / kind
        _, first, last = into(ours, place)
        storage = Storage.open(ours)
        exported = tmp_path / f"{kind}-exported"
        assert export(storage, exported, ALL, first, last).samples
        storage.close()
        subject = start_tsdb(data=ours)
        again = prometheus(shutil.copytree(source, tmp_path / f"{kind}-again"), "idle.yml", free_port())
        opened = prometheus(exported, "idle.yml", free_port())
        wrong = [f"{kind}: {problem}" for side in (again, opened)
                 for problem in compared(side.client, subject.client, math.ceil(began), end)]
        for process in (subject, again, opened):
            process.stop()
        assert not wrong, "\n".join(wrong)


def compared(theirs: Client, ours: Client, start: float, end: float) -> list[str]:
    assert ask(theirs, "range", "rate(prometheus_http_request_duration_seconds[5s])", start, end)["data"]["result"]
    return [f"{kind} {text}: {problem}" for kind, text in ASKED
            for problem in differences(ask(theirs, kind, text, start, end), ask(ours, kind, text, start, end))[:3]]
