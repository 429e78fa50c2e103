"""Restarts of Prometheus and of tsdb beside each other: the same samples written to both, kill -9, start; stop, start.

    python -m bench.restart --bin-dir .peers/bin                              100k series, two hours at 60 s
    python -m bench.restart --bin-dir .peers/bin --only tsdb --series 1000000 --steps 5 --no-kill

Each server alone, on an empty folder. Told are seconds from the start of the process until it is ready, its CPU seconds
until then, the samples that it has then, and its memory that no file backs: before the stop, and at most until ready.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers.targets import Noise, PeakMemory, Prometheus, Server, Target
from bench.workload import Fleet

TSDB = f"{Path(sys.executable).parent / 'tsdb'} serve --listen 127.0.0.1:{{port}} --data {{dir}}/data"
HEADERS = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
CONNECTIONS = 2
COUNT = "sum(count_over_time({{__name__=~'.+'}}[{ms}ms]))"


def write(server: Server, fleet: Fleet, steps: int) -> None:
    """Scrapes of everything, one after the other."""
    connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=120) for _ in range(CONNECTIONS)]
    for _ in range(steps):
        bodies = fleet.bodies()
        for start in range(0, len(bodies), CONNECTIONS):
            pairs = list(zip(connections, bodies[start : start + CONNECTIONS], strict=False))
            for connection, body in pairs:
                connection.request("POST", "/api/v1/write", body, HEADERS)
            for connection, _ in pairs:
                answer = connection.getresponse()
                if answer.read() and answer.status >= 300:
                    raise RuntimeError(f"{server.target.name} answers {answer.status}")
    for connection in connections:
        connection.close()


def restart(server: Server, fleet: Fleet, *, kill: bool) -> tuple[Server, dict[str, Any]]:
    """Ends the server and starts it again; figures of that."""
    anonymous = server.memory()[1]
    stopping = None
    if kill:
        server.kill9()
    else:
        stopping = server.stop()
    noise = Noise()
    server = Server(server.target, server.folder, server.folder.parent / "server.log")
    peak = PeakMemory(server, every=0.02)
    ready = server.wait_ready()
    cpu, memory = server.cpu(), peak.end()
    figures = {
        "ready, s": round(ready, 2), "CPU, s": round(cpu, 2),
        "stop, s": None if stopping is None else round(stopping, 2),
        "anonymous before, MiB": anonymous >> 20, "anonymous peak until ready, MiB": memory["peak_anon_bytes"] >> 20,
        "noise": noise.end(cpu),
    }
    end = fleet.start_ms + (fleet.steps + 1) * fleet.step_ms
    figures["samples"] = int(server.scalar(COUNT.format(ms=end - fleet.start_ms + 1), end))
    return server, figures


def measure(target: Target, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(target, Path(folder) / target.name, Path(folder) / "server.log")
        server.wait_ready()
        step_ms = options.interval * 1000
        # everything is accepted, and the newest sample lies in the past
        start_ms = (int(time.time() * 1000) // 7_200_000 - 1) * 7_200_000 - options.steps * step_ms
        fleet = Fleet(options.series, "scrape", start_ms, step_ms=step_ms)
        write(server, fleet, options.steps)
        found: dict[str, Any] = {"written": options.series * options.steps}
        try:
            if options.kill:
                server, found["kill -9"] = restart(server, fleet, kill=True)
            server, found["clean stop"] = restart(server, fleet, kill=False)
        finally:
            server.kill9()
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", type=Path, default=Path(".peers/bin"))
    parser.add_argument("--cmd", default=TSDB)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=120, help="samples of each series")
    parser.add_argument("--interval", type=int, default=60, help="seconds between them")
    parser.add_argument("--only", choices=("prometheus", "tsdb"))
    parser.add_argument("--no-kill", dest="kill", action="store_false", help="only a clean stop")
    options = parser.parse_args()
    targets: list[Target] = [Prometheus(str(options.bin_dir / "prometheus")), Target("tsdb", options.cmd)]
    found = {target.name: measure(target, options) for target in targets if options.only in (None, target.name)}
    if len(found) == 2:
        found["tsdb / Prometheus"] = {
            kind: round(found["tsdb"][kind]["ready, s"] / found["prometheus"][kind]["ready, s"], 3)
            for kind in ("kill -9", "clean stop") if kind in found["tsdb"]
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
