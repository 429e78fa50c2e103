"""Quantiles over native histograms beside Prometheus: CPU and wall time of one range query.

    python -m bench.native_quantile --bin-dir .peers/bin
    python -m bench.native_quantile --series 1000 10000 --rounds 9

`histogram_quantile(0.99, sum(rate(durations[5m])))` at 61 steps of 15 s over histograms of 60 buckets that are scraped
every 15 s, by remote_write into both servers, one after the other. Told are the median wall time of a request and the
CPU time of the server for it, and that both give the same answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from cramjam import snappy

from bench.histograms import HEADERS, STEP_MS, TSDB, Kind, series
from bench.peers.targets import Prometheus, Server, Target
from tests.ingest.messages import V1, histogram_message

Measured = tuple[float, float, dict[str, list[float]]]
"""Median wall time and CPU time in ms, and the answer: the values of each series, by its labels."""

QUERIES = (
    "histogram_quantile(0.99, sum(rate(durations[5m])))",
    "histogram_quantile(0.99, sum by (job) (rate(durations[5m])))",
    "histogram_quantile(0.99, rate(durations[5m]))",
)
STEPS, RANGE_MS = 60, 300_000
SAMPLES = STEPS + RANGE_MS // STEP_MS + 1
PATTERNS = 50
"""Different histograms; series beyond have the same ones."""
SERIES_OF_A_REQUEST = 200


def requests(many: int, start_ms: int) -> list[bytes]:
    """remote_write 1.0 bodies with all samples of `many` series."""
    encoded = []
    for seed in range(min(many, PATTERNS)):
        message = V1["TimeSeries"]()
        message.histograms.extend(histogram_message(one, start_ms + k * STEP_MS)
                                  for k, one in enumerate(series(Kind("", 60, 3), seed, SAMPLES)))
        encoded.append(message.SerializeToString())
    bodies = []
    for first in range(0, many, SERIES_OF_A_REQUEST):
        body = bytearray()
        for number in range(first, min(many, first + SERIES_OF_A_REQUEST)):
            message = V1["TimeSeries"]()
            for name, value in (("__name__", "durations"), ("instance", f"host-{number:05d}"),
                                ("job", f"job-{number % 10}")):
                message.labels.add(name=name, value=value)
            one = message.SerializeToString() + encoded[number % len(encoded)]
            body += b"\x0a" + _varint(len(one)) + one
        bodies.append(bytes(snappy.compress_raw(bytes(body))))
    return bodies


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def measure(target: Target, many: int, start_ms: int, rounds: int) -> dict[str, Measured]:
    """By query."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(target, Path(folder) / target.name, Path(folder) / "server.log")
        try:
            server.wait_ready()
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            for body in requests(many, start_ms):
                connection.request("POST", "/api/v1/write", body, HEADERS)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status >= 300:
                    raise RuntimeError(f"{answer.status} {text[:200]!r}")
            return {query: _ask(server, query, start_ms + RANGE_MS, rounds) for query in QUERIES}
        finally:
            server.kill9()


def _ask(server: Server, query: str, start_ms: int, rounds: int) -> Measured:
    parameters = {"query": query, "start": start_ms / 1000, "end": (start_ms + STEPS * STEP_MS) / 1000,
                  "step": STEP_MS / 1000}
    walls = []
    found: dict[str, list[float]] = {}
    for turn in range(rounds + 2):
        if turn == 2:
            before = server.cpu()
        began = time.perf_counter()
        status, body = server.request("GET", "/api/v1/query_range", parameters)
        if turn >= 2:
            walls.append(time.perf_counter() - began)
        if status != 200:
            raise RuntimeError(f"{query}: {status} {body[:300]!r}")
        rows = json.loads(body)["data"]["result"]
        found = {json.dumps(row["metric"], sort_keys=True): [float(value) for _, value in row["values"]]
                 for row in rows}
    return statistics.median(walls) * 1000, (server.cpu() - before) / rounds * 1000, found


def _same(one: dict[str, list[float]], other: dict[str, list[float]]) -> bool:
    return one.keys() == other.keys() and all(
        len(one[key]) == len(other[key]) and np.allclose(one[key], other[key], rtol=1e-9) for key in one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path)
    parser.add_argument("--series", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    targets = [Target("tsdb", TSDB)]
    if options.bin_dir is not None:
        prometheus = Prometheus(str(options.bin_dir / "prometheus"))
        prometheus.command = [*prometheus.command, "--enable-feature=native-histograms"]
        targets.insert(0, prometheus)
    for many in options.series:
        start_ms = (int(time.time() * 1000) - (SAMPLES + 4) * STEP_MS) // STEP_MS * STEP_MS
        figures = {target.name: measure(target, many, start_ms, options.rounds) for target in targets}
        for query in QUERIES:
            print(f"{many} series: {query}")
            for name, of_target in figures.items():
                wall, cpu, found = of_target[query]
                print(f"   {name:<12} p50 {wall:.1f} ms; CPU {cpu:.1f} ms; {len(found)} series")
            if len(figures) == 2 and not _same(*(of[query][2] for of in figures.values())):
                print("   the answers differ")


if __name__ == "__main__":
    main()
