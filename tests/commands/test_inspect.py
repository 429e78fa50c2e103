"""``tsdb inspect`` shows what is in the files, and the numbers add up."""

from __future__ import annotations

import json
import re
import shlex
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.commands.conftest import SERIES, START, flip
from tests.processes import TSDB
from tsdb.commands.check import check
from tsdb.commands.inspect import inspect
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import ConfigError
from tsdb.model.times import time_text


def shown(*arguments: object) -> str:
    done = CliRunner().invoke(inspect, list(map(str, arguments)))
    if done.exception is not None:
        raise done.exception
    return done.output


def lines(*arguments: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown(*arguments, "--json").splitlines()]


def block_of(data: Path) -> Path:
    return next((data / "blocks").iterdir())


def test_a_block(whole: Path) -> None:
    block = block_of(whole)
    found = json.loads(shown("block", block, "--json"))
    assert (found["samples"], found["series"], found["chunks"], found["level"]) == (1200, 12, 12, 1)
    assert (found["minTime"], found["hints"], found["windows"]) == (START, ["from-head"], ["1700006400000.chunks"])
    assert found["bytes"]["chunks"] == (block / "chunks").stat().st_size
    assert found["bytes"]["index"] == sum(section["bytes"] for section in found["sections"])
    assert found["metrics"] == [{"name": "m", "series": 12, "chunkBytes": found["bytes"]["chunks"] - 16}]
    assert found["labels"][0] == {"name": "n", "values": 12, "bytes": 24}
    assert found["chunkSamples"] == [{"from": 64, "to": 127, "chunks": 12}] and found["tombstones"] == 1
    assert shown("block", block.name, "--data", whole) == shown("block", block)
    text = shown("block", block)
    assert "holds     1,200 samples in 12 chunks of 12 series" in text and "cut from  1700006400000.chunks" in text
    assert f"range     2023-11-15T00:00:00Z to {time_text(found['maxTime'])}, of which the end is not part" in text
    assert "samples   from 2023-11-15T00:00:00Z to 2023-11-15T01:39:00.011Z" in text
    assert "deleted   1 tombstones" in text and "fingerprint        |u1" in text


def test_series_and_samples_of_a_block(whole: Path) -> None:
    found = lines("block", block_of(whole), "--match", 'm{n=~"0[12]"}', "--match", '{n="02"}')
    assert [(each["labels"]["n"], each["samples"], each["chunks"]) for each in found] == [
        ("01", 100, 1), ("02", 100, 1)]
    listed = shown("block", block_of(whole), "--match", "m", "--limit", "3").splitlines()
    assert len(listed) == 4 and listed[1].split()[:2] == ["1", "100"] and listed[1].endswith('m{n="00"}')
    (one,) = lines("block", block_of(whole), "--match", '{n="04"}', "--samples")
    assert one["samples"][2] == [START + 2 * 60_000 + 4, "8.0"]
    text = shown("block", block_of(whole), "--match", '{n="04"}', "--samples")
    assert text.splitlines()[:2] == ['m{n="04"}', "  2023-11-15T00:00:00.004Z  0.0"]
    with pytest.raises(SystemExit):
        shown("block", block_of(whole), "--samples")
    with pytest.raises(ConfigError, match="is no block"):
        shown("block", whole)


def test_the_log(whole: Path, data: Path) -> None:
    found = json.loads(shown("wal", whole, "--json"))
    assert [Path(each["path"]).name[:4] for each in found] == ["chec", "0000"]
    checkpoint, segment = (each["records"] for each in found)
    assert checkpoint["series"]["items"] == 12 and "border" in checkpoint["section"]["names"]
    assert segment["samples"]["items"] == 12 * 70 and segment["late samples"]["items"] == 36
    assert (segment["samples"]["minTime"], segment["samples"]["maxTime"]) == (
        START + 100 * 60_000, START + 169 * 60_000 + 11)
    assert segment["tombstones"]["items"] == 1
    assert sum(each["bytes"] for each in segment.values()) + 32 == found[1]["bytes"]
    text = shown("wal", whole / "wal")
    assert "late samples" in text and "2023-11-15T01:40:00Z" in text

    path = Path(found[1]["path"])
    records = lines("wal", path, "--records")
    assert [record["offset"] for record in records] == sorted(record["offset"] for record in records)
    assert sum(record.get("samples", 0) for record in records) == 12 * 70 + 36
    assert " 12 late samples  " in shown("wal", path, "--records")
    series = lines("wal", whole, "--series")
    assert sorted(each["series"] for each in series)[:2] == ['m{n="00"}', 'm{n="01"}']

    flip(data / "wal" / path.name, 300)
    assert "  damaged" in shown("wal", data / "wal" / path.name, "--records")
    with pytest.raises(ConfigError, match="has no segment or checkpoint"):
        shown("wal", whole / "chunks")


