"""Data directories of every format ever released are opened, and give back what they were given."""

from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import read
from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import FormatTooNew
from tsdb.storage import Storage

SAMPLES = Path(__file__).parent / "samples"


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(SAMPLES / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "data"


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
