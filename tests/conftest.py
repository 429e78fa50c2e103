"""What all tests share: warm kernels, the real peers, processes that never outlive their test."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import TSDB, Process, free_port
from tsdb.kernels import KernelError, Warmup, cache, registry

REQUIRE_ALL = os.environ.get("TSDB_REQUIRE_ALL") == "1"
"""Set in CI: whatever would be skipped fails."""

REPOSITORY = Path(__file__).parent.parent

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Servers are started as they are installed, with byte code: a second of CPU each."""

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


BEGIN_FIRST = (
    "peers/test_agreement.py", "server/test_serve.py", "server/test_reload_serving.py", "end_to_end/test_drop_in.py",
    "storage/simulator/test_simulator.py", "end_to_end/test_kill.py", "storage/test_crash.py", "test_examples.py",
    "wal/test_crash_model.py", "wal/test_disk_errors.py", "crash/test_crash.py", "crash/test_disk_full.py",
    "storage/block/test_crash.py", "promql/test_promqltest.py", "server/test_bad_bodies.py", "wal/test_damage.py",
    "end_to_end/test_consistency.py",
)
"""Files that take long, those that wait and those that compute by turns: begun last, one would keep a single worker
busy while the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {REPOSITORY / "tests" / name: place for place, name in enumerate(BEGIN_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Compiles, in parallel children, the kernels that the collected tests have imported: no test pays for it."""
    folder = cache.writable_folder()
    if session.config.option.collectonly or folder is None:
        return
    try:
        with (folder / "tests.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one of the workers compiles, for all of them
            Warmup(folder, registry.registered()).start().wait()
    except KernelError as problem:
        session.config.issue_config_time_warning(pytest.PytestWarning(str(problem)), stacklevel=2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: TSDB_REQUIRE_ALL=1 and yet: {reason}"


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Path]:
    """peer("prometheus") is the real program in $TSDB_PEERS, .peers/bin or PATH; where it is missing, a skip."""
    places = [os.environ.get("TSDB_PEERS"), str(REPOSITORY / ".peers" / "bin"), os.environ.get("PATH")]
    where = os.pathsep.join(filter(None, places))

    def find(name: str) -> Path:
        found = shutil.which(name, path=where)
        if found is None:
            pytest.skip(f"no {name} here: run tools/peers, or set TSDB_PEERS to the folder that has it")
        return Path(found)

    return find


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """start(argv, port=...) runs a program until the test ends. Its output is shown where the test fails."""
    started: list[Process] = []

    def begin(argv: Sequence[str | Path], port: int, env: dict[str, str] | None = None) -> Process:
        log = tmp_path / f"{len(started)}-{Path(argv[0]).name}.log"
        started.append(Process(argv, log, port, env))
        return started[-1]

    yield begin
    for process in reversed(started):
        process.kill()
        request.node.add_report_section("teardown", f"output of {process.name}", process.tail())


StartTsdb = Callable[..., Process]


@pytest.fixture
def start_tsdb(start: Start, tmp_path: Path) -> StartTsdb:
    """start_tsdb() runs `tsdb serve` on a free port and waits until it is ready; twice: again on the same data."""

    def begin(*arguments: str, data: Path | None = None, port: int | None = None, **more: Any) -> Process:
        port = port or free_port()
        argv = [TSDB, "serve", "--listen", f"127.0.0.1:{port}", "--data", str(data or tmp_path / "data"), *arguments]
        return start(argv, port, **more).wait_ready()

    return begin
