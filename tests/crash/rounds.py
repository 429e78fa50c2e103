"""Rounds: start, check, load, kill. And the table of what was done."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.crash.checks import Wrong, by_opening, check_everything, compare
from tests.crash.model import Model
from tests.crash.operations import Operations
from tests.crash.phases import PHASES, Watch
from tests.crash.traffic import HOUR, Clock, clients
from tests.processes import TSDB, Process, free_port

YEARS_MS = 3 * 365 * 24 * HOUR
RETENTION_MS = 3 * 24 * HOUR
"""Blocks grow to a tenth of it."""
UNFORESEEN_S = 4.0
"""After so much load the server is killed, whatever it is doing."""
DIRECTED = tuple(phase for phase in PHASES if phase not in ("ingest", "log drop"))


@dataclass
class Report:
    """What the rounds did so far."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    """By phase; a kill counts for every phase that the server was in."""
    operations: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    ready_s: float = 0.0
    """The longest start."""
    compared: int = 0
    acknowledged: int = 0
    hours: float = 0.0
    """Of the load's own time."""

    def table(self) -> str:
        width = max(len(phase) for phase in PHASES)
        lines = ["kills per phase", *(f"  {phase:{width}}  {self.kills[phase]:5}" for phase in PHASES)]
        lines += ["operations", *(f"  {name:{width}}  {count:5}" for name, count in sorted(self.operations.items()))]
        if self.skipped:
            lines += ["skipped: the server does not have it",
                      *(f"  {name:{width}}  {count:5}" for name, count in sorted(self.skipped.items()))]
        lines += [f"{self.rounds} rounds, {self.starts} starts (the longest {self.ready_s:.1f} s), {self.hours:.0f} h "
                  f"of samples, {self.acknowledged} acknowledged, {self.compared} compared"]
        return "\n".join(lines)


class Failed(AssertionError):
    """Something was lost, or the server did not behave."""


