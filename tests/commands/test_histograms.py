"""The tools tell of histograms in the head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.commands.conftest import HOUR, START, flip
from tests.storage.batches import make_batch
from tests.storage.histograms.tokens import histogram_of, token, with_histograms
from tsdb.commands.check import check
from tsdb.commands.inspect import inspect
from tsdb.storage import Storage
from tsdb.storage.head.file_header import HEADER_BYTES

MINUTES = 130


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Over a border of windows: a series of histograms, and one of floats."""
    storage = Storage.open(tmp_path / "data")
    series = [{"__name__": "m", "n": str(n)} for n in range(2)]
    for minute in range(MINUTES):
        ts = START + minute * 60_000
        batch = make_batch(storage.secret, series, [(0, ts, token(minute)), (1, ts, minute)])
        assert storage.submit(with_histograms(batch)).result(30).accepted == 2
    storage.close()
    return tmp_path / "data"


def findings(data: Path) -> list[tuple[str, str, str]]:
    done = CliRunner().invoke(check, ["data", "--json", str(data)])
    return [(Path(each["path"]).relative_to(data).parts[0], each["what"], each["means"])
            for each in json.loads(done.output)["findings"]]


def shown(*arguments: object) -> str:
    done = CliRunner().invoke(inspect, list(map(str, arguments)))
    assert done.exception is None, done.exception
    return done.output


def payload_file(data: Path) -> Path:
    (path,) = (data / "histograms").iterdir()
    return path


def test_all_is_well(data: Path) -> None:
    assert findings(data) == []
    done = CliRunner().invoke(check, ["data", str(data)])
    (line,) = [line for line in done.output.splitlines() if line.startswith("histograms")]
    assert f" {MINUTES} " in line and line.endswith("ok")


def test_damage_after_a_clean_stop(data: Path) -> None:
    flip(payload_file(data), HEADER_BYTES + 20)
    (window, of_window, _), (kind, what, means) = sorted(findings(data))
    assert (window, of_window) == ("chunks", "of 1 chunks, histograms are gone or damaged")
    assert (kind, what) == ("histograms", f"damaged from byte {HEADER_BYTES} on")
    assert "Nothing is lost" in means


def test_damage_after_a_crash(data: Path) -> None:
    (data / "head" / "saved").unlink()
    flip(payload_file(data), HEADER_BYTES + 20)
    ((kind, what, means),) = findings(data)
    assert (kind, what) == ("chunks", "of 1 chunks, histograms are gone or damaged") and "Nothing is lost" in means


def test_a_damaged_header(data: Path) -> None:
    flip(payload_file(data), 3)
    assert ("histograms", "not a file of histograms") in [each[:2] for each in findings(data)]


def test_what_is_in_the_log(data: Path) -> None:
    lines = [line for line in shown("wal", data, "--records").splitlines() if "samples" in line]
    assert len(lines) == MINUTES and all("2 samples, 1 of them histograms" in line for line in lines)


def test_what_is_in_a_chunk(data: Path) -> None:
    window = sorted((data / "chunks").iterdir())[0]
    assert int(window.name.split(".")[0]) == START // (2 * HOUR) * 2 * HOUR
    offsets = [json.loads(line)["offset"] for line in shown("chunk", window, "--chunks", "--json").splitlines()]
    texts = [text for offset in offsets for _, text in json.loads(
        shown("chunk", window, "--samples", offset, "--json"))["samples"]]
    one = histogram_of(16)
    assert f"histogram: schema {one.schema}, count {one.count}, sum {one.sum!r}" in texts
    flip(payload_file(data), HEADER_BYTES + 20)
    assert "a histogram that is gone or damaged" in shown("chunk", window, "--samples", offsets[0])
