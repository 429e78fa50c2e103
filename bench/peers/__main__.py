"""Black-box benchmark of Prometheus-compatible servers, side by side.

    python -m bench.peers run --hosts 200 --hours 6 --out results/a     peers only
    python -m bench.peers run ... --cmd 'tsdb serve --listen 127.0.0.1:{port} --data {dir}/data'
    python -m bench.peers report results/a.json [more.json ...]         the table again, targets merged

Servers run one after another, never two at once.  See README.md for what is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.peers import dataset as datasets
from bench.peers import queries, report
from bench.peers.sender import Sender
from bench.peers.targets import (
    Noise,
    PeakMemory,
    Prometheus,
    Server,
    Target,
    VictoriaMetrics,
    machine_speed,
    without_folders,
)

WINDOW_SLACK_MS = 60_000


def log(*words: object) -> None:
    print(datetime.now().strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, data: datasets.Dataset, target: Target, work: Path, options: argparse.Namespace) -> None:
        self.data, self.target, self.options = data, target, options
        self.work = Path(work)
        self.result: dict[str, Any] = {"version": target.version(), "command": target.describe(), "ingest": []}
        self.answers: dict[str, queries.Series | None] = {}
        spec = data.spec
        self.read_at = spec.end_ms + 1000
        self.window = f"{(spec.end_ms - spec.start_ms + WINDOW_SLACK_MS) // 1000}s"

    def folder(self, rep: int) -> Path:
        return self.work / f"{self.target.name}-{rep}"

    def start(self, rep: int) -> Server:
        return Server(self.target, self.folder(rep), self.log_file(rep))

    def log_file(self, rep: int) -> Path:
        return self.work / f"{self.target.name}-{rep}.log"

    # -- ingest

    def ingest(self, server: Server, stop_at: float | None = None) -> Sender:
        """Sends the data set; figures go to result["ingest"].  With stop_at the server is
        killed (-9) at that share of the requests, while the others are in flight."""
        sender = Sender(self.data, server.port, self.target.write_path, self.options.connections)
        sender.preload()
        at_kill: dict[str, float] = {}

        def kill() -> None:
            at_kill.update(cpu=server.cpu(), at=time.monotonic(), samples=sender.acked_samples)
            server.kill9()

        gc.collect()
        noise, peak = Noise(server), PeakMemory(server)
        began, cpu, own = time.monotonic(), server.cpu(), time.process_time()
        wall = sender.run(stop_at, kill if stop_at else None)
        end_cpu = at_kill["cpu"] if stop_at else server.cpu()
        wall = at_kill["at"] - began if stop_at else wall
        own = time.process_time() - own
        samples = at_kill["samples"] if stop_at else sender.acked_samples
        figures: dict[str, Any] = {"samples": samples, "wall_s": wall, "samples_per_s": samples / wall,
                   "cpu_s": end_cpu - cpu, "cpu_s_per_million": (end_cpu - cpu) / samples * 1e6,
                   "cores_used": (end_cpu - cpu) / wall, "harness_cpu_s": own, "harness_cores": own / wall,
                   "failed_requests": sender.failed, "retries": sender.retries, "errors": sender.errors,
                   "killed_at_share": stop_at}
        figures["noise"] = noise.end(end_cpu - cpu)
        p50, p99, worst = np.percentile(sender.latencies, [50, 99, 100]) * 1e3
        figures.update(write_p50_ms=p50, write_p99_ms=p99, write_max_ms=worst)
        if not stop_at:
            figures["pss_bytes"] = server.pss()
            figures["settle_s"] = server.settle()
            settled = server.cpu() - cpu
            figures["cpu_s_per_million_settled"] = settled / samples * 1e6
        figures.update(peak.end())
        self.result["ingest"].append(figures)
        log(f"{self.target.name}: {samples / 1e6:.1f}M samples, {samples / wall:,.0f}/s, "
            f"{figures['cpu_s_per_million']:.3f} CPU-s/M, peak {figures['peak_rss_bytes'] / 2**20:.0f} MiB")
        return sender

    # -- correctness

    def count_samples(self, server: Server, metric: str) -> int:
        return int(server.scalar(f"sum(count_over_time({metric}[{self.window}]))", self.read_at))

    def readback(self, server: Server) -> dict[str, Any]:
        """Counts, sums and counter resets as the data set's truth has them."""
        truth = self.data.meta["truth"]
        bad: list[str] = []
        checks = 0

        def check(expr: str, t: int, want: dict[str, float], tolerance: float = 0.0) -> None:
            """want: {job: value}, with "" where the answer has no job."""
            nonlocal checks
            checks += len(want)
            try:
                got = {labels.get("job", ""): value for labels, value in server.instant(expr, t)}
            except RuntimeError as problem:
                bad.extend([str(problem)] * len(want))
                return
            for job, value in want.items():
                have = got.get(job, 0.0)
                if not abs(have - value) <= tolerance * max(abs(have), abs(value)):
                    bad.append(f"{expr} at {t} {job}: got {have!r}, sent {value!r}")

        for metric, series in truth["series"].items():
            over = f"_over_time({metric}[{self.window}])"
            check(f"sum(count{over})", self.read_at, {"": series * self.data.spec.steps})
            check(f"sum(sum{over})", self.read_at, {"": truth["sum_over_time"][metric]}, 1e-9)
        for metric, resets in truth["resets"].items():
            check(f"sum(resets({metric}[{self.window}]))", self.read_at, {"": resets})
        for t, at in zip(self.data.meta["instants"], truth["at"], strict=True):
            for metric, by_job in at["sum_by_job"].items():
                check(f"sum by (job) ({metric})", t, by_job, 1e-9)
            for metric, count in at["samples_until"].items():
                check(f"sum(count_over_time({metric}[{self.window}]))", t, {"": count})
        log(f"{self.target.name}: read-back {checks - len(bad)}/{checks} right", *bad[:3])
        return {"checks": checks, "wrong": len(bad), "first_wrong": bad[:10]}

    def loss(self, server: Server, sender: Sender) -> dict[str, int]:
        """Acked samples that are gone, and unacked ones that are there, over all metrics."""
        lost = extra = beyond = 0
        where = {}
        for metric in self.data.meta["truth"]["series"]:
            least, most = sender.bounds(metric)
            have = self.count_samples(server, metric)
            if have < least:
                lost += least - have
                where[metric] = least - have
            extra += max(0, min(have, most) - least)
            beyond += max(0, have - most)
        return {"acked": sender.acked_samples, "lost_acked": lost, "unacked_present": extra,
                "more_than_sent": beyond, "metrics_with_loss": len(where)}

    # -- restart

    def restart(self, rep: int, least: int, most: int) -> tuple[Server, dict[str, Any]]:
        """Starts the server on the folder and times it until ready, until it first answers,
        and until the answer (samples of `up`) is one that it must give."""
        speed = machine_speed()
        server = self.start(rep)
        peak = PeakMemory(server)
        ready = server.wait_ready()
        first: float | None = None
        right: float | None = None
        while right is None and time.monotonic() - server.started < (ready + 120 if first is None else first + 10):
            try:
                have = self.count_samples(server, "up")
            except (OSError, RuntimeError, HTTPException):
                time.sleep(0.005)
                continue
            now = time.monotonic() - server.started
            if first is None:
                first = now
            if least <= have <= most:
                right = now
            else:
                time.sleep(0.05)
        cpu = server.cpu()
        figures = {"ready_s": ready, "first_answer_s": first, "right_answer_s": right, "cpu_s": cpu,
                   "machine_speed": speed, **peak.end()}
        log(f"{self.target.name}: restart, seconds: ready {ready:.2f}, first answer {first}, right answer {right}")
        return server, figures

    # -- the two passes

    def full_pass(self, rep: int) -> None:
        """Ingest, read-back, queries, disk, clean restart."""
        server = self.start(rep)
        try:
            self.result["empty_start_s"] = server.wait_ready()
            self.ingest(server)
            if self.options.readback:
                self.result["readback"] = self.readback(server)
            server.settle(least=2)
            idle, began = server.cpu(), time.monotonic()
            time.sleep(3)
            self.result["idle_cores"] = (server.cpu() - idle) / (time.monotonic() - began)
            if self.options.flush_first:
                log(f"{self.target.name}: {self.target.before_disk(server)}")
                server.settle(least=2)
            self.queries(server)
            disk = self.result["disk"] = {"as_is": self.target.disk(self.folder(rep), self.data.samples)}
            disk["preparation"] = self.target.before_disk(server)
            disk["prepared"] = self.target.disk(self.folder(rep), self.data.samples)
            all_data = self.target.all_data(server, self.folder(rep))
            if all_data is not None:
                disk["all_data"] = all_data
            self.result["clean_stop_s"] = server.stop()
            disk["stopped"] = self.target.disk(self.folder(rep), self.data.samples)
            want = self.data.meta["truth"]["series"]["up"] * self.data.spec.steps
            server, self.result["clean_restart"] = self.restart(rep, want, want)
            server.stop()
        finally:
            self._discard(server, rep)

    def crash_pass(self, rep: int) -> None:
        """A second ingest (for the noise), killed -9 near its end; restart and loss."""
        server = self.start(rep)
        try:
            server.wait_ready()
            sender = self.ingest(server, self.options.kill_at)
            server, figures = self.restart(rep, *sender.bounds("up"))
            figures.update(self.loss(server, sender))
            log(f"{self.target.name}: kill -9: lost {figures['lost_acked']} of {figures['acked']} acked samples")
            self.result["crash_restart"] = figures
            server.stop()
        finally:
            self._discard(server, rep)

    def queries(self, server: Server) -> None:
        plan = queries.Plan(self.data.spec, self.options.runs)
        noise, peak = Noise(server), PeakMemory(server)
        out = self.result["queries"] = {}
        for query in queries.QUERIES:
            if self.options.only and query.name not in self.options.only:
                continue
            out[query.name], self.answers[query.name] = queries.measure(server, plan, query, self.options.query_budget)
            figures = out[query.name]
            log(f"  {query.name:24}", figures.get("error") or
                f"p50 {figures['p50_ms']:9.2f} ms  cpu {figures['cpu_ms']:9.2f} ms  series {figures['series']}")
        self.result["query_phase"] = {**peak.end(), "noise": noise.end()}

    def _discard(self, server: Server, rep: int) -> None:
        if server.popen.poll() is None:
            server.kill9()
        if not self.options.keep:
            shutil.rmtree(self.folder(rep), ignore_errors=True)


