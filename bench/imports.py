"""Imports beside promtool: ``python -m bench.imports --bin-dir .peers/bin``.

A file of OpenMetrics becomes blocks, by `promtool tsdb create-blocks-from openmetrics` and by `tsdb import`; then the
blocks that promtool made are imported. Each command is a process of its own, with all that it takes to start.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

START = 1_700_000_000
INTERVAL = 15


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a command."""

    cpu: float
    wall: float
    resident: int
    """MiB at the most, files in memory included."""


def run(*command: str | Path) -> Cost:
    began = time.perf_counter()
    pid = os.fork()
    if not pid:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.execv(str(command[0]), [str(part) for part in command])
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {os.waitstatus_to_exitcode(status)}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss >> 10)


def write(path: Path, series: int, samples: int) -> None:
    """Counters of `series` series, series by series, as a dump has them."""
    chance = random.Random(1)
    with path.open("w") as file:
        file.write("# TYPE requests counter\n")
        for row in range(series):
            labels = f'requests_total{{job="job-{row % 10}",instance="host-{row}:9100",mode="user"}}'
            value, lines = 0, []
            for step in range(samples):
                value += chance.randrange(50)
                lines.append(f"{labels} {value} {START + INTERVAL * step}\n")
            file.writelines(lines)
        file.write("# EOF\n")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, required=True, metavar="DIR", help="where promtool is")
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--samples", type=int, default=20_000, help="of each series")
    options = parser.parse_args()
    total = options.series * options.samples
    ours = Path(sys.executable).parent / "tsdb"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, theirs = folder / "in.om", folder / "theirs"
        write(text, options.series, options.samples)
        run(ours, "warmup")
        print(f"{options.series} series, {total} samples, {text.stat().st_size} bytes of OpenMetrics")
        for what, command, made in (
            ("promtool tsdb create-blocks-from openmetrics",
             (options.bin_dir / "promtool", "tsdb", "create-blocks-from", "openmetrics", text, theirs), theirs),
            ("tsdb import openmetrics", (ours, "import", "openmetrics", text, "--data", folder / "text"),
             folder / "text" / "blocks"),
            ("tsdb import prometheus, of promtool's blocks",
             (ours, "import", "prometheus", theirs, "--data", folder / "blocks"), folder / "blocks" / "blocks"),
        ):
            cost = run(*command)
            print(f"{what}: {total / cost.cpu / 1e6:.2f} M samples per CPU second, {cost.cpu:.1f} s of CPU, "
                  f"{cost.wall:.1f} s, {cost.resident} MiB, {size_of(made) / total:.3f} bytes per sample")


if __name__ == "__main__":
    main()
