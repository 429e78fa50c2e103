"""Exports: samples per second of CPU, bytes per sample, and memory, by format.

    python -m bench.exports

A data directory of 500 series over 14 days, a sample a minute, in blocks: counters, gauges with two decimals, and any
floats. Each format is read to its end in a process of its own, three times, and the quickest counts; the memory is
what the process has at the most beyond what it had before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.storage.batches import make_batch
from tsdb.exports.extent import within
from tsdb.exports.formats import FORMATS
from tsdb.exports.losses import Losses
from tsdb.exports.prometheus import export as export_blocks
from tsdb.storage import Storage, StorageOptions

DAY = 86_400_000
STEP = 60_000
BEGIN = 1_700_006_400_000 // DAY * DAY
SERIES = 500
BLOCKS = "prometheus"


def fill(folder: Path, days: int) -> None:
    storage = Storage.open(folder, StorageOptions(wal_sync="os"))
    series = [{"__name__": f"metric_{n % 20}_total", "job": f"job-{n % 3}", "instance": f"10.0.0.{n // 20}:9100",
               "path": f"/api/v1/{n % 7}"} for n in range(SERIES)]
    rng = np.random.default_rng(1)
    last = np.zeros(SERIES)
    per_day = DAY // STEP
    for day in range(days):
        steps = rng.poisson(20, (SERIES, per_day)).astype(np.float64)
        values = last[:, np.newaxis] + np.cumsum(steps, axis=1)
        last = values[:, -1].copy()
        values[1::3] = np.round(50 + 10 * rng.standard_normal((len(values[1::3]), per_day)), 2)
        values[2::3] = rng.standard_normal((len(values[2::3]), per_day))
        batch = make_batch(storage.secret, series, ())
        batch.sample_row = np.repeat(np.arange(SERIES, dtype=np.uint32), per_day)
        batch.ts = np.tile(BEGIN + day * DAY + STEP * np.arange(per_day, dtype=np.int64), SERIES)
        batch.values = values.reshape(-1).view(np.uint64)
        assert storage.submit(batch).result(600).accepted == batch.samples
        storage.compact()
    storage.close()


def one(folder: Path, name: str) -> dict[str, float]:
    """Samples, bytes, CPU seconds of the quickest of three exports, and MiB of memory."""
    storage = Storage.open(folder, read_only=True)
    mint, maxt = within(storage, None, None)
    count, took = 0, float("inf")
    before = most_memory(anew=True)
    for _ in range(3):
        began, count = time.process_time(), 0
        if name == BLOCKS:
            with tempfile.TemporaryDirectory() as target:
                export_blocks(storage, Path(target), (), mint, maxt)
                count = sum(path.stat().st_size for path in Path(target).rglob("*") if path.is_file())
        else:
            for part in FORMATS[name].export(storage, [()], mint, maxt, Losses()):
                count += len(part)
        took = min(took, time.process_time() - began)
    grown = most_memory() - before
    samples = sum(meta.stats.samples for meta in storage.block_metas())
    storage.close()
    return {"samples": samples, "bytes": count, "seconds": took, "mib": grown / 1024}


def most_memory(*, anew: bool = False) -> int:
    """KiB that the process has had at the most; `anew`: from now on."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--of", nargs=2, metavar=("DIR", "FORMAT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of:
        print(json.dumps(one(Path(given.of[0]), given.of[1])))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data"
        fill(folder, given.days)
        print("| format | million samples per CPU second | bytes per sample | memory, MiB |")
        print("| --- | ---: | ---: | ---: |")
        for form in (*FORMATS, BLOCKS):
            done = subprocess.run([sys.executable, "-m", "bench.exports", "--of", folder, form], check=True,
                                  capture_output=True, text=True)
            found = json.loads(done.stdout)
            rate = found["samples"] / found["seconds"] / 1e6
            print(f"| {form} | {rate:.1f} | {found['bytes'] / found['samples']:.1f} | {found['mib']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
