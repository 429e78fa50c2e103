"""What scraping costs: the same targets scraped by Prometheus, VictoriaMetrics and tsdb, one after the other.

    python -m bench.scrape --bin-dir .peers/bin                                  400 targets x 500 series, 5 s
    python -m bench.scrape --bin-dir .peers/bin --targets 2000 --interval 15     lag, CPU and memory of many
    python -m bench.scrape --only tsdb --seconds 60                              one of them

Each server gets an empty folder and the same prometheus.yml (one job, addresses from a file). Measured is the steady
state, from two intervals after all targets were first scraped. CPU is that of the server and its children, by the
kernel's clock of each process; samples are those in the targets' answers (`up` and its like are not counted).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.peers.targets import Noise, PeakMemory, Server, Target

CONFIG = """\
global: {{scrape_interval: {interval}s, scrape_timeout: {timeout}s}}
scrape_configs:
  - job_name: bench
    file_sd_configs: [{{files: ["{{dir}}/targets.json"]}}]
"""
LIKE_PROMETHEUS = ["--config.file={config}", "--storage.tsdb.path={dir}/data", "--web.listen-address=127.0.0.1:{port}",
                   "--log.level=warn"]
TSDB = f"{Path(sys.executable).parent / 'tsdb'} " + " ".join(LIKE_PROMETHEUS)
SERVERS = ("prometheus", "victoriametrics", "tsdb")


def server_of(name: str, options: argparse.Namespace) -> Target:
    """How a server is started."""
    timeout = min(10, options.interval)
    config = CONFIG.format(interval=options.interval, timeout=timeout)
    if name == "prometheus":
        binary = str(options.bin_dir / "prometheus")
        return Target(name, [binary, *LIKE_PROMETHEUS], config=config, version=[binary, "--version"])
    if name == "victoriametrics":
        binary = str(options.bin_dir / "victoria-metrics")
        argv = [binary, "-promscrape.config={config}", "-storageDataPath={dir}/data", "-retentionPeriod=10y",
                "-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=WARN"]
        return Target(name, argv, ready="/health", config=config, version=[binary, "-version"])
    return Target(name, options.cmd, config=config)


class Targets:
    """The process with the targets."""

    def __init__(self, options: argparse.Namespace) -> None:
        argv = [sys.executable, "-m", "bench.scrape_targets", "--targets", str(options.targets),
                "--series", str(options.series), *["--gzip"] * options.gzip]
        self._popen = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._popen.stdout is not None
        told = json.loads(self._popen.stdout.readline())
        self.addresses: list[str] = told["targets"]
        self._control: int = told["control"]

    def told(self, path: str = "/") -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def arrivals(self) -> list[list[float]]:
        """Of each target, when it was asked: Unix s."""
        out: list[list[float]] = self.told("/arrivals")
        return out

    def stop(self) -> None:
        self._popen.kill()
        self._popen.wait()


def measure(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one server."""
    target, targets = server_of(name, options), Targets(options)
    work = folder / name
    work.mkdir()
    (work / "targets.json").write_text(json.dumps([{"targets": targets.addresses}]))
    server = Server(target, work, folder / f"{name}.log")
    try:
        ready = server.wait_ready()
        wait_for_all(server, targets, options)
        time.sleep(2 * options.interval)
        figures: dict[str, Any] = {"version": target.version(), "command": target.describe()}
        figures.update(steady(server, targets, options), ready_s=round(ready, 2))
        if options.profile and name == "tsdb":
            figures["profile"] = profile(server, options)
        return figures
    finally:
        server.stop()
        targets.stop()
        print((folder / f"{name}.log").read_text()[-2000:], end="", file=sys.stderr)


def wait_for_all(server: Server, targets: Targets, options: argparse.Namespace) -> None:
    deadline = time.monotonic() + 60 + 4 * options.interval
    while targets.told()["targets_seen"] < options.targets:
        if time.monotonic() > deadline or server.popen.poll() is not None:
            raise RuntimeError(f"{server.target.name} did not scrape all targets: {targets.told()}")
        time.sleep(0.2)


def steady(server: Server, targets: Targets, options: argparse.Namespace) -> dict[str, Any]:
    seconds = max(1, round(options.seconds / options.interval)) * options.interval
    before, noise, peak = targets.told(), Noise(server), PeakMemory(server, every=0.25)
    began, since, cpu = time.monotonic(), time.time(), server.cpu()
    time.sleep(seconds)
    cpu, wall, until = server.cpu() - cpu, time.monotonic() - began, time.time()
    after, memory = targets.told(), peak.end()
    others = noise.end(cpu)
    scrapes = after["scrapes"] - before["scrapes"]
    samples = scrapes * options.series
    targets_cpu = after["cpu_s"] - before["cpu_s"]
    cores = psutil.cpu_count() or 1
    mib = 1 << 20
    return {
        "seconds": round(wall, 1), "scrapes": scrapes, "samples": samples,
        "samples_per_s": round(samples / wall), "cpu_s": round(cpu, 3), "cores": round(cpu / wall, 4),
        "cpu_us_per_sample": round(cpu / samples * 1e6, 3), "cpu_us_per_scrape": round(cpu / scrapes * 1e6, 1),
        "peak_rss_mib": round(memory["peak_rss_bytes"] / mib, 1),
        "peak_anonymous_and_memfd_mib": round(memory["peak_anon_bytes"] / mib, 1),
        "threads": sum(process.num_threads() for process in server.tree()),
        "lag_of_requests_ms": lag(targets.arrivals(), since, until, options.interval),
        "lag_of_timestamps_ms": lag(timestamps(server, seconds, until), since, until, options.interval),
        "right": right(server, options), "bytes_per_body": after["body_bytes"],
        "compressed_share": round((after["compressed"] - before["compressed"]) / scrapes, 3),
        "connections": after["connections"], "targets_cores": round(targets_cpu / wall, 4),
        "foreign_cpu_share": round(max(0.0, others["foreign_cpu_share"] - targets_cpu / (wall * cores)), 4),
        "noise": others,
    }


