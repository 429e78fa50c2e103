"""Pages of sections are checked when they are first touched."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.model.errors import Corruption
from tsdb.storage.block.sections import Section

PAGE, ITEMS = 64, 100
spans = st.lists(st.tuples(st.integers(0, ITEMS), st.integers(0, ITEMS)).map(sorted), max_size=5)


T = TypeVar("T", bound=np.generic)


def read_only(array: NDArray[T]) -> NDArray[T]:
    array.flags.writeable = False
    return array


@given(st.sampled_from(["|u1", "<u2", "<u4", "<u8"]), st.sets(st.integers(0, ITEMS - 1)), st.lists(spans, max_size=4))
def test_what_is_damaged_is_found_when_it_is_touched(dtype: str, damaged: set[int], touched: list[list[list[int]]],
                                                    ) -> None:
    data = np.arange(ITEMS).astype(dtype)
    raw = data.view(np.uint8)
    pages = [raw[start : start + PAGE] for start in range(0, raw.size, PAGE)]
    crcs = np.array([int(checksum(0, read_only(page.copy()))) for page in pages], np.uint32)
    for item in damaged:
        raw[item * data.itemsize] ^= 1
    bad = {item * data.itemsize // PAGE for item in damaged}
    section = Section(Path("index"), "numbers", read_only(raw), dtype, read_only(crcs), PAGE)
    for each in touched:
        meant = {byte // PAGE for low, high in each for byte in range(low * data.itemsize, high * data.itemsize)}
        begin, end = (np.array([span[i] for span in each], np.int64) for i in (0, 1))
        items = np.array(sorted({item for low, high in each for item in range(low, high)}), np.uint32)
        if meant & bad:
            with pytest.raises(Corruption, match="numbers is damaged within 64 bytes"):
                section.check_spans(begin, end)
            with pytest.raises(Corruption):
                section.at(items)
        else:
            section.check_spans(begin, end)
            assert section.at(items).tolist() == [item & (1 << 8 * data.itemsize) - 1 for item in items.tolist()]
            for low, high in each:
                assert section.part(low, high).tolist() == data[low:high].tolist()


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (3, 2), (0, 101), (101, 101)])
def test_what_is_not_there(begin: int, end: int) -> None:
    section = Section(Path("index"), "numbers", read_only(np.zeros(ITEMS, np.uint8)), "|u1",
                      read_only(np.zeros(2, np.uint32)), PAGE)
    with pytest.raises(Corruption, match="numbers"):
        section.check_spans(np.array([begin]), np.array([end]))
