"""A flipped bit in a block of windows: it is set aside, and built anew of its samples; where these are gone, the series
that are sound stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.storage.batches import bits, make_batch, read
from tests.storage.simulator.stepped import open_storage, step, stepped
from tests.storage.test_damage_reading import warnings
from tests.storage.test_deletes import DATA
from tests.storage.tiers.plain import expected, read_tier
from tests.storage.tiers.test_storage_tiers import BEFORE, DAY, HOUR, OPTIONS, SERIES, START, fill, n_is
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.errors import Corruption
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiers import Field
from tsdb.storage import Storage
from tsdb.storage.block import Block
from tsdb.storage.checking.check import check_directory
from tsdb.storage.checking.repair import repair
from tsdb.storage.tiers.fields import FIELD_LABEL
from tsdb.storage.upkeep.retention import Retention


def damage(fs: SimulatedFileSystem, block: Block) -> None:
    """A chunk of the sums of series 2."""
    row = block.find([n_is("2"), Matcher(MatchType.EQUAL, FIELD_LABEL, Field.SUM)])[0]
    chunk = block.index["series_chunk"].array[row]
    fs.flip(block.path / "chunks", 8 * (int(block.index["chunk_offset"].array[chunk]) + 9))


def blocks(storage: Storage) -> tuple[Block, ...]:
    return storage._tiers.tiers[0].blocks.every


def test_it_is_built_anew() -> None:
    with stepped(1):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 2.5)
        step(storage)
        path = blocks(storage)[0].path
        damage(fs, blocks(storage)[0])
        storage = open_storage(fs.killed(), OPTIONS)
        wanted = expected(read(storage), HOUR, START + 2 * DAY)
        with pytest.raises(Corruption, match="is damaged"):
            read_tier(storage, HOUR)
        step(storage)
        assert storage.tiers().tiers[0].spans == ((BEFORE, START + 2 * DAY),)
        assert read_tier(storage, HOUR) == wanted
        assert not warnings(storage), "nothing is lost"
        [found] = storage._damage.found
        assert (found.path, found.kept) == (path, DATA / "damaged" / f"1h-{path.name}")
        assert found.kind == "block of a downsampling tier"


def test_it_is_checked_and_repaired() -> None:
    with stepped(5):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 2.5)
        step(storage)
        path = blocks(storage)[0].path
        report = check_directory(fs.killed(), DATA)
        assert not report.damage and (report.kinds["tiers"].items, report.kinds["tiers"].damaged) == (1, 0)
        damage(fs, blocks(storage)[0])
        fs = fs.killed()
        report = check_directory(fs, DATA)
        [finding] = report.damage
        assert finding.path == path / "chunks" and report.kinds["tiers"].damaged == 1
        assert "built anew" in finding.means and finding.series_count == 1
        assert list(repair(fs, report)) == [f"set aside tiers/1h/{path.name}: the next start builds its windows anew "
                                            "where it can"]
        storage = open_storage(fs, OPTIONS)
        step(storage)
        assert read_tier(storage, HOUR) == expected(read(storage), HOUR, START + 2 * DAY)
        assert not check_directory(fs, DATA).damage


@pytest.mark.parametrize("by", ["server", "repair"])
def test_an_index_is_mended(by: str) -> None:
    with stepped(6):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 1.5)
        step(storage)
        path = blocks(storage)[0].path / "index"
        whole = fs.content(path)
        fs.flip(path, 8 * whole.index(blocks(storage)[0].index["fingerprint"].raw.tobytes()))
        fs = fs.killed()
        if by == "repair":
            assert list(repair(fs, check_directory(fs, DATA))) == [f"mended {path.relative_to(DATA)}: it is as it was"]
        else:
            storage = open_storage(fs, OPTIONS)
            assert read_tier(storage, HOUR) == expected(read(storage), HOUR, START + DAY)
            step(storage)
            assert not storage._damage.found
        assert fs.content(path) == whole


def test_one_that_cannot_be_opened() -> None:
    with stepped(2):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 2.5)
        step(storage)
        fs.flip(blocks(storage)[0].path / "index", 8 * 13)
        storage = open_storage(fs.killed(), OPTIONS)
        assert storage.tiers().tiers[0].spans == () and not warnings(storage)
        step(storage)
        assert read_tier(storage, HOUR) == expected(read(storage), HOUR, START + 2 * DAY)


def test_one_that_is_found_while_blocks_are_merged() -> None:
    with stepped(3):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        for day in range(2):
            fill(storage, 1.2, START + (4 + day) * DAY + DAY // 2)
            step(storage)
        assert len(blocks(storage)) == 2
        damage(fs, blocks(storage)[0])
        storage = open_storage(fs.killed(), OPTIONS)
        for day in range(4):
            fill(storage, 1, START + (7 + day) * DAY)
            step(storage)
        step(storage)
        assert len(storage._damage.found) == 1
        [(_, through)] = storage.tiers().tiers[0].spans
        assert through > START + 8 * DAY
        assert read_tier(storage, HOUR) == expected(read(storage), HOUR, through)


def test_where_the_samples_are_gone() -> None:
    with stepped(4):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 4.5)
        step(storage)
        wanted = read_tier(storage, HOUR, maxt=START + 4 * DAY)
        storage.set_retention(Retention(3 * DAY))
        fill(storage, 0.2, START + 9 * DAY)
        step(storage)
        step(storage)
        assert storage.tiers().raw_from > START + 4 * DAY
        spans = storage.tiers().tiers[0].spans
        damage(fs, blocks(storage)[0])
        options = replace(OPTIONS, retention_ms=3 * DAY)
        fs = fs.killed()
        storage = open_storage(fs, options)
        with pytest.raises(Corruption, match="is damaged"):
            read_tier(storage, HOUR)
        lost = tuple(sorted(SERIES[2].items()))
        wanted.pop(lost)
        for cut in (False, True):
            if cut:
                storage = open_storage(fs.power_cut(), options)
            else:
                step(storage)
            assert read_tier(storage, HOUR, maxt=START + 4 * DAY) == wanted
            assert "found damaged" in warnings(storage, maxt=START + DAY)[0]
            assert storage.tiers().tiers[0].spans == spans
        storage.set_late_window(20 * DAY)
        storage.set_retention(Retention(0))
        late = make_batch(storage.secret, SERIES, [(2, START + DAY + 1, bits(2.0))])
        assert storage.submit(late).result(0).accepted == 1
        storage.compact()
        found = read_tier(storage, HOUR, maxt=START + 4 * DAY)
        assert found.pop(lost).keys() == {START + DAY + HOUR} and found == wanted
