"""How many evals of PromQL test scripts pass: ``python -m tests.promql.yardstick [FILE…]``.

Without files: all scripts of the folder that TSDB_PROMQLTEST names, and those of the project. An eval that needs what
is not there yet (native histograms, say) has not passed, and is counted in a column of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.promql.test_promqltest import FOLDER
from tsdb.commands.tables import table
from tsdb.kernels import warm_up
from tsdb.testing.run import run_cases
from tsdb.testing.script import read_script

OWN = Path(__file__).parent / "scripts"


def main(files: list[Path]) -> None:
    warm_up(None)
    names, counts, reasons = [], [], Counter[str]()
    for file in files:
        outcome = run_cases(read_script(file))
        names.append(file.name)
        counts.append((outcome.passed, len(outcome.failures), len(outcome.unsupported), outcome.total))
        reasons.update(reason for _, reason in outcome.unsupported)
        for case, problem in outcome.failures:
            print(f"{case}: {case.expr}\n  {problem}", file=sys.stderr)
    counts.append((sum(c[0] for c in counts), sum(c[1] for c in counts), sum(c[2] for c in counts),
                   sum(c[3] for c in counts)))
    rows = [[name, *map(str, row)] for name, row in zip([*names, "all"], counts, strict=True)]
    print(table(["script", "passed", "failed", "not yet", "total"], rows, "lrrrr"))
    print("\n".join(f"{count:6} {reason}" for reason, count in reasons.most_common()))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [*sorted(FOLDER.glob("*.test")), *sorted(OWN.glob("*.test"))])
