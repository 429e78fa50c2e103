from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsdb.kernels.crc32c_kernels import POLYNOMIAL, by_table, checksum


def slow_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def crc(data: bytes, start: int = 0) -> int:
    return checksum(start, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(
    ("data", "expected"),
    [  # RFC 3720, appendix B.4, and the usual check value
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_known_values(data: bytes, expected: int) -> None:
    assert crc(data) == expected


@given(st.binary(max_size=200), st.integers(0, 200))
def test_agrees_with_the_slow_twin_and_can_be_continued(data: bytes, cut: int) -> None:
    assert crc(data) == slow_crc32c(data)
    assert crc(data[cut:], crc(data[:cut])) == slow_crc32c(data)


@given(st.binary(max_size=200))
def test_without_the_instruction_of_the_processor(data: bytes) -> None:
    found = by_table(np.uint32(0xFFFFFFFF), np.frombuffer(data, np.uint8), 0, len(data))  # type: ignore[arg-type]
    assert int(found) ^ 0xFFFFFFFF == slow_crc32c(data)