class Rounds:
    """A data directory and the server on it, for as many rounds as are asked for."""

    def __init__(self, folder: Path, seed: int, say: bool = False) -> None:
        self.folder = folder
        self.report = Report()
        self._seed = seed
        self._say = say
        self._chance = random.Random(seed)
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        self._model = Model()
        self._model.retention = RETENTION_MS
        start = (round(time.time() * 1000) - YEARS_MS) // 7_200_000 * 7_200_000
        self._clock = Clock(start)
        self._start = start
        self._late_window_ms = self._chance.choice((HOUR // 2, 3 * HOUR))
        self._clients = clients(self._model, self._clock, self._late_window_ms - HOUR // 4, seed)
        self._operations = Operations(self._model, self._clock, self._data, random.Random(seed + 1))

    def run(self, rounds: int) -> Report:
        """Raises Failed with seed, round and what is wrong; the directory is kept then."""
        try:
            for number in range(rounds):
                self._round(number)
                self.report.rounds += 1
            with self._server() as server:
                self._check(server, bits=True)
                self._stop_cleanly(server)
            with self._server() as server:
                self._check(server, bits=True)
        except (Wrong, AssertionError, OSError) as problem:
            log = self.folder / "server.log"
            last = log.read_bytes()[-3000:].decode(errors="replace") if log.exists() else ""
            raise Failed(f"seed {self._seed}, round {self.report.rounds}: {problem}\n\n{self.folder} has the directory "
                         f"and server.log, which ends with\n{last}") from problem
        finally:
            self._summarize()
        shutil.rmtree(self.folder)
        return self.report

    def _summarize(self) -> None:
        report, operations = self.report, self._operations
        report.operations, report.skipped = operations.done, operations.skipped
        report.acknowledged = self._model.acknowledged
        report.hours = (self._clock.latest() - self._start) / HOUR

    def _round(self, number: int) -> None:
        least = min(self.report.kills[phase] for phase in DIRECTED)
        target = self._chance.choice([
            None, None, *(phase for phase in DIRECTED if self.report.kills[phase] <= least + 1)
        ])
        for _ in range(self._chance.randint(1, 3) if target == "replay" else 0):
            self._kill_while_starting()
        with self._server() as server:
            began = time.monotonic()
            self._check(server, bits=number % 4 == 3)
            checked = time.monotonic()
            killed_in = self._load(server, target)
        self._print(f"round {number}: {target or 'random'} → {', '.join(killed_in)}; check {checked - began:.1f} s, "
                    f"load {time.monotonic() - checked:.1f} s, {self._model.acknowledged} acknowledged")

    def _check(self, server: Process, *, bits: bool) -> None:
        self.report.compared += check_everything(server, self._model)
        if bits:
            compare(self._model, self._model.state(), by_opening(self._data), shown_as_text=False)

    def _load(self, server: Process, target: str | None) -> list[str]:
        """Load until the kill; the phases that the server was killed in."""
        stop, killed, due = threading.Event(), threading.Event(), threading.Event()
        killed_in: list[str] = []
        armed = time.monotonic() + self._chance.uniform(0.3, 1.5)
        delay = self._chance.choice((0.0, 0.0, self._chance.uniform(0, 0.002), self._chance.uniform(0, 0.05)))

        def on_phase(phase: str) -> None:
            if phase == target and time.monotonic() > armed and not due.is_set():
                due.set()
                if delay:
                    threading.Timer(delay, kill).start()
                else:
                    kill()

        def kill() -> None:
            killed_in.extend(watch.now())
            os.kill(server.pid, signal.SIGKILL)
            killed.set()

        watch = Watch(self._data, server.log, on_phase, lambda: self._model.expired)
        load = [threading.Thread(target=client.run, args=(server.port, stop)) for client in self._clients]
        load += [threading.Thread(target=self._operations.run, args=(server, watch, stop, target)),
                 threading.Thread(target=self._operations.read, args=(server, stop))]
        for thread in load:
            thread.start()
        try:
            wait = UNFORESEEN_S if target else self._chance.uniform(1, UNFORESEEN_S)
            if target in ("shutdown", "saved head"):
                due.wait(wait / 2)
                with watch.during("shutdown"):
                    server.signal(signal.SIGTERM)
                    wait = self._chance.uniform(0, 1.0) if target == "shutdown" else 10
                    over = time.monotonic() + wait
                    while server.running and not killed.is_set() and time.monotonic() < over:
                        time.sleep(0.001)
                    if server.running and not killed.is_set() and not due.is_set():
                        kill()
            elif not due.wait(wait):
                due.set()
                kill()
            if server.running:
                killed.wait(5)
                server.kill()
            stop.set()
            self._clock.wake()
            for thread in load:
                thread.join(120)
                if thread.is_alive():
                    raise Failed("a client hangs")
        finally:
            stop.set()
            self._clock.wake()
            server.kill()
            watch.close()
        for phase in killed_in:
            self.report.kills[phase] += 1
        refused = [text for client in self._clients for text in client.refused]
        if refused or self._operations.wrong:
            raise Wrong("\n".join([*self._operations.wrong, *refused[:10]]))
        return killed_in or ["ended by itself"]

    def _kill_while_starting(self) -> None:
        """Killed at some moment between the start and a little after readiness."""
        process = self._process()
        time.sleep(self._chance.uniform(0.2, max(0.5, self.report.ready_s)))
        if not process.running:
            raise Failed(f"the server ended by itself:\n{process.tail()}")
        process.kill()
        self.report.kills["replay"] += 1

    def _stop_cleanly(self, server: Process) -> None:
        code = server.stop(60)
        if code != 0:
            raise Failed(f"the server ended with {code} after SIGTERM:\n{server.tail()}")

    def _process(self) -> Process:
        config = self.folder / "tsdb.yml"
        config.write_bytes(orjson.dumps(self._config()))
        port = free_port()
        argv: list[str | Path] = [
            TSDB, "serve", "--config", config, "--listen", f"127.0.0.1:{port}", "--data", self._data,
            "--web.enable-admin-api", "--log.level", "debug",
        ]
        self.report.starts += 1
        return Process(argv, self.folder / "server.log", port)

    @contextlib.contextmanager
    def _server(self) -> Iterator[Process]:
        began = time.monotonic()
        process = self._process()
        try:
            process.wait_ready()
            self.report.ready_s = max(self.report.ready_s, time.monotonic() - began)
            yield process
        finally:
            process.kill()

    def _config(self) -> dict[str, object]:
        """The config of the next start. JSON is YAML."""
        tsdb: dict[str, object] = {"retention": {"time": f"{RETENTION_MS}ms"}}
        sync = self._chance.choice(("interval", "os", "commit"))
        storage: dict[str, object] = {"tsdb": tsdb, "wal": {"sync": sync}}
        tsdb["out_of_order_time_window"] = f"{self._late_window_ms}ms"
        storage["retention_rules"] = [{"match": '{job="debug"}', "keep": "2h"}]
        return {"storage": storage}

    def _print(self, text: str) -> None:
        if self._say:
            print(text, flush=True)

