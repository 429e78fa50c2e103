"""The servers under test: how each is started, watched, flushed and killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psutil

PROMETHEUS_YML = "global:\n  scrape_interval: 15s\n  evaluation_interval: 15s\n"


Keep = Callable[[tuple[str, ...]], bool]
"""Of the parts of a path below a folder: does the file count?"""


def _tree_bytes(folder: Path, keep: Keep = lambda parts: True) -> tuple[int, int]:
    """(apparent, allocated) bytes of the files under folder whose relative parts pass keep."""
    apparent = allocated = 0
    for path in Path(folder).rglob("*"):
        if path.is_file() and keep(path.relative_to(folder).parts):
            stat = path.stat()
            apparent += stat.st_size
            allocated += stat.st_blocks * 512
    return apparent, allocated


def without_folders(text: str) -> str:
    """The text with absolute paths cut to their last part, so that results name no machine's folders."""
    return re.sub(r"(?<![\w}.:/])/(?:[^\s/'\"]+/)+", "", text)


def _prometheus_blocks(folder: Path) -> tuple[int, int, int]:
    """Bytes and samples of the persistent blocks (folders with a meta.json that counts samples)."""
    total = samples = count = 0
    for meta in Path(folder).rglob("meta.json"):
        stats = json.loads(meta.read_text()).get("stats", {})
        if "numSamples" in stats:
            samples += stats["numSamples"]
            total += _tree_bytes(meta.parent)[0]
            count += 1
    return total, samples, count


class Target:
    """A generic server: a command line with {dir}, {port} and {config} to fill in."""

    write_path = "/api/v1/write"
    extra_params: ClassVar[dict[str, str]] = {}
    all_but_wal_is_blocks = True     # where no block says how many samples it holds

    def __init__(self, name: str, command: str | list[str], ready: str = "/-/ready", config: str | None = None,
                 config_name: str = "tsdb.yml", flush: Sequence[str] = (),
                 wal: Sequence[str] = ("wal*", "*.wal", "chunks_head*"), env: Sequence[str] = (),
                 version: list[str] | None = None) -> None:
        self.name, self.ready, self.flush = name, ready, list(flush)
        self.command = shlex.split(command) if isinstance(command, str) else command
        self.config, self.config_name, self.wal = config, config_name, list(wal)
        self.env = dict(item.split("=", 1) for item in env)
        self.version_argv = version

    def argv(self, folder: Path, port: int) -> list[str]:
        fill = {"{dir}": str(folder), "{port}": str(port), "{config}": str(folder / self.config_name)}
        def one(text: str) -> str:
            for key, value in fill.items():
                text = text.replace(key, value)
            return text
        if self.config is not None:
            (folder / self.config_name).write_text(one(self.config))
        return [one(a) for a in self.command]

    def describe(self) -> str:
        return without_folders(" ".join(self.command))

    def version(self) -> str | None:
        if not self.version_argv:
            return None
        done = subprocess.run(self.version_argv, capture_output=True, text=True)
        text = done.stdout or done.stderr
        found = re.search(r"version ([\w.\-+~]+)|tags-(v[\d.]+)|victoria-metrics-([\w.\-+~]+)", text)
        return next((g for g in found.groups() if g), None) if found else text.strip()[:80] or None

    def before_disk(self, server: Server) -> str:
        """Brings the data to the form in which it stays; returns what was done, in words."""
        for url in self.flush:
            server.request("POST", url)
        return "POST " + ", ".join(self.flush) if self.flush else "nothing asked of it"

    def all_data(self, server: Server, folder: Path) -> dict[str, Any] | None:
        """Figures once all data are in blocks, where a target can do that."""
        return None

    def disk(self, folder: Path, samples: int) -> dict[str, Any]:
        """Figures on the files, WAL apart."""

        def is_wal(parts: tuple[str, ...]) -> bool:
            return any(Path(p).match(w) for p in parts for w in self.wal)

        blocks, block_samples, count = _prometheus_blocks(folder)
        if not count and self.all_but_wal_is_blocks:
            blocks, block_samples = _tree_bytes(folder, lambda parts: not is_wal(parts))[0], samples
        total, allocated = _tree_bytes(folder)
        wal = _tree_bytes(folder, is_wal)[0]
        return {"persistent_bytes": blocks, "persistent_samples": block_samples, "blocks": count,
                "persistent_bytes_per_sample": blocks / block_samples if block_samples else None,
                "wal_and_head_bytes": wal, "total_bytes": total, "total_allocated_bytes": allocated,
                "total_bytes_per_sample": total / samples}


