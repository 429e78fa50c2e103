"""remote_write: from the body of a request to a batch (snappy, protobuf, canonical keys, hashes)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.conftest import ORDERS, SIZES, Measure
from bench.workload import Fleet, as_version_2, decode
from tsdb.ingest.remote_write import MESSAGE_2
from tsdb.kernels.hash_kernels import new_secret


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("series", SIZES)
def bench_decode(series: int, order: str, fleet: Callable[[int, str], Fleet], measure: Measure) -> None:
    bodies = fleet(series, order).bodies()
    secret = new_secret()
    batches = measure(lambda: decode(bodies, secret), series, "sample")
    assert sum(batch.samples for batch in batches) == series


@pytest.mark.parametrize("order", ORDERS)
def bench_decode_version_2(order: str, fleet: Callable[[int, str], Fleet], measure: Measure) -> None:
    series = SIZES[0]
    bodies = [as_version_2(body) for body in fleet(series, order).bodies()]
    secret = new_secret()
    batches = measure(lambda: decode(bodies, secret, MESSAGE_2), series, "sample")
    assert sum(batch.samples for batch in batches) == series
