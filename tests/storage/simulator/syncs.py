"""``python -m tests.storage.simulator.syncs``: which syncs does the simulator miss when they are left out?

Every place in the product that makes something durable (datasync, flush, sync_directory) is made to do nothing, one at
a time, until a run of the simulator with power cuts fails. A place that survives is not needed, or not seen.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import tsdb
from tests.storage.simulator.stepped import stepped
from tests.storage.simulator.world import Faults, World, quiet
from tests.wal.simulated import SYNCS, Operation

PRODUCT = Path(tsdb.__file__).parent
THROUGH = ("write_file_atomically", "mkdir")
"""Functions that sync for their callers: the place is the caller's too."""
KINDS = (
    Faults(cut="power", crash=0.3),
    Faults(cut="either", crash=0.3),
    Faults(cut="either", sync="os", crash=0.3),
    Faults(cut="either", crash=0.15, errors=0.3, short=0.1),
)
"""By seed, in turns."""


def place(frame: FrameType | None) -> str:
    """Where in the product the operation was asked for, as ``wal/log.py:248 _sync``."""
    names = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PRODUCT):
            names.append(f"{path.relative_to(PRODUCT)}:{frame.f_lineno} {frame.f_code.co_name}")
            if frame.f_code.co_name not in THROUGH:
                break
        frame = frame.f_back
    return " < ".join(names)


def run(seed: int, operations: int, lies: Callable[[Operation], bool]) -> str | None:
    """What went wrong, None: nothing."""
    with stepped(seed), quiet():
        world = World(seed, KINDS[seed % len(KINDS)])
        world.lies = world.fs.lies = lies
        try:
            world.run(operations)
        except Exception as problem:  # noqa: BLE001 - whatever such a disk does to us counts as noticed
            return f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
    return None


def places(seeds: int, operations: int) -> Counter[str]:
    """All of them, with how often they were come by."""
    found: Counter[str] = Counter()

    def look(operation: Operation) -> bool:
        if operation.name in SYNCS:
            found[f"{operation.name} in {place(sys._getframe(2))}"] += 1
        return False

    for seed in range(seeds):
        if problem := run(seed, operations, look):
            raise AssertionError(f"seed {seed} fails with all syncs in place: {problem}")
    return found


def leave_out(name: str, seeds: int, operations: int) -> tuple[int, str] | None:
    """The first seed that fails without that sync, and how."""

    def lies(operation: Operation) -> bool:
        return operation.name in SYNCS and f"{operation.name} in {place(sys._getframe(2))}" == name

    for seed in range(seeds):
        if (problem := run(seed, operations, lies)) and not run(seed, operations, lambda _: False):
            return seed, problem
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storage.simulator.syncs", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="tried before a place counts as one that survives")
    parser.add_argument("--operations", type=int, default=40)
    parser.add_argument("--only", default="", help="places whose name contains this")
    arguments = parser.parse_args()
    found = places(60, arguments.operations)
    survive = 0
    for name in sorted(found):
        if arguments.only in name:
            result = leave_out(name, arguments.seeds, arguments.operations)
            survive += result is None
            verdict = "SURVIVES" if result is None else f"seed {result[0]}: {result[1][:70]}"
            print(f"{name:90}  {found[name]:5} times  {verdict}", flush=True)
    print(f"{len(found)} places, {survive} survive")
    return 0


if __name__ == "__main__":
    sys.exit(main())
