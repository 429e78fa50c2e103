"""Warm-up: compiles missing kernels in child processes, and tells how far it is.

The compiler needs 300 MiB and half a minute of CPU for all kernels; a server process never pays that. Children
(``python -m tsdb.kernels.child``) take kernel names on standard input and answer each with a line on standard output.
"""

from __future__ import annotations

import fcntl
import importlib
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tsdb.kernels import cache, registry
from tsdb.kernels.registry import Kernel

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called as (compiled so far, to compile in all, name of the newest)."""


class KernelError(RuntimeError):
    """A kernel did not compile. A bug of ours or an unsupported numba: the message has the compiler's own."""


def discover() -> list[Kernel[..., Any]]:
    """Imports every module of ours named ``*_kernels`` and returns all kernels, in the order of their stages."""
    root = Path(__file__).parent.parent.parent
    for package in ("tsdb", "scraper"):
        for path in sorted((root / package).rglob("*_kernels.py")):
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))
    return sorted(registry.registered(), key=lambda kernel: get_args(registry.Stage).index(kernel.stage))


@dataclass
class _Process:
    """What this process has settled on: its cache folder, and the warm-up under way. Code, not state: see registry."""

    folder: Path | None = None
    chosen: bool = False
    running: Warmup | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def choose(self, data: Path | None) -> Path | None:
        with self.lock:
            if not self.chosen:
                self.folder, self.chosen = cache.writable_folder(data), True
                if self.folder is None:
                    log.warning("no folder for compiled kernels can be written: they are compiled anew at every start "
                                "(set TSDB_CACHE_DIR)")
            return self.folder


_PROCESS = _Process()


class Warmup:
    """Compiles what a list of kernels lacks. `wait` returns when the kernels of a stage are on disk."""

    def __init__(self, folder: Path, kernels: Iterable[Kernel[..., Any]], progress: Progress | None = None,
                 children: int | None = None, stage: registry.Stage | None = None) -> None:
        """`progress` is told of the kernels of `stage`; None: of all."""
        self._folder = folder
        self._progress = progress
        self._stage = stage
        self._missing = [kernel for kernel in kernels if not cache.path_of(folder, kernel).exists()]
        self._left = {kernel.name: kernel for kernel in self._missing}
        self._errors: dict[str, str] = {}
        self._changed = threading.Condition()
        self._children = min(children or os.cpu_count() or 1, 4, max(1, len(self._missing)))
        self._threads: list[threading.Thread] = []

    @property
    def total(self) -> int:
        """How many kernels had to be compiled."""
        return len(self._missing)

    @property
    def left(self) -> int:
        return len(self._left)

    def start(self) -> Warmup:
        if self._missing:
            work: queue.SimpleQueue[Kernel[..., Any]] = queue.SimpleQueue()
            for kernel in self._missing:
                work.put(kernel)
            for number in range(self._children):
                thread = threading.Thread(target=self._feed, args=(work,), name=f"warmup-{number}", daemon=True)
                thread.start()
                self._threads.append(thread)
        return self

    def wait(self, stage: registry.Stage | None = None, timeout: float = 600.0) -> None:
        """Blocks until the kernels of `stage` (None: all) are there. Raises KernelError if one did not compile."""
        self._wait(lambda: not any(stage in (None, kernel.stage) for kernel in self._left.values()), timeout)

    def wait_for(self, name: str, timeout: float = 600.0) -> None:
        self._wait(lambda: name not in self._left, timeout)

    def _wait(self, done: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: done() or self._errors, timeout):
                raise KernelError(f"kernels did not compile within {timeout:g} s: {', '.join(sorted(self._left))}")
            if self._errors:
                name, text = next(iter(self._errors.items()))
                raise KernelError(f"kernel {name} did not compile: {text}")

    def _feed(self, work: queue.SimpleQueue[Kernel[..., Any]]) -> None:
        child: subprocess.Popen[str] | None = None
        try:
            while True:
                try:
                    kernel = work.get_nowait()
                except queue.Empty:
                    return
                with _file_lock(self._folder, kernel):
                    text = ""
                    if not cache.path_of(self._folder, kernel).exists():
                        if child is None:
                            child = _start_child(self._folder)
                        text = _compile_in(child, kernel)
                self._finish(kernel, text)
        except OSError as problem:
            self._finish(kernel, f"{type(problem).__name__}: {problem}")
        finally:
            if child is not None:
                assert child.stdin is not None
                child.stdin.close()
                child.wait()

    def _finish(self, kernel: Kernel[..., Any], error: str) -> None:
        with self._changed:
            if error:
                self._errors[kernel.name] = error
            else:
                self._left.pop(kernel.name, None)
            if self._progress is not None and self._stage in (None, kernel.stage):
                total, left = (sum(self._stage in (None, one.stage) for one in these)
                               for these in (self._missing, self._left.values()))
                self._progress(total - left, total, kernel.name)
            self._changed.notify_all()


class _file_lock:  # noqa: N801
    """Keeps two processes that start cold from compiling the same kernel twice."""

    def __init__(self, folder: Path, kernel: Kernel[..., Any]) -> None:
        self._path = cache.path_of(folder, kernel).with_suffix(".lock")

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()


def _start_child(folder: Path) -> subprocess.Popen[str]:
    environment = dict(os.environ)
    root = str(Path(__file__).parent.parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tsdb.kernels.child", str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    )


def _compile_in(child: subprocess.Popen[str], kernel: Kernel[..., Any]) -> str:
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(f"{kernel.name}\n")
    child.stdin.flush()
    answer = child.stdout.readline()
    if not answer:
        return f"the compiling process ended with code {child.wait()}"
    verdict, _, rest = answer.rstrip("\n").partition(" ")
    return "" if verdict == "ok" else rest.replace("\\n", "\n")


def warm_up(data: Path | None = None, *, wait: registry.Stage | None = "start", progress: Progress | None = None,
            ) -> Warmup:
    """Makes all kernels ready: returns when those of stage `wait` (None: all) are; the rest compiles behind it.
    `progress` is told of those waited for.

    `data` is the data directory, whose ``.kernels`` is the cache where nothing better can be written.
    """
    kernels = discover()
    folder = _PROCESS.choose(data)
    if folder is None:
        return Warmup(Path(), [])
    with _PROCESS.lock:
        running = _PROCESS.running = Warmup(folder, kernels, progress, stage=wait).start()
    running.wait(wait)
    if wait is None or running.total == 0:
        cache.prune(folder)
    return running


def compiled(kernel: Kernel[..., Any]) -> Path | None:
    """Where the machine code of a kernel is, once it is: waits for the warm-up, or has a child compile it. None: there
    is no folder for it, and the process has to compile it itself."""
    folder = _PROCESS.choose(None)
    if folder is None:
        return None
    path = cache.path_of(folder, kernel)
    if path.exists():
        os.utime(path.parent)
        return path
    running = _PROCESS.running
    if running is not None and kernel.name in running._left:
        running.wait_for(kernel.name)
    else:
        began = time.monotonic()
        Warmup(folder, [kernel]).start().wait()
        log.info("compiled kernel %s in %.1f s", kernel.name, time.monotonic() - began)
    return path
