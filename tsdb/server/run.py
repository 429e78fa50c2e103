"""``tsdb serve``: one server as the process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from tsdb import config as config_file
from tsdb.config import Config
from tsdb.server import malloc
from tsdb.server.metrics import version
from tsdb.server.server import Report, Server, listen, open_storage

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0002
"""How long a thread may keep the interpreter from the others. With Python's 5 ms, a thread that comes back from a short
kernel waits many times as long as the kernel took."""


def run(
    file: Path | None, address: str | None, data: Path | None, report: Report | None, say: Callable[[str], None]
) -> None:
    """Serves until SIGTERM or SIGINT. `say` is given what a person wants to read. Raises TsdbError."""
    loaded = config_file.load(file) if file is not None else config_file.Loaded(Config())
    config = loaded.config
    for warning in loaded.warnings:
        log.warning("%s", warning)
    if address is not None:
        server_config = msgspec.structs.replace(config.server, listen=address)
        config = msgspec.structs.replace(config, server=server_config)
    path = data or Path(config.storage.tsdb.path)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    malloc.tune()
    sock = listen(config.server.listen)
    log.info("starting", extra={"fields": {"version": version(), "config": file or "none", "data": path}})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, sock:
        runner.run(_serve(config, sock, path, report, say))


async def _serve(
    config: Config, sock: socket.socket, data: Path, report: Report | None, say: Callable[[str], None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    loop.add_signal_handler(signal.SIGHUP, log.warning, "SIGHUP: the config is read at the start only")
    server = Server(config)
    await server.start(sock)
    opening = asyncio.create_task(server.open(open_storage(data, report)))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
            gc.freeze()  # what is there now stays: no need to look through it again and again
            gc.enable()
            url = f"http://{server.address}"
            say(f"tsdb serves on {url}, data in {data}\nA first query:  curl '{url}/api/v1/query?query=up'")
            sys.stdout.flush()
            await stopping
    finally:
        opening.cancel()
        stopping.cancel()
        await server.stop()
    log.info("stopped")


def _on_signal(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        log.warning("second signal: ending at once; the log is replayed at the next start")
        os._exit(1)
    log.info("stopping", extra={"fields": {"signal": signal.Signals(number).name}})
    stop.set()
