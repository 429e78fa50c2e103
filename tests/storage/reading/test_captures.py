"""What a capture holds, lets go of, and tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.storage.batches import FOREVER, everything, read
from tests.storage.block.plain import Labels
from tests.storage.reading.plain import Parts, in_chunks
from tsdb.model.context import Limits, RequestContext
from tsdb.model.errors import Corruption, LimitExceeded
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiles import Selection
from tsdb.storage.block import Block
from tsdb.storage.damage import Damage
from tsdb.storage.head.layout import WINDOW_MS
from tsdb.storage.reading.reading import Reading

UP: Labels = (("__name__", "up"),)
DOWN: Labels = (("__name__", "down"),)
ALL = Selection(everything(), 0, FOREVER)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.close()


def test_of_equal_times_the_first_source_counts(parts: Parts) -> None:
    """The head, then blocks of samples in order, then other blocks, older ones first, then late samples."""
    parts.append({UP: {5: 50}})
    parts.append_late({UP: dict.fromkeys(range(1, 6), 10)})
    older = parts.write({UP: [[(ts, 30) for ts in range(3, 6)]]}, 0, 10, out_of_order=True)
    newer = parts.write({UP: [[(ts, 20) for ts in range(2, 6)]]}, 0, 10, out_of_order=True)
    in_order = parts.write({UP: [[(ts, 40) for ts in range(4, 6)]]}, 0, 10)
    for each in (newer, in_order, older):
        parts.blocks.publish([each])
    assert read(parts.reading) == {UP: [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]}


def test_what_is_kept_of_a_selection_holds_until_series_come(parts: Parts) -> None:
    parts.blocks.publish([parts.write({DOWN: [[(1, 1)]], UP: [[(1, 2)]]}, 0, 10)])
    for _ in range(2):
        assert read(parts.reading) == {DOWN: [(1, 1)], UP: [(1, 2)]}
    parts.append({UP: {20: 3}})
    for _ in range(2):
        assert read(parts.reading) == {DOWN: [(1, 1)], UP: [(1, 2), (20, 3)]}
    parts.append({DOWN: {20: 4}})
    parts.blocks.publish([parts.write({DOWN: [[(11, 5)]]}, 10, 20)])
    for _ in range(2):
        assert read(parts.reading) == {DOWN: [(1, 1), (11, 5), (20, 4)], UP: [(1, 2), (20, 3)]}


def test_a_capture_keeps_what_it_reads(parts: Parts) -> None:
    block = parts.write({DOWN: [[(1, 1)]]}, 0, 10)
    parts.blocks.publish([block])
    capture = parts.reading.capture([ALL], RequestContext())
    parts.blocks.publish([], [block])
    assert len(block.chunks)
    tile = capture.selected[0].tile(0)
    assert tile.ts.tolist() == [1]
    series = capture.selected[0].series
    capture.close()
    capture.close()
    assert not len(block.chunks)
    assert not list((block.path.parent).iterdir())
    assert series.labels(0) == dict(DOWN), "labels outlive the capture"
    assert read(parts.reading) == {}


def test_ids_are_not_used_again_while_a_result_is_there(parts: Parts) -> None:
    parts.append({UP: {1: 1}})
    capture = parts.reading.capture([ALL], RequestContext())
    before = parts.head.readers.advance()
    series = capture.selected[0].series
    capture.close()
    del capture
    assert parts.head.readers.oldest() == before
    assert series.labels(0) == dict(UP)
    del series
    assert parts.head.readers.oldest() > before


@pytest.mark.parametrize("fails", ["limit", "regex"])
def test_a_capture_that_fails_lets_go(parts: Parts, fails: str) -> None:
    block = parts.write({DOWN: [[(1, 1)]]}, 0, 10)
    parts.blocks.publish([block])
    before = parts.head.readers.advance()
    if fails == "limit":
        context = RequestContext(limits=Limits(max_bytes=10))
        with pytest.raises(LimitExceeded):
            parts.reading.capture([ALL], context)
    else:
        with pytest.raises(Exception, match="regular expression"):
            parts.reading.capture([Selection((Matcher(MatchType.REGEX, "x", "("),), 0, 5)], RequestContext())
    parts.blocks.publish([], [block])
    assert not len(block.chunks)
    assert parts.head.readers.oldest() > before


def test_blocks_beyond_the_range_are_not_touched(parts: Parts) -> None:
    parts.append({UP: {100: 1}})
    parts.blocks.publish([parts.write({DOWN: [[(1, 1)]]}, 0, 10)])
    assert parts.reading.label_values("__name__", [], 10, FOREVER, RequestContext()) == ["up"]
    assert parts.reading.label_values("__name__", [], 1, FOREVER, RequestContext()) == ["down", "up"]


def test_damage_is_told_of(parts: Parts, tmp_path: Path) -> None:
    parts.append({UP: {5 * WINDOW_MS: 1}})
    block = parts.write({DOWN: [[(1, 1)]]}, 0, 10)
    damage = Damage(parts.fs, tmp_path, read_only=False)
    told: list[tuple[Block, Corruption]] = []
    reading = Reading(parts.head, parts.index, parts.blocks, damage, lambda *each: told.append(each))
    parts.blocks.publish([block])
    with block.path.joinpath("chunks").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with reading.capture([ALL], RequestContext()) as capture, pytest.raises(Corruption):
        assert not capture.warnings
        capture.selected[0].tile(0)
    assert [each is block for each, _ in told] == [True]
    parts.blocks.publish([], [block])
    damage.note(block.path, told[0][1], block.meta.mint, block.meta.maxt)
    for mint, warned in ((0, True), (9, True), (10, False)):
        with reading.capture([Selection(everything(), mint, FOREVER)], RequestContext()) as capture:
            assert [str(block.path.name) in warning for warning in capture.warnings] == [True] * warned


def test_samples_that_move_to_blocks_are_seen_once(parts: Parts) -> None:
    """While a thread moves samples from the late store to blocks, merges blocks and removes what they were made of."""
    samples = {ts: ts for ts in range(0, 3000, 10)}
    parts.append({UP: {10 * WINDOW_MS: 1}})
    parts.append_late({UP: samples, DOWN: samples})
    expected = {UP: [*samples.items(), (10 * WINDOW_MS, 1)], DOWN: list(samples.items())}
    wrong: list[object] = []
    done = threading.Event()

    def keep_reading() -> None:
        while not done.is_set():
            if (found := read(parts.reading)) != expected:
                wrong.append(found)
            names = parts.reading.label_values("__name__", [], 0, 3000, RequestContext())
            if names != ["down", "up"]:
                wrong.append(names)

    def block(low: int, high: int) -> Block:
        chunks = in_chunks({ts: value for ts, value in samples.items() if low <= ts < high}, 40)
        return parts.write({UP: chunks, DOWN: chunks}, low, high)

    late = parts.head.late
    rows = [(slot, ts, value) for slot in parts.slots([UP, DOWN]).values() for ts, value in samples.items()]
    columns = (np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int64),
               np.array([row[2] for row in rows], np.uint64))

    def put_back() -> None:
        late.show(late.stage(*columns))

    readers = [threading.Thread(target=keep_reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(15):
            late.freeze()
            small = [block(low, low + 1000) for low in range(0, 3000, 1000)]
            parts.blocks.publish(small, beside=late.drop_frozen)
            large = block(0, 3000)
            parts.blocks.publish([large], small)
            parts.blocks.publish([], [large], beside=put_back)
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert not wrong



def test_more_samples_in_the_times_than_a_chunk_seems_to_have_there(parts: Parts) -> None:
    crowded = {0: 7} | {3_600_000 + ts: ts for ts in range(300)}
    series: list[Labels] = [(("__name__", "up"), ("pod", str(pod))) for pod in range(20)]
    parts.blocks.publish([parts.write({labels: in_chunks(crowded, 400) for labels in series}, 0, 3_601_000)])
    parts.append({labels: dict.fromkeys(range(3_601_000, 3_601_500), 9) for labels in series})
    found = read(parts.reading, mint=3_600_100)
    assert found == {labels: [*((3_600_000 + ts, ts) for ts in range(100, 300)), *((ts, 9) for ts in
                              range(3_601_000, 3_601_500))] for labels in series}
