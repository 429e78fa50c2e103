"""Scraped bodies to batches: the page of a real node exporter, twenty times under other names, in all formats."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from bench.conftest import Measure
from tests.client import Client
from tests.processes import free_port, wait_until
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import SeriesLimits, TargetSeries
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import Appended, Batch, KnownRows

PAGES = 20
ACCEPT = (
    "text/plain", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
)
REPORTS = ("up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
           "scrape_series_added")


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[Format, bytes]]:
    """What a node exporter answers, by format; for OpenMetrics, which it has not, without metadata."""
    root = Path(__file__).parent.parent
    where = os.pathsep.join(filter(None, [os.environ.get("TSDB_PEERS"), str(root / ".peers" / "bin"),
                                          os.environ.get("PATH")]))
    program = shutil.which("prometheus-node-exporter", path=where) or shutil.which("node_exporter", path=where)
    if program is None:
        pytest.skip("no node exporter here: set TSDB_PEERS to the folder that has it")
    port = free_port()
    process = subprocess.Popen([program, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        client = Client(port)
        wait_until(lambda: answers(client), "the node exporter answers")
        text, protobuf = (client.request("GET", "/metrics", headers={"Accept": accept}).body for accept in ACCEPT)
        lines = b"".join(line for line in text.splitlines(keepends=True) if line[:1] != b"#")
        yield {Format.TEXT: text, Format.OPENMETRICS: lines + b"# EOF\n", Format.PROTOBUF: protobuf}
    finally:
        process.kill()
        process.wait()


def answers(client: Client) -> bool:
    try:
        return client.get("/metrics").status == 200
    except OSError:
        return False


@dataclass
class Slots:
    """Gives each new series a slot, as a storage that takes everything."""

    slots: int = 0
    series: TargetSeries = field(default_factory=lambda: TargetSeries(
        new_secret(), {"job": "node", "instance": "10.0.0.1:9100"}, reports=REPORTS, honor_labels=False,
        limits=SeriesLimits(),
    ))
    ts: int = 0

    def scrape(self, body: bytes, format_: Format) -> Batch:
        self.ts += 15_000
        batch = self.series.batch(self.series.parse(body, format_, self.ts), self.ts, [1.0] * len(REPORTS))
        new = batch.row_hash.size
        slots = np.arange(self.slots, self.slots + new, dtype=np.int32)
        self.slots += new
        self.series.appended(Appended(batch.samples, np.zeros(batch.samples, np.uint8),
                                      KnownRows(slots, slots.astype(np.uint64))))
        return batch


def many(page: bytes, format_: Format) -> bytes:
    """The page again and again, with other names of equal length."""
    copies = [page.removesuffix(b"# EOF\n").replace(b"node_", b"n%03d_" % copy) for copy in range(PAGES)]
    return b"".join(copies) + (b"# EOF\n" if format_ is Format.OPENMETRICS else b"")


@pytest.mark.parametrize("format_", Format)
def bench_known(format_: Format, pages: dict[Format, bytes], measure: Measure) -> None:
    """The series of the last scrape in the same order: what nearly every scrape is."""
    body, target = many(pages[format_], format_), Slots()
    target.scrape(body, format_)
    batch = measure(lambda: target.scrape(body, format_), target.scrape(body, format_).samples, "sample", rounds=40)
    assert batch.row_hash.size == 0


def bench_known_one_page(pages: dict[Format, bytes], measure: Measure) -> None:
    """One page: what a scrape costs besides its samples shows."""
    body, target = pages[Format.TEXT], Slots()
    target.scrape(body, Format.TEXT)
    measure(lambda: target.scrape(body, Format.TEXT), target.scrape(body, Format.TEXT).samples, "sample", rounds=200)


def bench_reordered(pages: dict[Format, bytes], measure: Measure) -> None:
    """Known series, each time in another order."""
    lines = [line for line in many(pages[Format.TEXT], Format.TEXT).splitlines(keepends=True) if line[:1] != b"#"]
    shuffle, target = random.Random(1), Slots()
    bodies = [b"".join(shuffle.sample(lines, len(lines))) for _ in range(5)]
    target.scrape(bodies[0], Format.TEXT)
    measure(lambda body: target.scrape(body, Format.TEXT), len(lines), "sample", rounds=20,
            setup=lambda: ((shuffle.choice(bodies),), {}))


@pytest.mark.parametrize("format_", Format)
def bench_first(format_: Format, pages: dict[Format, bytes], measure: Measure) -> None:
    """All series are new."""
    body = many(pages[format_], format_)
    samples = Slots().scrape(body, format_).samples
    measure(lambda target: target.scrape(body, format_), samples, "sample", setup=lambda: ((Slots(),), {}))
