"""How the cost of queries grows with the number of series: CPU time per sample touched and point returned.

    python -m bench.scaling                                     1k, 10k and 100k series
    python -m bench.scaling --sizes 1000 10000 100000 1000000 --out scaling.json

Each size is a fleet of hosts with 100 series each, 40 samples per series, 15 s apart, in one compacted block. It is
written once, scrape by scrape, and kept in --folder. Queries run in this process on one engine thread, without HTTP and
JSON; a figure is the least CPU time of some runs after a first one. `growth` is the cost per sample and point at the
largest size against the least at a smaller one: where it stays near 1, cost grows no faster than what is touched. One
series of one host touches as much at any size: of it the time itself tells.

Histograms are left out: the fleet has none, and `histogram_quantile` costs what the `rate` and `sum` in it do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peers.targets import Noise
from bench.workload import PER_HOST, STEP_MS, Fleet
from tsdb.kernels import warm_up
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql import Engine, EngineOptions
from tsdb.server import malloc
from tsdb.storage import Storage

SAMPLES = 40
START_MS = 1_790_000_000_000 // 7_200_000 * 7_200_000
END_MS = START_MS + SAMPLES * STEP_MS
STEPS = 61
RANGE_STEP_MS = 5_000
SECONDS, RUNS = 0.5, 3
"""CPU time that is spent on a query at least, and runs."""
CPU = "node_cpu_seconds_total"
HOST = "host-00003.example.net:9100"

INSTANT = {
    "every series": CPU,
    "sum": f"sum({CPU})",
    "sum by (mode)": f"sum by (mode) ({CPU})",
    "sum of rates": f"sum(rate({CPU}[5m]))",
    "rates by host": f"sum by (instance) (rate({CPU}[5m]))",
    "avg_over_time": f"avg_over_time({CPU}[5m])",
    "quantile_over_time": f"quantile_over_time(0.9, {CPU}[5m])",
    "topk": f"topk(10, {CPU})",
    "quantile": f"quantile by (zone) (0.9, {CPU})",
    "a vector by another": f"{CPU} / on (instance, cpu, mode) {CPU}",
    "names counted": 'count by (__name__) ({job=~".+"})',
    "one series": f'{CPU}{{instance="{HOST}",cpu="3",mode="idle"}}',
    "one host": f'sum(rate({CPU}{{instance="{HOST}"}}[5m]))',
}
RANGE = {
    "sum of rates, 61 steps": f"sum(rate({CPU}[5m]))",
    "rates, 61 steps": f'rate({CPU}{{mode="idle"}}[5m])',
    "sum by (mode), 61 steps": f"sum by (mode) ({CPU})",
    "one series, 61 steps": f'{CPU}{{instance="{HOST}",cpu="3",mode="idle"}}',
}


@dataclass(frozen=True)
class Cost:
    """Of one query at one size."""

    cpu_ms: float
    samples: int
    """Read."""
    points: int
    """Returned."""

    @property
    def each_ns(self) -> float:
        return self.cpu_ms * 1e6 / max(1, self.samples + self.points)


def fleet_folder(folder: Path, series: int) -> Path:
    """The data of that many series, written unless they are there. Of one scrape at a time in memory."""
    done = folder / f"scaling-{series}x{SAMPLES}"
    if not done.exists():
        began = time.perf_counter()
        building = done.with_suffix(".building")
        shutil.rmtree(building, ignore_errors=True)
        fleet = Fleet(series, "scrape", START_MS)
        storage = Storage.open(building)
        for _ in range(SAMPLES):
            for future in [storage.submit(batch) for batch in fleet.batches(storage.secret)]:
                assert future.result(120).rejected == 0
        storage.compact()
        storage.close()
        building.rename(done)
        print(f"{series} series written to {done} in {time.perf_counter() - began:.0f} s", flush=True)
    return done


def cost(run: Callable[[RequestContext], int]) -> Cost:
    """`run` returns how many points it got."""
    context = RequestContext()
    points = run(context)
    runs: list[float] = []
    while len(runs) < RUNS or sum(runs) < SECONDS:
        began = time.process_time()
        run(RequestContext())
        runs.append(time.process_time() - began)
    return Cost(min(runs) * 1e3, context.statistics.samples_read, points)


def measure(folder: Path) -> dict[str, Cost]:
    """Costs of all queries over one folder."""
    with_job = [[Matcher(MatchType.EQUAL, "job", "node")]]
    storage = Storage.open(folder)
    with Engine(storage, EngineOptions(threads=1)) as engine:

        def instant(expr: str) -> Callable[[RequestContext], int]:
            return lambda context: int(engine.query(expr, END_MS, context).present.sum())

        def over_range(expr: str) -> Callable[[RequestContext], int]:
            start = END_MS - (STEPS - 1) * RANGE_STEP_MS
            return lambda context: int(engine.query_range(expr, start, END_MS, RANGE_STEP_MS, context).present.sum())

        runs = {name: instant(expr) for name, expr in INSTANT.items()}
        runs |= {name: over_range(expr) for name, expr in RANGE.items()}
        runs["values of instance"] = lambda context: len(
            storage.label_values("instance", (), START_MS, END_MS, context))
        runs["values of instance, one job"] = lambda context: len(
            storage.label_values("instance", with_job, START_MS, END_MS, context))
        runs["label names"] = lambda context: len(storage.label_names((), START_MS, END_MS, context))
        runs["series of one job"] = lambda context: len(storage.series(with_job, START_MS, END_MS, context))
        found = {name: cost(run) for name, run in runs.items()}
    storage.close()
    return found


def table(sizes: list[int], costs: dict[int, dict[str, Cost]]) -> list[str]:
    """CPU ms at each size, then ns per sample and point at each, then their growth."""
    head = "".join(f"{size:>12,}" for size in sizes)
    lines = [f"{'series':28}{head} |{head} |  growth", f"{'':28}{'CPU ms':>{12 * len(sizes)}} |"
             f"{'ns per sample and point':>{12 * len(sizes)}} |"]
    for name in costs[sizes[0]]:
        row = [costs[size][name] for size in sizes]
        smaller = [each.each_ns for each in row[:-1]]
        growth = f"{row[-1].each_ns / min(smaller):8.2f}" if smaller else ""
        lines.append(f"{name:28}" + "".join(f"{each.cpu_ms:12.3f}" for each in row) + " |"
                     + "".join(f"{each.each_ns:12.1f}" for each in row) + " |" + growth)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="numbers of series")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tsdb-scaling",
                        help="keeps the data between runs (0.3 GB for a million series)")
    parser.add_argument("--out", type=Path, help="a file that the figures are written to as JSON")
    options = parser.parse_args()
    sizes = sorted(options.sizes)
    if sizes[0] < 4 * PER_HOST:
        parser.error(f"a size is at least {4 * PER_HOST} series: four hosts")
    malloc.tune()
    warm_up(wait=None)
    options.folder.mkdir(parents=True, exist_ok=True)
    folders = {size: fleet_folder(options.folder, size) for size in sizes}
    noise = Noise()
    costs = {size: measure(folder) for size, folder in folders.items()}
    others = noise.end()
    print(*table(sizes, costs), sep="\n")
    print(f"CPU taken by others: {others['foreign_cpu_share']:.2f}")
    if options.out:
        document = {str(size): {name: {**asdict(each), "each_ns": each.each_ns} for name, each in rows.items()}
                    for size, rows in costs.items()}
        options.out.write_text(json.dumps({"costs": document, "noise": others}, indent=1) + "\n")


if __name__ == "__main__":
    main()
