"""Downsampling: samples per second of CPU to build a tier's block, and the bytes that it adds.

`python -m bench.tiers` (`--hosts 20 --hours 24`): the peer benchmark's data in a block with dense chunks, of which
blocks with windows of each resolution are built, one by one, in one thread. With `--histograms 50` the same of so many
series of native histograms, those of 60 buckets of `bench.histograms`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import histograms
from bench.codecs import FS, START, STEP_MS, Source, peers
from tests.storage.block.plain import series_labels
from tests.storage.histograms.payload import with_payload
from tsdb.kernels import warm_up
from tsdb.server import malloc
from tsdb.storage.block import Block, Chunks, SeriesLabels, write_block
from tsdb.storage.block.encoding import DENSE_SAMPLES, encode
from tsdb.storage.block.histogram_encoding import encode_kinds
from tsdb.storage.tiers.building import build_tier_block

RESOLUTIONS_S = (60, 300, 3600)


class OfHistograms:
    def __init__(self, series: int, hours: float) -> None:
        self.mint, self.maxt = START, START + int(hours * 3_600_000) + 1
        samples = int(hours * 3_600_000) // STEP_MS
        self._labels = [(("__name__", "durations"), ("instance", f"host-{number:03d}")) for number in range(series)]
        self._columns = [with_payload(histograms.series(histograms.KINDS[2], number, samples))
                         for number in range(series)]
        self._ts = START + 1 + np.arange(samples, dtype=np.int64) * STEP_MS

    def series(self) -> SeriesLabels:
        return series_labels(self._labels)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks]:
        for number in order.tolist():
            values, payload = self._columns[number]
            yield encode_kinds(np.zeros(1, np.int64), np.array([values.size]), self._ts, values, payload, encode)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--histograms", type=int, default=0, metavar="SERIES")
    options = parser.parse_args()
    malloc.tune()
    warm_up(None)
    source = (OfHistograms(options.histograms, options.hours) if options.histograms else
              Source(peers(options.hosts, options.hours), DENSE_SAMPLES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meta = write_block(FS, folder, source)
        raw = Block.open(FS, folder / meta.ulid)
        samples = meta.stats.samples
        print(f"{meta.stats.series} series, {samples} samples, {raw.bytes / samples:.3f} bytes per sample")
        for seconds in RESOLUTIONS_S:
            resolution = seconds * 1000
            through = START + int(options.hours * 3_600_000) // resolution * resolution
            began, cpu = time.perf_counter(), time.process_time()
            made = build_tier_block(FS, folder / str(seconds), [raw], resolution, START, through)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            if made is None:
                raise SystemExit(f"windows of {seconds} s: the data have none")
            tier = Block.open(FS, folder / str(seconds) / made.ulid)
            print(f"windows of {seconds:5} s: {samples / cpu / 1e6:6.1f} M samples per CPU second, {cpu:.2f} s of CPU, "
                  f"{wall:.2f} s; {tier.bytes} bytes, {100 * tier.bytes / raw.bytes:.1f} % more, "
                  f"{tier.bytes / (made.stats.samples / 10):.1f} bytes per window; its index "
                  f"{100 * (tier.bytes - tier.chunks.size) / tier.bytes:.0f} %")
            tier.release()
        raw.release()


if __name__ == "__main__":
    main()
