"""A prometheus.yml with node exporters, relabeling and file discovery, ten minutes long, in two servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.end_to_end.drop_in import Side
from tests.end_to_end.test_drop_in import argv_of, assert_none, text
from tests.end_to_end.timelines import Timeline, difference, timelines
from tests.processes import TSDB, free_port

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIG = """\
global:
  scrape_interval: 5s
  external_labels: {{monitor: example}}
scrape_configs:
  - job_name: prometheus
    static_configs:
      - targets: ['localhost:{prometheus}']
  - job_name: node
    static_configs:
      - targets: ['localhost:{node}', '127.0.0.1:{node}']
        labels: {{env: prod}}
    relabel_configs:
      - {{source_labels: [__address__], regex: '([^:]+):\\d+', target_label: host}}
    metric_relabel_configs:
      - {{source_labels: [__name__], regex: 'go_gc_.*|node_scrape_.*', action: drop}}
      - {{source_labels: [device], regex: 'lo', action: drop}}
      - {{regex: 'fstype', action: labeldrop}}
  - job_name: files
    file_sd_configs: [{{files: ['hosts/*.yml'], refresh_interval: 1m}}]
    relabel_configs:
      - {{action: labelmap, regex: __meta_dc_(.+)}}
      - {{source_labels: [__address__], target_label: __param_target}}
      - {{source_labels: [skip], regex: 'true', action: drop}}
    params: {{'collect[]': [cpu, meminfo, loadavg]}}
  - job_name: away
    static_configs: [{{targets: ['localhost:{nobody}']}}]
"""
HOSTS = """\
- targets: ['127.0.0.1:{node}']
  labels: {{rack: r1, __meta_dc_zone: a}}
- targets: ['127.0.0.2:{node}']
  labels: {{skip: 'true'}}
"""
STEP = 5.0


@pytest.mark.parametrize("seconds", [60, 600])
def test_the_same_series_for_ten_minutes(
    seconds: int, peer: Callable[[str], Path], start: Start, tmp_path: Path
) -> None:
    ports = {"prometheus": free_port(), "node": free_port(), "nobody": free_port()}
    file = tmp_path / "prometheus.yml"
    file.write_text(CONFIG.format(**ports))
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts" / "r1.yml").write_text(HOSTS.format(**ports))
    (tmp_path / "target.yml").write_text("global: {}\n")
    start([peer("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{ports['node']}",
           "--no-collector.systemd", "--log.level=error"], ports["node"]).wait_ready("/metrics")
    target = argv_of(peer("prometheus"), tmp_path / "target.yml")(ports["prometheus"], tmp_path / "target")
    start(target, ports["prometheus"]).wait_ready()
    both = [Side(name, argv_of(program, file), tmp_path)
            for name, program in (("prometheus", peer("prometheus")), ("tsdb", TSDB))]
    try:
        for side in both:
            side.start()
        for side in both:
            side.wait_scraped(5, timeout=120)
        begin = time.time() + 2 * STEP
        time.sleep(seconds * 0.6)
        stop = time.time()
        for side in both:
            side.stop()
        time.sleep(2 * STEP)
        for side in both:
            side.start()
        for side in both:
            side.wait_scraped(5, timeout=120)
        time.sleep(max(0.0, begin + seconds - time.time()))
        end = time.time() - STEP
        assert_same(both[0], both[1], begin, end)
        assert_no_gap(both[1], begin, stop, end)
    finally:
        for side in both:
            if side.process is not None:
                side.process.kill()


def assert_same(theirs: Side, ours: Side, begin: float, end: float) -> None:
    """Series, labels, metadata, and when `up` and its like were what."""
    everything = {"match[]": '{job=~".+"}', "start": begin, "end": end}
    left, right = ({text(s.items()) for s in side.client.data("series", everything)} for side in (theirs, ours))
    assert len(left) > 1000
    assert_none([f"only Prometheus has {one}" for one in left - right]
                + [f"only we have {one}" for one in right - left])
    left, right = (
        {f"{name} {meta}" for name, metas in side.client.data("metadata").items() for meta in metas}
        for side in (theirs, ours)
    )
    assert_none([f"only Prometheus knows {one}" for one in left - right]
                + [f"only we know {one}" for one in right - left])
    reports = '{__name__=~"up|scrape_samples_.*"}'
    one, other = (
        timelines(side.client.query_range(reports, begin, end, STEP), begin, end, STEP, lambda labels: True)
        for side in (theirs, ours)
    )
    found = {labels: difference(one[labels], other[labels], lambda at: 60.0) for labels in one}
    assert_none([f"{text(labels)}: {words}" for labels, words in found.items() if words])


def assert_no_gap(side: Side, begin: float, stop: float, end: float) -> None:
    """Series that were there at the stop and at the end have no hole."""
    rows = side.client.query_range('{job=~".+"}', begin, end, STEP)
    found = timelines(rows, begin, end, STEP, lambda labels: False)

    def gap(timeline: Timeline) -> bool:
        return timeline[-1].value is not None and any(run.value is None and run.begin >= stop for run in timeline)

    assert_none([text(labels) for labels, timeline in found.items() if gap(timeline)])
