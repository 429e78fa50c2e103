"""Downsampling: samples per second of CPU to build a tier's block, and the bytes that it adds.

`python -m bench.tiers` (`--hosts 20 --hours 24`): the peer benchmark's data in a block with dense chunks, of which
blocks with windows of each resolution are built, one by one, in one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bench.codecs import FS, START, Source, peers
from tsdb.kernels import warm_up
from tsdb.server import malloc
from tsdb.storage.block import Block, write_block
from tsdb.storage.block.encoding import DENSE_SAMPLES
from tsdb.storage.tiers.building import build_tier_block

RESOLUTIONS_S = (60, 300, 3600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--hours", type=float, default=24)
    options = parser.parse_args()
    malloc.tune()
    warm_up(None)
    data = peers(options.hosts, options.hours)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        meta = write_block(FS, folder, Source(data, DENSE_SAMPLES))
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
