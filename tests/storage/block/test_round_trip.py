"""What is written is read, to the bit, in the order of the labels."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits
from tests.storage.block.plain import Content, Labels, PlainSource, expected, read_block, satisfies, sort_key
from tests.storage.test_index import matchers
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import BadData
from tsdb.model.labels import canonical_key
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import BOX
from tsdb.storage.block import Block, write_block
from tsdb.wal.files import LocalFileSystem

FS = LocalFileSystem()
WINDOW = 7_200_000

names = st.sampled_from(["__name__", "job", "a", "é", "\U0001f600", "a\0"]) | st.text(min_size=1, max_size=9)
values = st.sampled_from(["x", "xy", "api", "api-1", "web\nline", "été", "a.b", "aXb", "a", "a\0", "a\0\0"]) | st.text(
    min_size=1, max_size=20)
value_bits = st.sampled_from(
    [0, bits(-0.0), bits(1.0), bits(float("inf")), STALE_NAN, bits(float("nan")), 0x7FF8000000001234, 1, BOX - 1]
) | st.integers(0, BOX - 1)


@st.composite
def contents(draw: st.DrawFn) -> dict[Labels, list[list[tuple[int, int]]]]:
    sets = draw(st.lists(st.dictionaries(names, values, max_size=4), max_size=12))
    out = {}
    for labels in sets:
        times = sorted(draw(st.sets(st.integers(0, WINDOW - 1), max_size=20)))
        samples = [(ts, draw(value_bits)) for ts in times]
        size = draw(st.integers(1, 7))
        chunks = [samples[i : i + size] for i in range(0, len(samples), size)]
        out[tuple(sorted(labels.items(), key=lambda label: label[0].encode()))] = chunks
    return out


def opened(content: Content, folder: Path, mint: int = 0, maxt: int = WINDOW) -> Block:
    meta = write_block(FS, folder, PlainSource(content, mint, maxt))
    return Block.open(FS, folder / meta.ulid)


@settings(max_examples=60, deadline=None)
@given(contents(), st.lists(matchers, max_size=3), st.integers(0, WINDOW), st.integers(0, WINDOW))
def test_all_that_is_written_is_read(content: Content, wanted: list[Matcher], mint: int, maxt: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        block = opened(content, Path(folder))
        block.verify()
        everything = expected(content)
        found = read_block(block)
        assert found == everything
        assert list(found) == sorted(found, key=sort_key)
        stats = block.meta.stats
        assert (stats.series, stats.chunks) == (len(everything), sum(map(len, content.values())))
        assert stats.samples == sum(map(len, everything.values()))
        assert read_block(block, mint=mint, maxt=maxt) == expected(content, mint, maxt)

        rows = block.find(wanted)
        assert (np.diff(rows) > 0).all()
        selected = {labels for labels in everything if all(satisfies(labels, matcher) for matcher in wanted)}
        assert set(read_block(block, rows)) == selected
        assert block.label_names() == sorted({name for labels in everything for name, _ in labels}, key=str.encode)
        assert block.label_names(rows) == sorted({name for labels in selected for name, _ in labels}, key=str.encode)
        for name in ("job", "é", "nobody's"):
            for of, sets in ((None, everything), (rows, selected)):
                assert block.label_values(name, of) == sorted(
                    {value for labels in sets for own, value in labels if own == name}, key=str.encode)
        prints = block.fingerprints(rows)
        for i, labels in enumerate(read_block(block, rows)):
            assert prints[i].tobytes() == hashlib.blake2b(canonical_key(dict(labels)), digest_size=16).digest()
        block.release()


series = st.dictionaries(st.sampled_from(["__name__", "job", "a", "é"]),
                         st.sampled_from(["x", "xy", "api", "api-1", "web\nline", "été", "a.b", "aXb"]), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(series, max_size=30), st.lists(matchers, min_size=1, max_size=4))
def test_matchers(sets: list[dict[str, str]], wanted: list[Matcher]) -> None:
    content = {tuple(sorted(labels.items(), key=lambda label: label[0].encode())): [[(5, 1)]] for labels in sets}
    with tempfile.TemporaryDirectory() as folder:
        block = opened(content, Path(folder))
        for _ in range(2):  # the second time from what is kept
            found = block.series_set(block.find(wanted))
            labels = [tuple(found.labels(i).items()) for i in range(len(found))]
            selected = [each for each in content if all(satisfies(each, matcher) for matcher in wanted)]
            assert labels == sorted(selected, key=sort_key)
        block.release()


def test_a_regex_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadData):
        opened({}, tmp_path).find([Matcher(MatchType.REGEX, "a", "(")])


def test_many_chunks_and_wide_times(tmp_path: Path) -> None:
    """A range of more than 2^32 ms, a series with thousands of chunks, a large key, negative times."""
    start, gap = -3_000_000_000, 2_000_003
    chunks = [[(start + gap * i + k, i << k) for k in range(3)] for i in range(3000)]
    content = {(("__name__", "m"), ("long", "x" * 40_000)): chunks, (("__name__", "n"),): chunks[:1]}
    block = opened(content, tmp_path, start, start + 6_000_010_000)
    block.verify()
    assert read_block(block) == expected(content)
    rows = np.arange(2, dtype=np.int32)
    ranges = block.chunk_ranges(rows, start + gap * 100 + 1, start + gap * 102)
    assert ranges.begin.tolist() == [100, 3001]
    assert ranges.end.tolist() == [103, 3001]
    assert ranges.samples.tolist() == [9, 0]
    assert ranges.likely.tolist() == [8, 0]  # six are; those of chunks at the borders are guessed
    assert read_block(block, mint=0, maxt=gap) == expected(content, 0, gap)
    assert block.fingerprints(rows)[0].tobytes() == hashlib.blake2b(
        canonical_key(dict(next(iter(content)))), digest_size=16).digest()


@pytest.mark.parametrize("count", [300, 5000])
def test_many_series(count: int, tmp_path: Path) -> None:
    """Over several pages of the index."""
    content: Content = {
        (("__name__", f"m{i % 7}"), ("instance", f"host-{i:05d}.example.net"), ("job", f"j{i % 3}")): [[(i, i)]]
        for i in range(count)
    }
    block = opened(content, tmp_path)
    block.verify()
    block.release()
    for wanted in (
        [Matcher(MatchType.EQUAL, "__name__", "m1"), Matcher(MatchType.EQUAL, "job", "j2")],
        [Matcher(MatchType.EQUAL, "__name__", "m1"), Matcher(MatchType.NOT_EQUAL, "job", "j2")],
        [Matcher(MatchType.REGEX, "instance", "host-0..1.*"), Matcher(MatchType.NOT_REGEX, "job", "j(0|1)")],
        [Matcher(MatchType.EQUAL, "nothing", "")],
    ):
        block = Block.open(FS, block.path)
        rows = block.find(wanted)
        assert read_block(block, rows, tile=256) == expected(
            {labels: chunks for labels, chunks in content.items() if all(satisfies(labels, m) for m in wanted)})
        block.release()
