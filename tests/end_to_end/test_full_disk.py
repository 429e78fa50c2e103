"""On a real disk that is full: writes are refused, deletes work and free it, and writes go on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MOUNT = 'mount -t tmpfs -o size=32m tmpfs "$0" && exec "$1" -m tests.end_to_end.full_disk "$0"'
"""In a mount namespace of its own, where no right is needed."""


@pytest.mark.slow
def test_deletes_free_a_full_disk(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run([unshare, "-rm", "sh", "-c", MOUNT, folder, sys.executable], capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"refused": 5, "before": 100, "admin": [204, 204], "after": [0, 100], "then": [204, 204, 204]}
