"""``tsdb serve``: one server as the process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tsdb import config as config_file
from tsdb.config import Config
from tsdb.flags import Flags
from tsdb.server import malloc
from tsdb.server.effective import addresses
from tsdb.server.metrics import version
from tsdb.server.server import Report, Server, listen, open_storage

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0002
"""How long a thread may keep the interpreter from the others. With Python's 5 ms, a thread that comes back from a short
kernel waits many times as long as the kernel took."""


def run(flags: Flags, report: Report | None, say: Callable[[str], None]) -> None:
    """Serves until SIGTERM, SIGINT or /-/quit. `say` is given what a person wants to read. Raises TsdbError."""
    file = flags.config_file
    early: list[int] = []
    # the config may change after it was read
    signal.signal(signal.SIGHUP, lambda number, _: early.append(number))

    def load() -> tuple[Config, Sequence[str]]:
        loaded = config_file.load(file) if file is not None else config_file.Loaded(Config())
        return loaded.config, loaded.warnings

    config, warnings = load()
    for warning in (*flags.warnings, *warnings):
        log.warning("%s", warning)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    malloc.tune()
    with ExitStack() as at_end:
        server = Server(config, file, load if file is not None else None, flags)
        sockets = [at_end.enter_context(listen(address)) for address in addresses(server.services.config)]
        path = Path(server.services.config.storage.tsdb.path)
        log.info("starting", extra={"fields": {"version": version(), "config": file or "none", "data": path}})
        runner = at_end.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_serve(server, sockets, path, early, report, say))


async def _serve(
    server: Server, sockets: Sequence[socket.socket], data: Path, early: Sequence[int], report: Report | None,
    say: Callable[[str], None],
) -> None:
    """`early`: the SIGHUPs that came before."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    loop.add_signal_handler(signal.SIGHUP, server.reloader.request)
    if early:
        server.reloader.request()
    server.services.quit = lambda: _quit(stop)
    await server.start(*sockets)
    opening = asyncio.create_task(server.open(open_storage(data, report)))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            opening.result()
            gc.freeze()  # what is there now stays: no need to look through it again and again
            gc.enable()
            url = server.url
            log.info("Server is ready to receive web requests.", extra={"fields": {"url": url}})
            say(f"tsdb serves on {url}, data in {data}\nA first query:  curl '{url}/api/v1/query?query=up'")
            sys.stdout.flush()
            await stopping
    finally:
        opening.cancel()
        stopping.cancel()
        await server.stop()
    log.info("stopped")


def end_beside_threads() -> None:
    """Ends the process, all being closed, where a daemon thread still loads or compiles kernels: finalization would
    take LLVM and memory from under it."""
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _quit(stop: asyncio.Event) -> None:
    log.warning("Received termination request via web service, exiting gracefully...")
    stop.set()


def _on_signal(stop: asyncio.Event, number: int) -> None:
    if stop.is_set() and number == signal.SIGTERM:
        return  # some supervisors send it to the process, and to its group
    if stop.is_set():
        log.warning("second signal: ending at once; the log is replayed at the next start")
        os._exit(1)
    log.info("stopping", extra={"fields": {"signal": signal.Signals(number).name}})
    stop.set()
