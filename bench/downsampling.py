"""A dashboard over a year of samples, with and without downsampling tiers: ``python -m bench.downsampling``.

A year of samples is imported by the bulk writer, tiers are built, and the queries of a dashboard are evaluated over an
hour, a day, 30 days and a year, from samples alone and as queries choose by themselves. In process, without HTTP.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tsdb.kernels import warm_up
from tsdb.kernels.hash_kernels import hash_rows, new_secret
from tsdb.model.batch import Batch
from tsdb.model.context import Limits, RequestContext
from tsdb.model.labels import canonical_key
from tsdb.promql import Engine
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.bulk.writer import BulkWriter
from tsdb.storage.tiers.rule import TierRule
from tsdb.wal.files import LocalFileSystem

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
END = 1_795_392_000_000 // DAY * DAY
PANELS = (
    "sum by (job) (rate(requests_total[{range}]))",
    "topk(5, sum by (instance) (increase(requests_total[{range}])))",
    "avg by (job) (avg_over_time(load[{range}]))",
    "max by (job) (max_over_time(load[{range}]))",
    "quantile(0.95, avg_over_time(load[{range}]))",
    "sum(count_over_time(load[{range}]))",
    "sum(rate(requests_total{{job=\"job-1\"}}[{range}])) / sum(rate(requests_total[{range}]))",
)
SPANS = (("1 h", HOUR, MINUTE, "5m"), ("1 d", DAY, 5 * MINUTE, "5m"), ("30 d", 30 * DAY, 2 * HOUR, "2h"),
         ("1 y", 365 * DAY, DAY, "1d"))
"""What is looked at: how long, its step, and the range of the functions."""
LIMITS = Limits(max_samples=1 << 60)


def fill(folder: Path, series: int, days: int, interval: int) -> tuple[int, float]:
    """Imports samples; (how many, CPU seconds)."""
    secret = new_secret()
    half = series // 2
    labels = [{"__name__": name, "job": f"job-{n % 10}", "instance": f"host-{n}"}
              for name in ("requests_total", "load") for n in range(half)]
    keys = [canonical_key(each) for each in labels]
    lengths = np.array([len(key) for key in keys], np.uint32)
    offsets = (np.cumsum(lengths) - lengths).astype(np.uint32)
    joined, hashes = np.frombuffer(b"".join(keys) + bytes(16), np.uint8), np.empty(len(keys), np.uint64)
    hash_rows(secret, joined, offsets, lengths, hashes)
    chance = np.random.default_rng(1)
    totals, levels = np.zeros(half), chance.uniform(10, 90, half)
    storage = Storage.open(folder)
    storage.close()
    writer = BulkWriter(LocalFileSystem(), folder / "blocks", folder / "import", secret, identity=b"a year")
    began, taken = time.process_time(), 0
    made = 0.0
    for day in range(days):
        before = time.process_time()
        at = END - (days - day) * DAY + np.arange(1, DAY // interval + 1) * interval
        counters = totals + np.cumsum(chance.poisson(interval / 1000, (at.size, half)), axis=0)
        totals = counters[-1]
        gauges = np.round(levels + chance.normal(0, 5, (at.size, half)), 2)
        values = np.concatenate((counters, gauges), axis=1)
        batch = Batch(joined, hashes, offsets, lengths, np.tile(np.arange(2 * half, dtype=np.uint32), at.size),
                      np.repeat(at, 2 * half), values.ravel().view(np.uint64))
        made += time.process_time() - before
        taken += writer.add(batch)
    writer.finish()
    writer.discard()
    return taken, time.process_time() - began - made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--interval", type=int, default=60, metavar="SECONDS")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    warm_up(None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples, cpu = fill(folder, options.series, options.days, options.interval * 1000)
        rules = (TierRule(5 * MINUTE, 90 * DAY), TierRule(HOUR, 0))
        raw = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{options.series} series, {samples} samples, one every {options.interval} s: imported in {cpu:.1f} s of "
              f"CPU, {samples / cpu / 1e6:.2f} M samples per CPU second, {raw / samples:.3f} bytes per sample")
        storage = Storage.open(folder, StorageOptions(tiers=rules))
        began, cpu = time.perf_counter(), time.process_time()
        storage.compact()
        size = sum(path.stat().st_size for path in (folder / "tiers").rglob("*") if path.is_file())
        print(f"tiers of 5m for 90 d and 1h: built in {time.process_time() - cpu:.1f} s of CPU, "
              f"{time.perf_counter() - began:.1f} s, {size} bytes, {100 * size / raw:.1f} % more")
        with Engine(storage) as engine:
            for said, length, step, window in SPANS:
                if length > options.days * DAY:
                    continue
                took: dict[int | None, list[float]] = {}
                read: set[int] = set()
                for way, times in ((None, options.repetitions), (0, max(1, options.repetitions // 3))):
                    for panel in PANELS:
                        expr = panel.format(range=window)
                        for _ in range(times):
                            began = time.perf_counter()
                            found = engine.query_range(expr, END - length, END, step, RequestContext(limits=LIMITS,
                                                       threads=2), max_source_resolution_ms=way)
                            took.setdefault(way, []).append(1000 * (time.perf_counter() - began))
                        if way is None:
                            read.update(found.tiers_used)
                told = ", ".join(f"{label} p50 {statistics.median(took[way]):.1f} ms, most {max(took[way]):.1f} ms"
                                 for way, label in ((None, "by itself"), (0, "from samples")))
                print(f"{said:>5}: {told}; read {sorted(read)} (ms; 0: samples)")
        storage.close()
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