def test_a_log_of_prometheus(tmp_path: Path) -> None:
    record = b"\1" + b"some series"
    crc = int(checksum(0, np.frombuffer(record, np.uint8)))
    theirs = struct.pack(">BHI", 1 | 8, len(record), crc) + record
    (tmp_path / "wal" / "checkpoint.00000002").mkdir(parents=True)
    for name in ("checkpoint.00000002/00000000", "00000003"):
        (tmp_path / "wal" / name).write_bytes(theirs.ljust(1 << 15, b"\0"))
    (tmp_path / "wal" / "00000004").write_bytes(b"")
    for path in (tmp_path, tmp_path / "wal", tmp_path / "wal" / "00000003", tmp_path / "wal" / "checkpoint.00000002"):
        with pytest.raises(ConfigError, match=f"{path} is a write-ahead log of Prometheus, not of tsdb"):
            shown("wal", path)


def test_sealed_chunks(whole: Path, data: Path) -> None:
    first = sorted((whole / "chunks").iterdir())[0]
    found = json.loads(shown("chunk", first, "--json"))[0]
    assert (found["chunks"], found["samples"], found["series"], found["damaged"]) == (12, 240, 12, [])
    assert found["chunkSamples"] == [{"from": 16, "to": 31, "chunks": 12}]
    text = shown("chunk", *sorted((whole / "chunks").iterdir()))
    assert "240 samples in 12 chunks of 12 series" in text and "0 samples in 0 chunks" in text
    chunks = lines("chunk", first, "--chunks")
    assert [each["samples"] for each in chunks] == [20] * 12 and chunks[0]["offset"] == 64
    assert sum(each["bytes"] for each in chunks) == found["chunkBytes"]
    assert len(shown("chunk", first, "--ref", chunks[3]["ref"]).splitlines()) == 2
    names = {each["ref"]: each["series"] for each in lines("wal", whole, "--series")}
    (one,) = lines("chunk", first, "--samples", chunks[3]["offset"])
    number = next(n for n, labels in enumerate(SERIES) if f'"{labels["n"]}"' in names[chunks[3]["ref"]])
    assert one["samples"][0] == [START + 100 * 60_000 + number, repr(100.0 * number)]
    assert shown("chunk", first, "--samples", 64).splitlines()[0].startswith("2023-11-15T01:40:00")
    with pytest.raises(ConfigError, match="no sound chunk begins at byte 65"):
        shown("chunk", first, "--samples", 65)
    flip(data / "chunks" / first.name, chunks[3]["offset"] + 50)
    damaged = json.loads(shown("chunk", data / "chunks" / first.name, "--json"))[0]
    assert (damaged["chunks"], damaged["damaged"]) == (11, [[chunks[3]["offset"], chunks[4]["offset"]]])
    with pytest.raises(ConfigError, match="no file of sealed chunks"):
        shown("chunk", whole / "FORMAT")
    with pytest.raises(SystemExit, match="2"):
        shown("chunk", whole)


def test_the_commands_of_the_page_run(data: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "storage-tools.md").read_text()
    window = sorted((data / "chunks").iterdir())[0]
    names = {"/var/lib/tsdb": str(data), "01JD3V3Q5WJ3ZV0X9T6M8N2K4B": block_of(data).name,
             "1795392000000.chunks": window.name, "*.chunks": window.name, "--match up": "--match m"}
    commands = [line for part in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in part.splitlines()]
    assert len(commands) == 12
    for line in commands:
        for name, ours in names.items():
            line = line.replace(name, ours)
        program, group, *arguments = shlex.split(line)
        assert program == "tsdb"
        done = CliRunner().invoke({"check": check, "inspect": inspect}[group], arguments)
        assert done.exit_code == 0 and done.output, line


def test_every_command_has_help_with_examples() -> None:
    for command in (["inspect"], ["inspect", "block"], ["inspect", "wal"], ["inspect", "chunk"], ["check", "data"]):
        done = subprocess.run([TSDB, *command, "--help"], capture_output=True, text=True, timeout=60, check=True)
        assert f"tsdb {' '.join(command)} " in done.stdout
