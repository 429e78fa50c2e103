"""Programs under test: started on loopback, waited for with a bound, ended by their id, their output kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.client import Client

TSDB = os.environ.get("TSDB_COMMAND") or str(Path(sys.executable).parent / "tsdb")
"""The installed command, or another program that takes the same arguments."""


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0, every: float = 0.02) -> None:
    """Returns once the condition holds; fails with `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(every)


class Process:
    """One running program, with its output in a file."""

    def __init__(self, argv: Sequence[str | Path], log: Path, port: int, env: Mapping[str, str] | None = None) -> None:
        self.name = Path(argv[0]).name
        self.log = log
        self.port = port
        environment = {**os.environ, **(env or {})}
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def client(self) -> Client:
        return Client(self.port)

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def wait_ready(self, path: str = "/-/ready", timeout: float = 120.0) -> Process:
        """Blocks until `path` answers 200."""

        def ready() -> bool:
            if not self.running:
                raise AssertionError(f"{self.name} ended with {self._popen.returncode}:\n{self.tail()}")
            try:
                return self.client.get(path, timeout=5).status == 200
            except OSError:
                return False

        wait_until(ready, f"{self.name} answers {path}", timeout)
        return self

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self._popen.kill()
        self._popen.wait(30)

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM; the exit code. One that does not end in time is killed, and that is a failure."""
        if self.running:
            self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout:g} s of SIGTERM:\n{self.tail()}") from None

    def tail(self, size: int = 6000) -> str:
        return self.log.read_bytes()[-size:].decode(errors="replace")
