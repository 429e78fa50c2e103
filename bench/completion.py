"""Completion and search among 100,000 metric names, over HTTP: wall and CPU of the server's process, ms."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import uvloop

from tsdb.config import Config
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.batch import Batch
from tsdb.model.labels import canonical_key
from tsdb.server.server import Server, listen, open_storage

WORDS = ("http", "node", "go", "request", "memory", "cpu", "seconds", "bytes", "total", "queue", "disk", "network",
         "latency", "grpc", "kafka")
NAMES = [f"{WORDS[n % 15]}_{WORDS[n // 15 % 15]}_{WORDS[n // 225 % 15]}_{n}_{WORDS[n // 7 % 15]}"
         for n in range(100_000)]
COMPLETED = ("sum(rate(h", "sum(rate(http_req", "reqtot55", "", "sum by (i", f"{NAMES[5]}{{", f'{NAMES[5]}{{instance="')
SEARCHED: tuple[dict[str, object], ...] = ({"search[]": "http_req"}, {"search[]": "http_req", "sort_by": "score"},
            {"search[]": "htpt_reqest", "fuzz_alg": "jarowinkler", "fuzz_threshold": 80, "sort_by": "score"}, {})
REPEATED = 20


def main() -> None:
    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        server = asyncio.run_coroutine_threadsafe(started(Path(folder)), loop).result(300)
        try:
            fill(server)
            for text in COMPLETED:
                measure(server, "/api/tsdb/v1/completion", {"query": text})
            for parameters in SEARCHED:
                measure(server, "/api/v1/search/metric_names", parameters)
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)


async def started(folder: Path) -> Server:
    server = Server(Config())
    await server.start(listen("127.0.0.1:0"))
    await server.open(open_storage(folder, None))
    return server


def fill(server: Server) -> None:
    storage, now = server.services.storage, time.time_ns() // 1_000_000
    for first in range(0, len(NAMES), 20_000):
        keys = [canonical_key({"__name__": name, "instance": f"i{n % 5}", "job": "a"})
                for n, name in enumerate(NAMES[first : first + 20_000])]
        lengths = np.array([len(key) for key in keys], np.uint32)
        offsets = (np.cumsum(lengths) - lengths).astype(np.uint32)
        joined = np.frombuffer(b"".join(keys) + bytes(16), np.uint8)
        hashes, count = np.empty(len(keys), np.uint64), len(keys)
        hash_rows(storage.secret, joined, offsets, lengths, hashes)
        storage.submit(Batch(joined, hashes, offsets, lengths, np.arange(count, dtype=np.uint32),
                             np.full(count, now, np.int64), np.zeros(count, np.uint64), [])).result()


def measure(server: Server, path: str, parameters: dict[str, object]) -> None:
    url = f"{server.url}{path}?{urllib.parse.urlencode(parameters)}"
    wall, cpu = [], []
    for _ in range(REPEATED):
        began = time.perf_counter(), time.process_time()
        with urllib.request.urlopen(url) as answer:
            answer.read()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    print(f"{path.rpartition('/')[2]} {' '.join(map(str, parameters.values())):50} first {wall[0] * 1000:6.1f}  "
          f"then wall {statistics.median(wall) * 1000:5.1f}  cpu {statistics.median(cpu) * 1000:5.1f}")


if __name__ == "__main__":
    main()
