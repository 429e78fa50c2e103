"""The files of histograms: what is stored is found, and what is damaged or gone is not."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.native_histograms import histograms
from tests.storage.histograms.payload import Value, plain, some_histogram, with_payload
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.errors import FormatTooNew
from tsdb.model.native_histograms import OFFSET_MASK, boxed, is_boxed
from tsdb.storage.head import payload_kernels
from tsdb.storage.head.file_header import HEADER_BYTES, FileHeader
from tsdb.storage.head.layout import NO_TS
from tsdb.storage.head.payload_kernels import OFFSET_BITS
from tsdb.storage.head.payloads import Lost, Payloads, PayloadView, resolve

FOLDER = Path("/data/histograms")
FLOATS = st.sampled_from([0, 1, 0x7FF0000000000002, 0x3FF0000000000000])
VALUES = st.lists(FLOATS | histograms(), max_size=12)


def opened(fs: SimulatedFileSystem, step: int = 1 << 12) -> Payloads:
    return Payloads(fs, FOLDER, read_only=False, step=step)


def store(payloads: Payloads, values: list[Value], ts: int = 0, late: int | None = None) -> NDArray[np.uint64]:
    columns, payload = with_payload(values)
    return payloads.store(columns, payload, np.full(len(values), ts, np.int64), late)


def lost(view: PayloadView, stored: np.uint64 | int) -> bool:
    """Whether the value leads nowhere."""
    one = np.array([stored], np.uint64)
    return resolve(np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64), one, None, view) is not None


def found(view: PayloadView | None, stored: NDArray[np.uint64]) -> list[Value]:
    """What a reader sees."""
    values, rows = stored.copy(), (np.zeros(1, np.int64), np.array([stored.size], np.int64))
    if view is None:
        assert not is_boxed(values).any()
        return list(values.tolist())
    assert resolve(*rows, np.zeros(stored.size, np.int64), values, None, view) is None
    payload = np.empty(payload_kernels.gather(*rows, values, np.empty(0, np.uint8)), np.uint8)
    payload_kernels.gather(*rows, values, payload)
    return plain(values, payload)


@settings(max_examples=40, deadline=None)
@given(VALUES, VALUES)
def test_what_is_stored_is_found(first: list[Value], second: list[Value]) -> None:
    for payloads in (Payloads(), opened(SimulatedFileSystem())):
        stored = store(payloads, first)
        view = payloads.view()
        more = store(payloads, second)
        assert found(view, stored) == first  # whatever came meanwhile
        assert found(payloads.view(), np.concatenate([stored, more])) == first + second


def test_files_are_of_bounded_length() -> None:
    """Also within one commit."""
    values: list[Value] = [some_histogram(i, 20) for i in range(100)]
    with patch("tsdb.storage.head.payloads.ENOUGH", 1000):
        payloads = opened(SimulatedFileSystem(), 256)
        stored = [store(payloads, values[i : i + 10]) for i in range(0, 100, 10)]
    assert len(payloads.every) > 3
    assert found(payloads.view(), np.concatenate(stored)) == values


def test_a_full_file_is_followed_by_another() -> None:
    large: list[Value] = [some_histogram(i, 50) for i in range(60)]
    with patch("tsdb.storage.head.payloads.LARGEST", 1 << 11), \
            patch("tsdb.storage.head.payloads.LARGEST_RECORD", 1 << 8):
        payloads = opened(SimulatedFileSystem(), 256)
        stored = store(payloads, large)
    assert len(payloads.every) > 1
    assert found(payloads.view(), stored) == large


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 16), st.integers(0, 7))
def test_a_bit_turns_over(byte: int, bit: int) -> None:
    """No other histogram is ever found."""
    fs = SimulatedFileSystem()
    payloads = opened(fs)
    values: list[Value] = [some_histogram(i) for i in range(5)]
    stored = store(payloads, values)
    place = HEADER_BYTES + byte % (payloads.used - HEADER_BYTES)
    fs.flip(FOLDER / "00000001", place * 8 + bit)
    view = payloads.view()
    assert view is not None
    wrong = 0
    for value, expected in zip(stored, values, strict=True):
        if lost(view, value):
            wrong += 1
        else:
            assert found(view, np.array([value], np.uint64)) == [expected]
    assert wrong == 1


@pytest.mark.parametrize("stored", [
    boxed(0), boxed(1), boxed(2 << OFFSET_BITS | HEADER_BYTES), boxed(OFFSET_MASK), boxed(1 << OFFSET_BITS),
    boxed(1 << OFFSET_BITS | 4095), boxed(1 << OFFSET_BITS | HEADER_BYTES + 1),
])
def test_what_leads_nowhere(stored: int) -> None:
    payloads = opened(SimulatedFileSystem())
    store(payloads, [some_histogram(1)])
    view = payloads.view()
    assert view is not None
    assert lost(view, stored)


def test_the_same_bytes_elsewhere_do_not_count() -> None:
    payloads = opened(SimulatedFileSystem())
    one, other = store(payloads, [some_histogram(1), some_histogram(2)])
    array = payloads.every[0].array
    at, to, size = int(one) & 0xFFFFFFF, int(other) & 0xFFFFFFF, int(other - one)
    array[to : to + size] = array[at : at + size]
    view = payloads.view()
    assert view is not None and lost(view, other)


@pytest.mark.parametrize(("at", "size", "expected"), [
    (0, 60, -1), (1, 60, 0), (20, 60, 0), (1 << 49, 60, 0), (0, 20, 0),
])
def test_a_batch_that_leads_nowhere_is_found(at: int, size: int, expected: int) -> None:
    whole = np.frombuffer(some_histogram(1).encode().ljust(60, b"\0"), np.uint8)
    assert payload_kernels.check(np.array([boxed(at)], np.uint64), whole[:size]) == expected


def test_files_go_when_all_of_it_is_in_blocks() -> None:
    fs = SimulatedFileSystem()
    payloads = opened(fs)
    old = store(payloads, [some_histogram(1)], ts=100)
    payloads.end()
    store(payloads, [some_histogram(2)], ts=200)
    store(payloads, [some_histogram(3)], ts=50, late=4)
    assert payloads.take_out(100, 9) == []
    view = payloads.view()
    gone = payloads.take_out(150, 3)
    assert [file.number for file in gone] == [1]
    payloads.remove(gone)
    assert fs.paths() == [FOLDER / "00000002"]
    assert found(view, old) == [some_histogram(1)]  # as long as somebody looks at it
    assert payloads.take_out(201, 3) == []
    payloads.remove(payloads.take_out(201, 4))
    assert fs.paths() == [] and payloads.view() is None
    assert found(payloads.view(), store(payloads, [1])) == [1]
    kept = store(payloads, [some_histogram(4)])
    assert fs.paths() == [FOLDER / "00000003"]
    assert found(payloads.view(), kept) == [some_histogram(4)]


def test_after_a_crash_what_chunks_refer_to_stays() -> None:
    fs = SimulatedFileSystem()
    payloads = opened(fs)
    store(payloads, [some_histogram(1)], ts=100)
    payloads.end()
    kept = store(payloads, [some_histogram(2)], ts=200)
    payloads = opened(fs.killed())
    payloads.load()
    assert found(payloads.view(), kept) == [some_histogram(2)]
    payloads.referred(np.array([NO_TS, 200], np.int64), 7)
    assert [file.number for file in payloads.every] == [2]
    more = store(payloads, [some_histogram(3)], ts=300)
    assert [file.number for file in payloads.every] == [2, 8]  # whatever had a number before keeps it
    assert found(payloads.view(), np.concatenate([kept, more])) == [some_histogram(2), some_histogram(3)]
    assert [file.number for file in payloads.take_out(250, 0)] == [2]


def test_after_a_clean_stop_a_file_goes_on() -> None:
    fs = SimulatedFileSystem()
    payloads = opened(fs)
    kept = store(payloads, [some_histogram(1)], ts=100)
    store(payloads, [some_histogram(2)], ts=50, late=3)
    payloads.sync()
    known, following = payloads.known(2), payloads.following
    assert {each.name: each.size for each in known} == payloads.sizes()
    payloads = opened(fs.power_cut())
    payloads.attach(known, following)
    more = store(payloads, [some_histogram(3)], ts=120)
    assert found(payloads.view(), np.concatenate([kept, more])) == [some_histogram(1), some_histogram(3)]
    assert [file.number for file in payloads.every] == [1]
    assert payloads.take_out(121, -1) == [] and payloads.take_out(120, 0) == []
    assert len(payloads.take_out(121, 0)) == 1


def test_a_damaged_header_and_a_newer_version() -> None:
    fs = SimulatedFileSystem()
    store(opened(fs), [some_histogram(1)])
    newer = fs.copy()
    fs.flip(FOLDER / "00000001", 16 * 8)
    payloads = opened(fs)
    payloads.load()
    assert payloads.view() is None and payloads.following == 2
    older = FileHeader(b"TSDBHIST", 0, "histograms")
    with patch("tsdb.storage.head.payloads.HEADER", older), pytest.raises(FormatTooNew):
        opened(newer).load()


def test_a_full_disk() -> None:
    fs = SimulatedFileSystem()
    payloads = opened(fs)
    kept = store(payloads, [some_histogram(1)])
    fs.capacity = 4096
    with pytest.raises(OSError, match="No space"):
        store(payloads, [some_histogram(i) for i in range(200)])
    assert found(payloads.view(), kept) == [some_histogram(1)]
    fs.capacity = 1 << 20
    stored = store(payloads, [some_histogram(i) for i in range(200)])
    assert found(payloads.view(), stored) == [some_histogram(i) for i in range(200)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(["float", "sound", "gone"]), max_size=5), max_size=4), st.booleans())
def test_what_leads_nowhere_is_left_out(rows: list[list[str]], started: bool) -> None:
    payloads = Payloads()
    sound = store(payloads, [some_histogram(1)])[0]
    view = payloads.view()
    assert view is not None
    kinds = [kind for row in rows for kind in row]
    of_kind = {"float": 5, "sound": int(sound), "gone": boxed(7 << OFFSET_BITS)}
    values = np.array([of_kind[kind] for kind in kinds], np.uint64)
    sizes = np.array([len(row) for row in rows], np.int64)
    ends = np.cumsum(sizes)
    begin, end = ends - sizes, ends.copy()
    ts, starts = np.arange(len(kinds), dtype=np.int64) * 10, np.arange(len(kinds), dtype=np.int64)
    gone = [i for i, kind in enumerate(kinds) if kind == "gone"]
    expected = Lost(7, 10 * gone[0], 10 * gone[-1]) if gone else None
    assert resolve(begin, end, ts, values, starts if started else None, view) == expected
    left = [[i for i in range(first, last) if kinds[i] != "gone"]
            for first, last in zip(begin.tolist(), ends.tolist(), strict=True)]
    own = [slice(first, last) for first, last in zip(begin.tolist(), end.tolist(), strict=True)]
    assert [ts[each].tolist() for each in own] == [[10 * i for i in row] for row in left]
    assert [is_boxed(values[each]).tolist() for each in own] == [[kinds[i] == "sound" for i in row] for row in left]
    if started:
        assert [starts[each].tolist() for each in own] == left
