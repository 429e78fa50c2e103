"""Native histograms beside Prometheus: bytes on disk and CPU per sample.

    python -m bench.histograms                                  the codec alone
    python -m bench.histograms --bin-dir .peers/bin             and both servers, the same remote_write 1.0 requests

Histograms of durations, scraped every 15 s for two hours; `rate` is how often the fullest bucket grows between two
scrapes, on average. Told are bytes of chunks in blocks (a snapshot's, which has the head as a block; a checksum counts,
the index does not), nanoseconds of CPU for a sample: to take it in, and to read it (`count_over_time` over all of them,
the best of five), from the head, and once it is in a block. The codec's: encoding and decoding by one thread.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cramjam import snappy

from bench.peers.targets import Prometheus, Server, Target
from tests.ingest.messages import V1, histogram_message
from tests.storage.histograms.payload import with_payload
from tsdb.model.native_histograms import NativeHistogram
from tsdb.storage.block.chunk_kernels import COLUMNS
from tsdb.storage.block.histogram_encoding import CHUNK_SAMPLES, encode_histograms
from tsdb.storage.block.histogram_reading import Places, decode_kinds

TSDB = (f"{Path(sys.executable).parent / 'tsdb'} serve --listen 127.0.0.1:{{port}} --data {{dir}}/data "
        "--web.enable-admin-api")
HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
SAMPLES = 480
STEP_MS = 15_000
STEPS_AT_ONCE = 20


@dataclass(frozen=True)
class Kind:
    name: str
    buckets: int
    rate: float
    floats: bool = False


KINDS = (
    Kind("30 buckets, idle", 30, 0.02),
    Kind("30 buckets", 30, 3),
    Kind("60 buckets", 60, 3),
    Kind("60 buckets, busy", 60, 100),
    Kind("160 buckets", 160, 3),
    Kind("60 buckets, rates (floats)", 60, 3, floats=True),
)


def series(kind: Kind, seed: int, samples: int) -> list[NativeHistogram]:
    """A scraped histogram; of floats, what a recording rule makes of one."""
    chance = np.random.default_rng(seed)
    center = np.arange(kind.buckets) - kind.buckets / 2
    shape = kind.rate * np.exp(-(center / (kind.buckets / 4)) ** 2)
    width = 2.0 ** (center / 8)
    counts, total = chance.poisson(shape * 1000), 0.0
    total = float((counts * width).sum())
    out = []
    for _ in range(samples):
        more = chance.poisson(shape)
        total += float((more * width * (1 + chance.random(kind.buckets) / 10)).sum())
        counts = counts + more
        shown = tuple((counts / 300.0).tolist()) if kind.floats else tuple(counts.tolist())
        spans = ((-kind.buckets // 2, kind.buckets),)
        out.append(NativeHistogram(3, total, sum(shown), 2.938735877055719e-39, 0, spans, (), shown,
                                   floats=kind.floats))
    return out


def codec(rows: list[list[NativeHistogram]], most: int) -> dict[str, float]:
    values, payload = with_payload([one for row in rows for one in row])
    total = values.size
    ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
    begin = ends - len(rows[0])
    ts = np.tile(np.arange(len(rows[0]), dtype=np.int64) * STEP_MS, len(rows))
    ts += np.random.default_rng(1).integers(0, 4, ts.size)
    encoding = decoding = 1e9
    for _ in range(5):
        began = time.thread_time()
        chunks = encode_histograms(begin, ends, ts, values, payload, most=most)
        encoding = min(encoding, time.thread_time() - began)
    file, offsets = _file(chunks)
    past = np.cumsum(chunks.series)
    columns = np.zeros((1, COLUMNS), np.uint64)
    arrays = [file, chunks.mint.astype(np.uint64), chunks.maxt.astype(np.uint64), offsets,
              chunks.samples.astype(np.uint16), chunks.form]
    at = [array.__array_interface__["data"][0] for array in arrays]
    columns[0, :10] = at[0], file.size, at[1], at[2], at[3], 8, 8, 0, at[4], at[5]
    places = Places(columns, np.arange(len(rows) + 1), np.zeros(len(rows), np.int32), past - chunks.series, past)
    for _ in range(5):
        began = time.thread_time()
        _, state, _, _ = decode_kinds(places, 0, len(rows), -(1 << 62), 1 << 62, total)
        assert state == 0
        decoding = min(decoding, time.thread_time() - began)
    size = float(chunks.length.sum() + 4 * chunks.length.size)
    return {"as they come, bytes": payload.size / total, "bytes": size / total, "encode, ns": encoding / total * 1e9,
            "decode, ns": decoding / total * 1e9}


def _file(chunks: Any) -> tuple[Any, Any]:
    """Chunks as they stand in a block."""
    from tsdb.storage.block.copy_kernels import copy_chunks

    out = np.zeros(int(chunks.length.sum()) + 4 * chunks.length.size + 16, np.uint8)
    _, size = copy_chunks(0, chunks.address, chunks.length, chunks.mint, chunks.maxt, chunks.samples,
                          _readonly(chunks.form), np.empty(24, np.uint8), out[16:])
    assert size == out.size - 16
    offsets = np.concatenate(([16], 16 + np.cumsum(chunks.length + 4))).astype(np.uint64)
    return _readonly(out), offsets


def _readonly(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view


def bodies(rows: list[list[NativeHistogram]], start_ms: int) -> list[bytes]:
    out = []
    for first in range(0, len(rows[0]), STEPS_AT_ONCE):
        request = V1["WriteRequest"]()
        for number, row in enumerate(rows):
            one = request.timeseries.add()
            for name, value in (("__name__", "durations"), ("instance", f"host-{number:03d}"), ("job", "api")):
                one.labels.add(name=name, value=value)
            one.histograms.extend(
                histogram_message(histogram, start_ms + (first + k) * STEP_MS)
                for k, histogram in enumerate(row[first : first + STEPS_AT_ONCE]))
        out.append(bytes(snappy.compress_raw(request.SerializeToString())))
    return out


def served(target: Target, requests: list[bytes], samples: int, end_ms: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(target, Path(folder) / target.name, Path(folder) / "server.log")
        try:
            server.wait_ready()
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            _write(connection, requests[:1])
            server.scalar("sum(count_over_time(durations[1h]))", end_ms)
            _wait_for_quiet(server)
            before = server.cpu()
            _write(connection, requests[1:])
            ingest = (server.cpu() - before) / (samples * (len(requests) - 1) / len(requests))
            name = json.loads(server.request("POST", "/api/v1/admin/tsdb/snapshot")[1])["data"]["name"]
            snapshot = server.folder / "data" / "snapshots" / name
            size = sum(path.stat().st_size for path in snapshot.rglob("*")
                       if path.is_file() and "chunks" in path.relative_to(snapshot).parts)
            query = f"sum(count_over_time(durations[{SAMPLES * STEP_MS}ms]))"
            found = server.scalar(query, end_ms)
            reading = min(_cpu_of(server, query, end_ms) for _ in range(5)) / found
            figures = {"samples": found, "bytes": size / samples, "ingest, ns": ingest * 1e9,
                       "query, ns": reading * 1e9}
            if server.request("POST", "/api/v1/admin/tsdb/compact")[0] < 300:  # Prometheus has no such thing
                reading = min(_cpu_of(server, query, end_ms) for _ in range(5)) / found
                figures["of blocks, ns"] = reading * 1e9
            return figures
        finally:
            server.kill9()


def _wait_for_quiet(server: Server) -> None:
    """Until it does nothing in the background, such as compiling."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        before = server.cpu()
        time.sleep(1)
        if server.cpu() - before < 0.05:
            return