def timestamps(server: Server, seconds: float, until: float) -> list[list[float]]:
    """Of each target the times of its samples, s."""
    params = {"query": f'up{{job="bench"}}[{round(seconds)}s]', "time": f"{until:.3f}"}
    status, body = server.request("GET", "/api/v1/query", params)
    if status != 200:
        raise RuntimeError(f"{params}: {status} {body[:300]!r}")
    return [[t for t, _ in row["values"]] for row in json.loads(body)["data"]["result"]]


def lag(times: list[list[float]], since: float, until: float, interval: float) -> dict[str, float]:
    """How far scrapes are from the even grid of their target, whose phase is the median of its own scrapes."""
    late: list[NDArray[np.float64]] = []
    for own in times:
        at = np.array([t for t in own if since <= t <= until])
        if len(at) > 1:
            turned = (at - at[0] + interval / 2) % interval - interval / 2
            late.append(turned - np.median(turned))
    if not late:
        return {}
    off = np.abs(np.concatenate(late)) * 1000
    return {"p50": round(float(np.percentile(off, 50)), 2), "p99": round(float(np.percentile(off, 99)), 2),
            "max": round(float(off.max()), 1), "scrapes": len(off)}


def right(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Whether what should be there is."""
    now = round(time.time() * 1000) - 1000
    up = server.scalar('sum(up{job="bench"})', now)
    scraped = server.scalar('sum(scrape_samples_scraped{job="bench"})', now)
    one = server.scalar('count(rpc_server_0_duration_seconds_bucket{le="+Inf"})', now)
    return {"up": up, "scraped": scraped, "one metric": one,
            "all": up == one == options.targets and scraped == options.targets * options.series}


def profile(server: Server, options: argparse.Namespace) -> list[str]:
    """Functions by the share of time that they, and what they call, hold the GIL, by py-spy."""
    out = server.folder / "profile.txt"
    argv = [options.profile, "record", "--gil", "-F", "-d", "20", "-r", "500", "-f", "raw", "-o", out]
    subprocess.run([*argv, "-p", str(server.popen.pid)], check=True, capture_output=True)
    counted: dict[str, int] = {}
    for line in out.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        for frame in dict.fromkeys(stack.split(";")):
            counted[frame] = counted.get(frame, 0) + int(count)
    total = sum(int(line.rpartition(" ")[2]) for line in out.read_text().splitlines())
    most = sorted(counted.items(), key=lambda item: -item[1])[:50]
    return [f"{count / total:6.1%} {frame}" for frame, count in most]


ROWS = [("CPU, µs per sample", "cpu_us_per_sample"), ("CPU, µs per scrape", "cpu_us_per_scrape"), ("cores", "cores"),
        ("samples per second", "samples_per_s"), ("peak memory, MiB", "peak_rss_mib"),
        ("of it not backed by files, MiB", "peak_anonymous_and_memfd_mib"),
        ("requests off their grid, p99 ms", "lag_of_requests_ms.p99"),
        ("timestamps off their grid, p99 ms", "lag_of_timestamps_ms.p99"), ("all there", "right.all"),
        ("share of the CPU taken by others", "foreign_cpu_share")]


def table(results: dict[str, dict[str, Any]]) -> str:
    def cell(figures: Any, path: str) -> str:
        for part in path.split("."):
            figures = figures.get(part, "") if isinstance(figures, dict) else ""
        return str(figures)

    lines = [["", *results], ["---", *["---:"] * len(results)]]
    lines += [[title, *(cell(figures, path) for figures in results.values())] for title, path in ROWS]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, default=Path(os.environ.get("TSDB_PEERS", ".peers/bin")))
    parser.add_argument("--cmd", default=TSDB, help="how tsdb is started; {dir}, {port}, {config} are filled in")
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--targets", type=int, default=400)
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--seconds", type=float, default=120, help="measured, of each server")
    parser.add_argument("--gzip", action="store_true", help="targets compress")
    parser.add_argument("--profile", metavar="PY_SPY", help="profile tsdb with it, after it was measured")
    parser.add_argument("--out", type=Path, help="file for the figures, JSON")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            results[name] = measure(name, Path(folder), options)
            figures = {key: value for key, value in results[name].items() if key != "profile"}
            print(name, json.dumps(figures), file=sys.stderr, flush=True)
            for line in results[name].get("profile", ()):
                print(line, file=sys.stderr)
    print(f"{options.targets} targets x {options.series} series every {options.interval} s, gzip "
          f"{'on' if options.gzip else 'off'}\n\n{table(results)}")
    if options.out is not None:
        asked = {"targets": options.targets, "series": options.series, "interval": options.interval,
                 "gzip": options.gzip}
        options.out.write_text(json.dumps({**asked, "servers": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