def comparisons(benches: list[Bench]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for i, a in enumerate(benches):
        for b in benches[i + 1:]:
            rows: dict[str, Any] = {}
            out[f"{b.target.name} against {a.target.name}"] = rows
            for query in queries.QUERIES:
                x, y = a.answers.get(query.name), b.answers.get(query.name)
                if x is not None and y is not None:
                    rows[query.name] = {**queries.compare(x, y), "rate_like": query.rate}
    return out


def find_binary(options: argparse.Namespace, name: str) -> str:
    found = shutil.which(name, path=options.bin_dir) if options.bin_dir else shutil.which(name)
    if not found:
        sys.exit(f"peerbench: no {name}: give --bin-dir or set PEERBENCH_BIN_DIR")
    return found


def make_targets(options: argparse.Namespace) -> list[Target]:
    out: list[Target] = []
    for name in options.target:
        if name == "prometheus":
            out.append(Prometheus(find_binary(options, "prometheus")))
        elif name == "victoria-metrics":
            out.append(VictoriaMetrics(find_binary(options, "victoria-metrics")))
        elif name != "none":
            sys.exit(f"peerbench: unknown target {name}")
    if options.cmd:
        config = Path(options.cmd_config).read_text() if options.cmd_config else None
        out.append(Target(options.cmd_name, options.cmd, options.cmd_ready, config, options.cmd_config_name,
                          options.cmd_flush, options.cmd_wal, options.cmd_env))
    return out


def run(options: argparse.Namespace) -> None:
    targets = make_targets(options)
    cache = Path(options.cache)
    log("data set ...")
    data = datasets.load_or_build(cache / "datasets", options.hosts, options.hours, options.seed,
                                  options.start_ms, options.hosts_per_request)
    summary = data.summary()
    log(f"{data.series} series, {data.samples / 1e6:.1f}M samples, {summary['requests']} requests of "
        f"{summary['samples_per_request']:.0f}, {summary['wire_bytes_per_sample']:.1f} B/sample on the wire")
    work = Path(tempfile.mkdtemp(prefix="work-", dir=cache))
    began = time.monotonic()
    document: dict[str, Any] = {"format": 1, "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": {"cores": psutil.cpu_count(), "memory_bytes": psutil.virtual_memory().total,
                            "system": platform.platform(), "python": platform.python_version()},
                "dataset": summary, "settings": {"connections": options.connections, "runs": options.runs,
                                                 "kill_at": options.kill_at, "reps": options.reps},
                "targets": {}, "subjects": [options.cmd_name] if options.cmd else [], "note": options.note}
    benches = [Bench(data, target, work, options) for target in targets]

    def save() -> None:
        document["targets"] = {b.target.name: b.result for b in benches}
        document["wall_s"] = round(time.monotonic() - began, 1)
        document["answers"] = comparisons(benches)
        out = Path(options.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_name(out.name + ".json").write_text(json.dumps(document, indent=1) + "\n")
        out.with_name(out.name + ".txt").write_text(report.table([document]))

    try:
        for rep in range(options.reps):
            for bench in benches:
                if "failure" in bench.result:
                    continue
                log(f"== {bench.target.name}, pass {rep + 1}")
                try:
                    (bench.full_pass if rep == 0 else bench.crash_pass)(rep)
                except Exception as problem:  # noqa: BLE001 - a broken target must not cost the others' figures
                    traceback.print_exc()
                    bench.result["failure"] = without_folders(f"pass {rep + 1}: {type(problem).__name__}: {problem}")
                    log("the end of its log:\n" + bench.log_file(rep).read_text(errors="replace")[-3000:])
                save()
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    print(report.table([document]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("run")
    p.add_argument("--hosts", type=int, default=200, help="each has 102 series")
    p.add_argument("--hours", type=float, default=6)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--start-ms", type=int, help="default: 12:00 UTC of the latest day that fits")
    p.add_argument("--hosts-per-request", type=int, default=50)
    p.add_argument("--connections", type=int, default=2)
    p.add_argument("--runs", type=int, default=7, help="runs per query")
    p.add_argument("--query-budget", type=float, default=20, help="seconds per query, after three runs")
    p.add_argument("--only", nargs="*", help="just these queries")
    p.add_argument("--reps", type=int, default=2, help="1: no second ingest and no kill -9")
    p.add_argument("--kill-at", type=float, default=0.98, help="share of requests at which to kill -9")
    p.add_argument("--no-readback", dest="readback", action="store_false")
    p.add_argument("--keep", action="store_true", help="keep the servers' folders")
    p.add_argument("--target", nargs="*", default=["prometheus", "victoria-metrics"], help="peers, or none")
    p.add_argument("--bin-dir", default=os.environ.get("PEERBENCH_BIN_DIR"), help="where the peers' binaries lie")
    p.add_argument("--cache", default=os.environ.get("PEERBENCH_CACHE", f"{tempfile.gettempdir()}/peerbench"))
    p.add_argument("--note", default="", help="free text kept with the results, e.g. versions")
    p.add_argument("--out", required=True, help="results go to OUT.json and OUT.txt")
    p.add_argument("--cmd", help="command line of the server under test, with {dir} {port} {config}")
    p.add_argument("--cmd-name", default="project")
    p.add_argument("--cmd-ready", default="/-/ready")
    p.add_argument("--cmd-config", help="a template, written with {dir} and {port} filled in to {dir}/NAME")
    p.add_argument("--cmd-config-name", default="tsdb.yml", metavar="NAME")
    p.add_argument("--cmd-flush", nargs="*", default=[], help="URL paths to POST before disk is measured")
    p.add_argument("--flush-first", action="store_true",
                   help="before the queries, too: of --cmd (--cmd-flush) and VictoriaMetrics, data lie as they stay")
    p.add_argument("--cmd-wal", nargs="*", default=["wal*", "*.wal", "chunks_head*"],
                   help="names (globs) that are not persistent blocks")
    p.add_argument("--cmd-env", nargs="*", default=[], metavar="K=V")
    p.set_defaults(act=run)
    p = commands.add_parser("report")
    p.add_argument("json", nargs="+")
    p.set_defaults(act=lambda o: print(report.table([json.loads(Path(f).read_text()) for f in o.json])))
    options = parser.parse_args()
    options.act(options)


if __name__ == "__main__":
    main()