class Prometheus(Target):
    all_but_wal_is_blocks = False

    def __init__(self, binary: str) -> None:
        super().__init__("prometheus", [
            binary, "--config.file={config}", "--storage.tsdb.path={dir}/data",
            "--storage.tsdb.retention.time=10y", "--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver", "--web.enable-admin-api", "--log.level=warn"],
            config=PROMETHEUS_YML, config_name="prometheus.yml", wal=("wal", "chunks_head"),
            version=[binary, "--version"])

    def before_disk(self, server: Server) -> str:
        return ("nothing: the blocks are those that head compaction wrote during the ingest; "
                "all_data is an admin snapshot, which also writes the head as a block")

    def disk(self, folder: Path, samples: int) -> dict[str, Any]:
        return super().disk(folder / "data", samples)

    def all_data(self, server: Server, folder: Path) -> dict[str, Any]:
        """Bytes per sample once the head is a block too, from a snapshot that is then deleted."""
        answer = json.loads(server.request("POST", "/api/v1/admin/tsdb/snapshot")[1])
        snapshot = folder / "data" / "snapshots" / answer["data"]["name"]
        size, samples, count = _prometheus_blocks(snapshot)
        shutil.rmtree(folder / "data" / "snapshots")
        return {"bytes": size, "samples": samples, "blocks": count, "bytes_per_sample": size / samples}


class VictoriaMetrics(Target):
    extra_params: ClassVar[dict[str, str]] = {"nocache": "1"}

    def __init__(self, binary: str) -> None:
        super().__init__("victoria-metrics", [
            binary, "-storageDataPath={dir}/data", "-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=10y", "-search.disableCache", "-loggerLevel=WARN"],
            ready="/health", wal=(), version=[binary, "-version"])

    def before_disk(self, server: Server) -> str:
        server.request("GET", "/internal/force_flush")
        server.request("GET", "/internal/force_merge")
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            time.sleep(1)
            found = re.search(r"^vm_active_force_merges (\d+)", server.request("GET", "/metrics")[1].decode(), re.M)
            if not found or found.group(1) == "0":
                break
        time.sleep(3)     # merged parts are removed a moment later
        return "/internal/force_flush, then /internal/force_merge until it ended"

    def disk(self, folder: Path, samples: int) -> dict[str, Any]:
        root = folder / "data"
        data = _tree_bytes(root / "data", lambda parts: parts[0] in ("big", "small"))[0]
        index = _tree_bytes(root / "indexdb")[0] + _tree_bytes(root / "data", lambda p: p[0] == "indexdb")[0]
        total, allocated = _tree_bytes(root)
        return {"persistent_bytes": data + index, "persistent_samples": samples, "blocks": None,
                "persistent_bytes_per_sample": (data + index) / samples, "data_only_bytes_per_sample": data / samples,
                "index_bytes": index, "wal_and_head_bytes": 0, "total_bytes": total,
                "total_allocated_bytes": allocated, "total_bytes_per_sample": total / samples}


# ---------------------------------------------------------------- processes

