"""Start times from the bytes on the wire to a query, by each protocol that has them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.ingest.messages import Request
from tests.ingest.sender import compress
from tests.ingest.test_metric_families import COUNTER, Family, Metric
from tests.storage.simulator.stepped import NOW_S, open_storage
from tests.storage.starts.plain import read
from tests.wal.simulated import SimulatedFileSystem
from tsdb.ingest.exposition.formats import Format
from tsdb.ingest.exposition.scrape_series import SeriesLimits, TargetSeries
from tsdb.ingest.remote_write import MESSAGE_2, decode
from tsdb.model.batch import Batch
from tsdb.storage import Storage, StorageOptions

NOW = int(NOW_S * 1000)
SECONDS = NOW // 1000 - 60
TEXT = f"""# TYPE m counter
m_total{{n="1"}} 5
m_created{{n="1"}} {SECONDS}.5
m_total{{n="2"}} 6
# EOF
"""


def remote_write(storage: Storage) -> Batch:
    request = Request()
    request.add({"__name__": "m", "n": "1"}, (NOW, 1.0)).samples[0].start_timestamp = 1000 * SECONDS + 500
    request.add({"__name__": "m", "n": "2"}, (NOW, 1.0))
    return decode(compress(request.raw), storage.secret, message=MESSAGE_2).batch


def scraped(storage: Storage, body: bytes, format_: Format) -> Batch:
    target = TargetSeries(storage.secret, {}, reports=(), honor_labels=False, limits=SeriesLimits(),
                          relabel=lambda labels: None if labels["__name__"].endswith("_created") else labels)
    return target.batch(target.parse(body, format_, NOW), NOW, [])


def openmetrics(storage: Storage) -> Batch:
    return scraped(storage, TEXT.encode(), Format.OPENMETRICS)


def protobuf(storage: Storage) -> Batch:
    metrics = (Metric((("n", "1"),), created=(SECONDS, 500_000_000)), Metric((("n", "2"),)))
    return scraped(storage, Family("m_total", COUNTER, metrics).encode(), Format.PROTOBUF)


@pytest.mark.parametrize("protocol", [remote_write, openmetrics, protobuf])
def test_start_times_reach_queries(protocol: Callable[[Storage], Batch]) -> None:
    with contextlib.closing(open_storage(SimulatedFileSystem(), StorageOptions())) as storage:
        assert not storage.submit(protocol(storage)).result(20).rejected
        assert read(storage) == {(1, NOW): 1000 * SECONDS + 500, (2, NOW): 0}
