"""Priorities of threads."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux'")
@pytest.mark.parametrize(("begun_with", "wanted", "runs_with"), [(0, 5, 5), (5, 5, 5), (12, 5, 12), (0, 0, 0)])
def test_a_thread_lowers_its_priority_and_never_raises_it(begun_with: int, wanted: int, runs_with: int) -> None:
    own = int(subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout)
    script = f"""
import os
from tsdb.model.threads import lower_priority
lower_priority({own + wanted})
print(os.nice(0))
"""
    done = subprocess.run(["nice", "-n", str(begun_with), sys.executable, "-c", script],
                          capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == min(own + runs_with, 19)
