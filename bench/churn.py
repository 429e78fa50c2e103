"""Series that come and go: a day in which every hour a tenth of the pods is replaced, in compressed time.

    python -m bench.churn [--series 100000] [--hours 24] [--interval 300] [--replaced 0.1]

Everything goes through `Storage.submit` with times of yesterday; windows are cut, blocks compacted, and series
collected by the storage itself. One line for each two hours: memory must not grow with the series that were ever there.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsdb.kernels import warm_up
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import Batch
from tsdb.model.context import RequestContext
from tsdb.model.labels import canonical_key
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import Selection
from tsdb.server import malloc
from tsdb.storage import Storage
from tsdb.storage.head import series_kernels

HOUR_MS = 3600_000
PER_POD = 100
PODS_PER_BATCH = 50


class Pods:
    """Batches of a changing set of pods with `PER_POD` series each."""

    def __init__(self, storage: Storage, pods: int) -> None:
        self._secret = storage.secret
        self._made = 0
        self._keys = [self._new_pod() for _ in range(pods)]
        self._random = np.random.default_rng(1)

    def _new_pod(self) -> list[bytes]:
        self._made += 1
        shared = {
            "job": "kubernetes-pods", "namespace": f"team-{self._made % 40}",
            "pod": f"web-{self._made:06x}-{self._made * 7919 % 9973:04x}x",
            "instance": f"10.{self._made >> 16}.{self._made >> 8 & 255}.{self._made & 255}:8080",
            "node": f"node-{self._made % 50:03d}.eu-west-1.example.net", "container": "server",
        }
        return [canonical_key({"__name__": f"app_http_requests_{i % 25}_total", "code": str(200 + i // 25), **shared})
                for i in range(PER_POD)]

    def replace(self, share: float) -> None:
        """Other pods in the place of some."""
        for place in self._random.choice(len(self._keys), int(len(self._keys) * share), replace=False).tolist():
            self._keys[place] = self._new_pod()

    def prepared(self) -> list[Batch]:
        """Batches of all pods, whose samples have neither time nor value yet."""
        found = []
        for start in range(0, len(self._keys), PODS_PER_BATCH):
            keys = [key for pod in self._keys[start : start + PODS_PER_BATCH] for key in pod]
            lengths = np.array(list(map(len, keys)), np.uint32)
            offsets = (np.cumsum(lengths) - lengths).astype(np.uint32)
            joined = np.frombuffer(b"".join(keys) + bytes(16), np.uint8)
            hashes = np.empty(len(keys), np.uint64)
            hash_rows(self._secret, joined, offsets, lengths, hashes)
            none = np.zeros(len(keys), np.int64)
            found.append(Batch(joined, hashes, offsets, lengths, np.arange(len(keys), dtype=np.uint32), none,
                               none.view(np.uint64)))
        return found


@dataclass(frozen=True)
class Figures:
    """At one moment."""

    anonymous_mib: float
    shared_mib: float
    head_series: int
    slots: int
    pairs: int
    symbols: int
    name_mib: float
    index_mib: float
    blocks: int
    one_label_ms: float
    regex_ms: float
    capture_ms: float


def measure(storage: Storage, now: int) -> Figures:
    memory = {name: int(rest.split()[0]) / 1024 for name, rest in (
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss"))}
    index, table = storage._index, storage._head.table
    base = index.view().base
    counters = table.counters

    def best(*matchers: Matcher) -> float:
        times = []
        for _ in range(5):
            index._kept.clear()
            began = time.perf_counter()
            with table.readers.reading():
                index.select(matchers)
            times.append(time.perf_counter() - began)
        return min(times) * 1000

    def capture() -> float:
        began = time.perf_counter()
        selection = Selection((Matcher(MatchType.EQUAL, "node", "node-007.eu-west-1.example.net"),), now - 300_000, now)
        with storage.capture([selection], RequestContext()) as found:
            len(found.selected[0].series)
        return (time.perf_counter() - began) * 1000

    names = (counters[series_kernels.KEY_BYTES] + counters[series_kernels.SYMBOL_BYTES]
             + 4 * counters[series_kernels.LABELS]) / 2**20
    arrays = (base.slots, base.offsets, base.postings, base.names, base.name_offsets, base.name_pairs, table.births,
              table.pair_births, table.table, table.symbol_table, table.pair_table)
    return Figures(
        memory["RssAnon"], memory["RssShmem"], table.series, table.size, table.pairs, table.symbols, float(names),
        sum(array.nbytes for array in arrays) / 2**20, len(storage._blocks.every),
        best(Matcher(MatchType.EQUAL, "node", "node-007.eu-west-1.example.net")),
        best(Matcher(MatchType.REGEX, "pod", "web-[0-9a-f]+1-.*"), Matcher(MatchType.EQUAL, "code", "200")),
        min(capture() for _ in range(3)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--interval", type=int, default=300, help="seconds between samples")
    parser.add_argument("--replaced", type=float, default=0.1, help="share of the pods replaced every hour")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO if options.verbose else logging.ERROR)
    malloc.tune()
    warm_up(wait=None)
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.open(Path(folder) / "data")
        pods = Pods(storage, options.series // PER_POD)
        step_ms = options.interval * 1000
        now = (int(time.time()) * 1000 - (options.hours + 1) * HOUR_MS) // step_ms * step_ms
        print("hour", *Figures.__dataclass_fields__)
        for hour in range(1, options.hours + 1):
            batches = pods.prepared()
            for at in range(now, now + HOUR_MS, step_ms):
                futures = []
                for batch in batches:
                    batch.ts = np.full(batch.ts.size, at, np.int64)
                    batch.values = (np.arange(batch.ts.size) + at / step_ms).view(np.uint64)
                    futures.append(storage.submit(batch))
                for future in futures:
                    assert future.result(120).rejected == 0
            now += HOUR_MS
            pods.replace(options.replaced)
            for _ in range(4):  # a pass of the maintenance lies between two of these
                assert storage._maintenance is not None
                storage._maintenance.do(lambda: None).result(120)
            if hour % 2 == 0:
                figures = measure(storage, now)
                print(hour, *(f"{value:.4g}" if isinstance(value, float) else value
                              for value in vars(figures).values()), flush=True)
        statistics = storage.statistics()
        print(f"{statistics.series_made} series made, {statistics.series_removed} removed, "
              f"collections took {statistics.collections.sum:.2f} s")
        storage.close()


if __name__ == "__main__":
    main()
