"""Data directories of every format ever released are opened, and give back what they were given."""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import FOREVER, everything, read
from tests.storage.histograms.payload import plain
from tests.storage.starts.plain import read as read_starts
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.context import RequestContext
from tsdb.model.errors import FormatTooNew
from tsdb.model.native_histograms import NativeHistogram
from tsdb.model.tiles import Selection
from tsdb.storage import Storage

SAMPLES = Path(__file__).parent / "samples"


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(SAMPLES / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "data"


def digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@pytest.mark.parametrize("name", ["format-1"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_directory_of_an_earlier_format(name: str, read_only: bool, tmp_path: Path) -> None:
    expected = {
        tuple(sorted(json.loads(labels).items())): [(ts, value) for ts, value in samples]
        for labels, samples in json.loads((SAMPLES / f"{name}.json").read_text()).items()
    }
    storage = Storage.open(unpacked(name, tmp_path), read_only=read_only)
    assert read(storage) == expected
    assert [each.help for each in storage.metadata("m0")["m0"]] == ["Help."]
    storage.close()


@pytest.mark.parametrize("name", ["format-2", "format-2-stopped"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_directory_with_histograms(name: str, read_only: bool, tmp_path: Path) -> None:
    """Killed, and stopped with a saved head: blocks with what was deleted from them, windows, histograms, a log
    with late samples."""
    storage = Storage.open(unpacked(name, tmp_path), read_only=read_only)
    found: dict[str, list[list[object]]] = {}
    with storage.capture([Selection(everything(), -FOREVER, FOREVER)], RequestContext()) as capture:
        selected = capture.selected[0]
        for index in range(len(selected.tile_rows) - 1):
            tile = selected.tile(index)
            for row in range(tile.rows):
                own = slice(int(tile.begin[row]), int(tile.end[row]))
                values = [value.encode().hex() if isinstance(value, NativeHistogram) else value
                          for value in plain(tile.values[own].view(np.uint64), tile.payload)]
                found[selected.series.labels(tile.first_row + row)["n"]] = [
                    [ts, value] for ts, value in zip(tile.ts[own].tolist(), values, strict=True)]
    expected = json.loads((SAMPLES / "format-2.json").read_text())
    assert {n: [len(samples), digest(json.dumps(samples).encode())] for n, samples in found.items()} == expected
    assert [each.help for each in storage.metadata("requests")["requests"]] == ["Help."]
    assert [len(each.exemplars) for each in storage.exemplars([everything()], 0, FOREVER, RequestContext())] == [1]
    storage.close()


@pytest.mark.parametrize("name", ["format-2-starts", "format-2-starts-stopped"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_directory_with_start_times(name: str, read_only: bool, tmp_path: Path) -> None:
    """Killed, and stopped with a saved head: blocks of samples in order and of late ones, a checkpoint, a log."""
    storage = Storage.open(unpacked(name, tmp_path), read_only=read_only)
    found = read_starts(storage)
    expected = json.loads((SAMPLES / "format-2-starts.json").read_text())
    assert sorted([number, ts, start] for (number, ts), start in found.items()) == expected
    storage.close()


def test_sealed_chunks_of_a_newer_format(tmp_path: Path) -> None:
    folder = unpacked("format-1", tmp_path)
    path = sorted((folder / "chunks").iterdir())[0]
    header = bytearray(path.read_bytes()[:24])
    header[8] = 99
    crc = int(checksum(0, np.frombuffer(header, np.uint8)))
    path.write_bytes(bytes(header) + struct.pack("<I", crc) + path.read_bytes()[28:])
    with pytest.raises(FormatTooNew, match="has format 99"):
        Storage.open(folder)


def test_a_flipped_bit_in_a_sealed_chunk_gives_no_wrong_value(tmp_path: Path) -> None:
    folder = unpacked("format-1", tmp_path)
    path = sorted((folder / "chunks").iterdir())[0]
    storage = Storage.open(folder, read_only=True)
    expected = read(storage)
    storage.close()
    good = path.read_bytes()
    for at in range(64, len(good) - 512, 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        storage = Storage.open(folder, read_only=True)
        for labels, samples in read(storage).items():
            assert set(samples) <= set(expected[labels])
        storage.close()
