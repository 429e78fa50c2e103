"""Kills a loaded server again and again. Ends with a table and `lost = 0`, or with what was lost and exit code 1."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.crash.rounds import Failed, Rounds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the data directory is made (default: a temporary one)")
    arguments = parser.parse_args()
    sys.setswitchinterval(0.0002)  # so that a phase is seen while it lasts
    folder = Path(tempfile.mkdtemp(prefix="tsdb-crash-", dir=arguments.folder)) / "run"
    rounds = Rounds(folder, arguments.seed, say=True)
    try:
        rounds.run(arguments.rounds)
    except Failed as problem:
        print(rounds.report.table())
        print(f"FAILED: {problem}")
        return 1
    print(rounds.report.table())
    print("lost = 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
