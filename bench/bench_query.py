"""The read path: selectors, tiles, `sum(rate())` over ten thousand series, and results as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.conftest import SIZES, Measure
from bench.workload import STEP_MS, Fleet
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import Selection
from tsdb.promql import Engine, EngineOptions
from tsdb.server.api.json_result import encode_result
from tsdb.storage import Storage

SERIES = 10_000
SCRAPES = 280
STEPS = 240

SELECTORS = {
    "one-host": Matcher(MatchType.EQUAL, "instance", "host-00042.example.net:9100"),
    "one-in-twelve": Matcher(MatchType.EQUAL, "mode", "idle"),
    "regex-of-one-host": Matcher(MatchType.REGEX, "instance", "host-0004[27].+"),
    "all": Matcher(MatchType.REGEX, "job", ".+"),
}


def filled(folder: Path, fleet: Fleet, scrapes: int) -> Storage:
    storage = Storage.open(folder)
    for _ in range(scrapes):
        for future in [storage.submit(batch) for batch in fleet.batches(storage.secret)]:
            future.result(120)
    return storage


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Storage, int]]:
    """10k series over 70 minutes, and the time of the last scrape (ms)."""
    start = int(time.time() * 1000) - (SCRAPES + 1) * STEP_MS
    storage = filled(tmp_path_factory.mktemp("hour"), Fleet(SERIES, "scrape", start), SCRAPES)
    yield storage, start + (SCRAPES - 1) * STEP_MS
    storage.close()


@pytest.fixture(scope="module")
def wide(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, fleet: Callable[[int, str], Fleet]
) -> Iterator[Storage]:
    """As many series as the parameter says, one sample each."""
    storage = filled(tmp_path_factory.mktemp("wide"), fleet(request.param, "scrape"), 1)
    yield storage
    storage.close()


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("wide", SIZES, indirect=True)
def bench_selector(wide: Storage, selector: str, measure: Measure) -> None:
    """Matchers to a consistent capture, with the label sets of what matched."""
    selection = Selection((SELECTORS[selector],), 0, int(time.time() * 1000))

    def select() -> int:
        with wide.capture([selection], RequestContext()) as capture:
            return len(capture.selected[0].series)

    found = select()
    assert found
    measure(select, found, "series found", rounds=15)


def bench_decode_tiles(hour: tuple[Storage, int], measure: Measure) -> None:
    """Gorilla chunks to tiles, one thread."""
    storage, end = hour
    selection = Selection((SELECTORS["all"],), end - STEPS * STEP_MS, end)

    def decode() -> int:
        with storage.capture([selection], RequestContext()) as capture:
            selected = capture.selected[0]
            return sum(selected.tile(i).ts.size for i in range(selected.tile_rows.size - 1))

    measure(decode, decode(), "sample", rounds=10)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("expr", ["sum(rate({}[5m]))", "sum by (job) (rate({}[5m]))", "rate({}[5m])"])
def bench_rate(hour: tuple[Storage, int], expr: str, threads: int, measure: Measure) -> None:
    """10k series x 240 steps."""
    storage, end = hour
    text = expr.format('{__name__=~"node_cpu_seconds_total|http_requests_total"}')
    with Engine(storage, EngineOptions(threads=threads)) as engine:

        def evaluate() -> int:
            context = RequestContext(threads=threads)
            result = engine.query_range(text, end - (STEPS - 1) * STEP_MS, end, STEP_MS, context)
            return int(result.values.size)

        assert evaluate()
        measure(evaluate, SERIES * STEPS, "series x step", rounds=10)


def bench_json(hour: tuple[Storage, int], measure: Measure) -> None:
    """A matrix of 10k series x 240 steps of full doubles as Prometheus' JSON."""
    storage, end = hour
    with Engine(storage, EngineOptions(threads=1)) as engine:
        result = engine.query_range('rate({job=~".+"}[5m])', end - (STEPS - 1) * STEP_MS, end, STEP_MS)
        parts = measure(lambda: list(encode_result(result)[0]), int(result.present.sum()), "value")
        assert sum(map(len, parts)) > 10 * int(result.present.sum())