def _cpu_of(server: Server, query: str, end_ms: int) -> float:
    before = server.cpu()
    for _ in range(5):
        server.scalar(query, end_ms)
    return (server.cpu() - before) / 5


def _write(connection: http.client.HTTPConnection, requests: list[bytes]) -> None:
    for body in requests:
        connection.request("POST", "/api/v1/write", body, HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{answer.status} {text[:200]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path)
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--most", type=int, default=CHUNK_SAMPLES, help="samples of a chunk; the codec alone")
    parser.add_argument("--kinds", type=int, default=len(KINDS), help="only the first of them")
    options = parser.parse_args()
    targets: list[Target] = []
    if options.bin_dir is not None:
        prometheus = Prometheus(str(options.bin_dir / "prometheus"))
        prometheus.command = [*prometheus.command, "--enable-feature=native-histograms"]
        targets = [prometheus, Target("tsdb", TSDB)]
    for kind in KINDS[: options.kinds]:
        rows = [series(kind, seed, SAMPLES) for seed in range(options.series)]
        print(kind.name)
        print("   codec       ", _line(codec(rows, options.most)))
        if targets:
            start_ms = (int(time.time() * 1000) - (SAMPLES + 4) * STEP_MS) // STEP_MS * STEP_MS
            requests = bodies(rows, start_ms)
            for target in targets:
                figures = served(target, requests, SAMPLES * len(rows), start_ms + (SAMPLES - 1) * STEP_MS)
                print(f"   {target.name:<12}", _line(figures))


def _line(figures: dict[str, float]) -> str:
    return "; ".join(f"{name} {value:.{0 if value >= 1000 else 1}f}" for name, value in figures.items())


if __name__ == "__main__":
    main()
