"""Kernels of blocks against the slow obvious way."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tsdb.kernels.crc32c_kernels import checksum
from tsdb.storage.block.dictionary import read_only
from tsdb.storage.block.page_kernels import page_checksums
from tsdb.storage.block.text_kernels import fingerprints, sort_texts
from tsdb.storage.head.index_kernels import keep_listed

pieces = st.sampled_from([b"", b"\0", b"a", b"\xff", b"http_request_duration_seconds_", b"1234567", bytes(7)])
texts = st.lists(st.lists(pieces, max_size=5).map(b"".join), max_size=60)


@given(st.integers(0, 3000), st.sampled_from([1, 383, 384, 385, 1000, 4096]), st.integers(0, 1 << 32))
def test_checksums_of_pages(size: int, page: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    pages = np.arange(-(-size // page))
    out = np.empty(pages.size, np.uint32)
    page_checksums(read_only(data), page, pages, out)
    assert out.tolist() == [checksum(0, data[start : start + page]) for start in range(0, size, page)]


@given(texts)
def test_sorted_texts(found: list[bytes]) -> None:
    lengths = np.array([len(text) for text in found], np.int64)
    data = np.frombuffer(b"".join(found) + b"\x55" * 8, np.uint8)
    order = np.arange(len(found), dtype=np.int32)
    twice = sort_texts(data, np.cumsum(lengths) - lengths, lengths, order, np.empty(len(found), np.uint64),
                       np.empty((256, 3), np.int64))
    assert [found[i] for i in order.tolist()] == sorted(found)
    assert sorted(order.tolist()) == list(range(len(found)))
    assert twice == len(found) - len(set(found))


def test_many_texts_in_any_order() -> None:
    chance = np.random.default_rng(1)
    for numbers in (np.arange(20_000), np.arange(20_000)[::-1], chance.permutation(20_000),
                    chance.integers(0, 50, 20_000)):
        found = [b"instance-%d.example.net:9100" % number for number in numbers.tolist()]
        lengths = np.array([len(text) for text in found], np.int64)
        data = np.frombuffer(b"".join(found) + bytes(8), np.uint8)
        order = np.arange(len(found), dtype=np.int32)
        sort_texts(data, np.cumsum(lengths) - lengths, lengths, order, np.empty(len(found), np.uint64),
                   np.empty((256, 3), np.int64))
        assert [found[i] for i in order.tolist()] == sorted(found)


@given(st.sets(st.integers(0, 400)), st.sets(st.integers(0, 400)), st.booleans())
def test_rows_on_a_list(rows: set[int], listed: set[int], wanted: bool) -> None:
    kept = np.array(sorted(rows), np.int32)
    postings = np.array(sorted(listed), np.uint32)
    postings.flags.writeable = False
    count = keep_listed(kept, postings, wanted)
    assert kept[:count].tolist() == sorted(rows & listed if wanted else rows - listed)


@given(st.integers(1, 600), st.integers(1, 600))
def test_fingerprints(name_size: int, value_size: int) -> None:
    """Lengths as varints of one byte and of two; blocks of 128 bytes that are full and that are not."""

    def varint(number: int) -> bytes:
        return bytes([number]) if number < 128 else bytes([number & 127 | 128, number >> 7])

    name, value = b"n" * name_size, b"v" * value_size
    label = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(value)) + value
    key = b"\x0a" + varint(len(label)) + label
    out = np.empty(16, np.uint8)
    one = np.array([0], np.uint32)
    longest = fingerprints(
        read_only(np.frombuffer(name + value, np.uint8)), np.array([0, len(name), len(name + value)], np.int64), one,
        one + np.uint32(1), np.array([0, 1], np.uint32), one, np.empty(len(key) + 256, np.uint8),
        np.empty(8, np.uint64), out,
    )
    assert longest == len(key)
    assert out.tobytes() == hashlib.blake2b(key, digest_size=16).digest()
