"""What is exported comes back, to the bit: through files and the commands, from blocks, the head and late samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.exports.stored import HISTOGRAMS, Stored, labels_of, samples_of
from tests.storage.batches import bits, make_batch
from tsdb.cli import cli
from tsdb.commands.import_data import import_data
from tsdb.model.batch import STALE_NAN
from tsdb.model.native_histograms import NORMAL_NAN, boxed
from tsdb.storage import Storage, StorageOptions

HOUR = 3_600_000
BEGIN = 1_700_006_400_000
ODD = (1.5, -0.0, float("inf"), float("-inf"), 5e-324, 1e300, 2.0**60, 0.1)
SERIES = (
    {"__name__": "a_total", "job": "api"}, {"__name__": "a_total", "job": 'q"\\\n'}, {"__name__": "b.c", "ünï.x": "😀"},
    {"__name__": "h"}, {"timestamp": "nameless", "value": ","},
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks, the head, and late samples."""
    folder = tmp_path_factory.mktemp("round") / "data"
    storage = Storage.open(folder, StorageOptions(late_window_ms=HOUR))
    for minute in range(260):
        append(storage, BEGIN + 60_000 * minute)
        if minute == 200:
            storage.compact()
        if minute > 230 and minute % 7 == 0:
            append(storage, BEGIN + 60_000 * minute - 30_500)
    storage.close()
    return folder


def append(storage: Storage, ts: int) -> None:
    minute = ts // 60_000
    values = [bits(float(minute)), STALE_NAN if minute % 50 == 0 else bits(ODD[minute % len(ODD)]),
              (NORMAL_NAN, 0x7FF8 << 48, 0xFFF8000000000001)[minute % 3], boxed(0), bits(minute / 7)]
    batch = make_batch(storage.secret, SERIES, [(row, ts, value) for row, value in enumerate(values)])
    batch.payload = np.frombuffer(HISTOGRAMS[minute % 2].encode(), np.uint8)
    batch.start_ts = np.array([BEGIN - 5, 0, 0, BEGIN - 7, 0])
    assert storage.submit(batch).result(30).accepted == len(SERIES)


def stored_in(folder: Path) -> Stored:
    storage = Storage.open(folder, read_only=True)
    try:
        return samples_of(storage)
    finally:
        storage.close()


def only_floats(samples: Stored) -> Stored:
    """What formats of floats carry."""
    found: Stored = {}
    for labels, column in samples.items():
        for ts, (value, _) in column.items():
            if isinstance(value, int) and value != STALE_NAN:
                found.setdefault(labels, {})[ts] = NORMAL_NAN if is_nan(value) else value, 0
    return found


def is_nan(value: int) -> bool:
    return value & 0x7FF << 52 == 0x7FF << 52 and value & (1 << 52) - 1 != 0


@pytest.mark.parametrize("form, suffix", [
    (form, suffix) for form, suffix in (("jsonl", ".zst"), ("csv", ".gz"), ("openmetrics", ""), ("parquet", ""))
    if form in import_data.commands])
def test_there_and_back(data: Path, tmp_path: Path, form: str, suffix: str) -> None:
    file, copy = tmp_path / f"file.{form}{suffix}", tmp_path / "copy"
    done = CliRunner().invoke(cli, ["export", form, "--data", str(data), "-o", str(file)], catch_exceptions=False)
    assert done.exit_code == 0
    imported = CliRunner().invoke(cli, ["import", form, "--data", str(copy), str(file)], catch_exceptions=False)
    assert imported.exit_code == 0, imported.output
    there = stored_in(data)
    assert {labels_of(labels) for labels in SERIES} == there.keys()
    if form in ("csv", "openmetrics"):
        assert "stale markers were left out" in done.stderr and "native histograms were left out" in done.stderr
        assert "lost their bits" in done.stderr and "lost their start times" in done.stderr
        there = {labels: column for labels, column in only_floats(there).items()
                 if form == "csv" or "__name__" in dict(labels)}
    else:
        assert len(done.stderr.splitlines()) == 1
    assert stored_in(copy) == there