def _process_cpu(pid: int) -> float:
    """CPU seconds of one live process, to the nanosecond where the kernel's per-process clock
    can be read (psutil's figure comes in ticks of 10 ms)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _installed(environment: Mapping[str, str]) -> dict[str, str]:
    """Of a program as installed: an editable one keeps its byte code, too, instead of compiling its source again."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Server:
    """A running target."""

    def __init__(self, target: Target, folder: Path, log: Path) -> None:
        self.target, self.folder, self.port = target, Path(folder), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = target.argv(self.folder, self.port)
        with log.open("ab") as out:
            self.started = time.monotonic()
            self.popen = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                          env={**_installed(os.environ), **target.env})
        self.root = psutil.Process(self.popen.pid)
        self._conn: http.client.HTTPConnection | None = None

    # -- http

    def request(self, method: str, path: str, params: dict[str, Any] | None = None,
                timeout: float = 180) -> tuple[int, bytes]:
        """(status, body) over a keep-alive connection."""
        query = {**(params or {}), **(self.target.extra_params if params is not None else {})}
        url = path + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
        last = False
        while True:
            if self._conn is None:
                self._conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            try:
                self._conn.request(method, url)
                answer = self._conn.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError) as problem:
                self._conn.close()
                self._conn = None
                if last or isinstance(problem, ConnectionRefusedError):
                    raise
                last = True     # a keep-alive connection may have been closed meanwhile: once more

    def instant(self, expr: str, t_ms: int) -> list[tuple[dict[str, str], float]]:
        """[(labels, value)] of an instant query."""
        status, body = self.request("GET", "/api/v1/query", {"query": expr, "time": f"{t_ms / 1000:.3f}"})
        if status != 200:
            raise RuntimeError(f"{expr}: {status} {body[:300]!r}")
        data = json.loads(body)["data"]
        return [(r["metric"], float(r["value"][1])) for r in data["result"]]

    def scalar(self, expr: str, t_ms: int) -> float:
        rows = self.instant(expr, t_ms)
        return rows[0][1] if rows else 0.0

    def wait_ready(self, timeout: float = 600) -> float:
        """Seconds from process start until the readiness URL answers 200."""
        while time.monotonic() - self.started < timeout:
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.target.name} ended with {self.popen.returncode}")
            try:
                if self.request("GET", self.target.ready)[0] == 200:
                    return time.monotonic() - self.started
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.005)
        raise RuntimeError(f"{self.target.name} was not ready in {timeout} s")

    # -- watching

    def tree(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """CPU seconds of the whole process tree so far, reaped children included."""
        total = 0.0
        for process in self.tree():
            try:
                reaped = process.cpu_times()
                total += _process_cpu(process.pid) + reaped.children_user + reaped.children_system
            except (psutil.NoSuchProcess, ProcessLookupError):
                pass
        return total

    def memory(self) -> tuple[int, int]:
        """(resident, of that not backed by files) bytes, summed over the tree. Shared memory (memfd) is not backed."""
        rss = anon = 0
        for process in self.tree():
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                status = dict(line.split(":", 1) for line in lines)
                part = {k: int(status[k].split()[0]) * 1024 for k in ("VmRSS", "RssAnon", "RssShmem") if k in status}
                rss += part.get("VmRSS", 0)
                anon += part.get("RssAnon", 0) + part.get("RssShmem", 0)
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                pass
        return rss, anon

    def pss(self) -> int | None:
        """Proportional set size: counts memory shared between children once."""
        try:
            return sum(p.memory_full_info().pss for p in self.tree())
        except (psutil.Error, AttributeError):
            return None

    def settle(self, least: float = 6.0, most: float = 90.0, quiet: float = 0.03) -> float:
        """Waits until the server uses < `quiet` of a core over 2 s.  Returns seconds waited."""
        began = time.monotonic()
        before = self.cpu()
        while time.monotonic() - began < most:
            time.sleep(2)
            now = self.cpu()
            if now - before < 2 * quiet and time.monotonic() - began >= least:
                break
            before = now
        return time.monotonic() - began

    # -- ending

    def stop(self, timeout: float = 180) -> float:
        """SIGTERM; seconds until the process was gone.  Children that outlive it are killed."""
        began = time.monotonic()
        self._drop()
        children = self.tree()[1:]
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill9()
        took = time.monotonic() - began
        for child in psutil.wait_procs(children, timeout=5)[1]:
            child.kill()
        return took

    def kill9(self) -> None:
        """SIGKILL to the process and all its children, at once."""
        tree = self.tree()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._drop()
        self.popen.wait()
        psutil.wait_procs(tree[1:], timeout=10)

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None



class PeakMemory(threading.Thread):
    """Samples the tree's memory and keeps the peaks, until .end()."""

    def __init__(self, server: Server, every: float = 0.1) -> None:
        super().__init__(daemon=True)
        self.server, self.every, self.rss, self.anon = server, every, 0, 0
        self._done = threading.Event()
        self.start()

    def _look(self) -> None:
        rss, anon = self.server.memory()
        self.rss, self.anon = max(self.rss, rss), max(self.anon, anon)

    def run(self) -> None:
        while not self._done.wait(self.every):
            self._look()

    def end(self) -> dict[str, int]:
        self._done.set()
        self.join()
        self._look()
        return {"peak_rss_bytes": self.rss, "peak_anon_bytes": self.anon}


class Noise:
    """What else used the machine over a stretch of time: CPU that was neither the server's
    nor this harness's, and CPU stolen by the hypervisor, as shares of all cores; and which
    other processes that still live used most of it, in CPU seconds."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server
        self.began, self.times = time.monotonic(), psutil.cpu_times()
        self.own = time.process_time()
        self.theirs = server.cpu() if server else 0.0
        self.others = self._others()

    def _others(self) -> dict[tuple[int, str], float]:
        mine = {os.getpid(), *(p.pid for p in self.server.tree())} if self.server else {os.getpid()}
        out = {}
        for process in psutil.process_iter(["pid", "name", "cpu_times"]):
            times = process.info["cpu_times"]
            if times and process.info["pid"] not in mine:
                out[process.info["pid"], process.info["name"].split(":")[0]] = times.user + times.system
        return out

    def end(self, server_cpu: float | None = None) -> dict[str, Any]:
        wall = (time.monotonic() - self.began) * (psutil.cpu_count() or 1)
        now = psutil.cpu_times()
        busy = sum(getattr(now, f) - getattr(self.times, f) for f in ("user", "nice", "system", "irq", "softirq"))
        if server_cpu is None:
            server_cpu = (self.server.cpu() - self.theirs) if self.server else 0.0
        own = time.process_time() - self.own
        grown: dict[str, float] = {}
        for key, cpu in self._others().items():
            grown[key[1]] = round(grown.get(key[1], 0) + cpu - self.others.get(key, 0), 2)
        top = sorted(grown.items(), key=lambda item: -item[1])[:3]
        return {"foreign_top": {name: cpu for name, cpu in top if cpu > 0.05},
                "foreign_cpu_share": round(max(busy - own - server_cpu, 0) / wall, 4),
                "steal_share": round((now.steal - self.times.steal) / wall, 4),
                "machine_speed": machine_speed()}


def machine_speed(rounds: int = 3) -> float:
    """Best rate of a fixed single-core loop, in M iterations/s: shows throttling between phases."""
    best = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        x = 0
        for i in range(300_000):
            x += i & 7
        best = max(best, 0.3 / (time.perf_counter() - began))
    return round(best, 2)
