"""A real Prometheus and ours with the same flags and the same config."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.client import Client
from tests.processes import TSDB, Process, free_port


@contextmanager
def both_servers(prometheus: Path, folder: Path, flags: Sequence[str]) -> Iterator[tuple[Client, Client]]:
    """Prometheus, and us, with data in `folder`; the config is `folder`/prometheus.yml. Both are ready, and killed at
    the end."""
    shared = [f"--config.file={folder}/prometheus.yml", *flags]
    processes = []
    try:
        for name, command in (("prometheus", [prometheus, *shared]), ("tsdb", [TSDB, "serve", *shared])):
            port = free_port()
            argv = [*command, f"--storage.tsdb.path={folder}/{name}", f"--web.listen-address=127.0.0.1:{port}",
                    "--log.level=warn"]
            processes.append(Process(argv, folder / f"{name}.log", port))
        theirs, ours = (process.wait_ready().client for process in processes)
        yield theirs, ours
    finally:
        for process in processes:
            process.kill()
