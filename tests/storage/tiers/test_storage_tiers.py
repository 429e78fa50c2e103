"""A storage with downsampling tiers: built, read, built anew, dropped."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.storage.batches import bits, make_batch, read
from tests.storage.simulator.stepped import open_storage, step, stepped
from tests.storage.tiers.plain import ALL, expected, read_tier
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.errors import TiersChanged
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.tiers import Field, TierRead, quantile_field
from tsdb.model.tiles import Selection
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.tiers.coverage import span_of
from tsdb.storage.tiers.fields import FIELD_LABEL
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.upkeep.retention import Retention

HOUR, DAY = 3_600_000, 86_400_000
START = 1_600_000_000_000 // (4 * DAY) * 4 * DAY
BEFORE = START - DAY
"""A sample at START would be in a window of the day before."""
SERIES = [{"__name__": "m", "n": str(n)} for n in range(5)] + [{"__name__": "m", "n": "0", "z": "x"}]
NAMED_AS_FIELDS = [{"__name__": "count", "last": "m"}, {"__name__": "m", "sum": "first_ts", "stale": "stale"}]
RULE = TierRule(HOUR, 400 * DAY)
OPTIONS = StorageOptions(wal_sync="commit", late_window_ms=5 * DAY, tiers=(RULE,))


def fill(storage: Storage, days: float, start: int = START, series: Sequence[dict[str, str]] = SERIES) -> None:
    """Samples each 20 minutes or so; some series end, and begin anew."""
    chance = random.Random(start)
    batch = []
    for at in range(start + 1, start + int(days * DAY), 20 * 60_000):
        for row in range(len(series)):
            day = (at - START) // DAY
            if row == 1 and day % 2:
                continue
            value = STALE_NAN if chance.random() < 0.05 else bits(float(chance.randrange(1000)))
            batch.append((row, at + chance.randrange(1000), value))
    assert storage.submit(make_batch(storage.secret, series, batch)).result(0).accepted == len(batch)


def n_is(value: str) -> Matcher:
    return Matcher(MatchType.EQUAL, "n", value)


def test_days_are_built_when_they_are_over() -> None:
    with stepped(1):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 3.5)
        step(storage)
        assert storage.tiers().tiers[0].spans == ((BEFORE, START + 3 * DAY),)
        built = expected(read(storage), HOUR, START + 3 * DAY)
        assert read_tier(storage, HOUR) == built
        assert read_tier(storage, HOUR, [Field.LAST, Field.STALE, Field.SUM], START + DAY, START + DAY + 4 * HOUR,
                         [n_is("0")]) == {
            labels: {end: (w[ALL.index(Field.LAST)], w[ALL.index(Field.STALE)], w[ALL.index(Field.SUM)])
                     for end, w in own.items() if START + DAY <= end <= START + DAY + 4 * HOUR}
            for labels, own in built.items() if ("n", "0") in labels}
        assert read_tier(storage, HOUR, [Field.STALE])
        storage = open_storage(fs.killed(), OPTIONS)
        assert storage.tiers().tiers[0].spans == ((BEFORE, START + 3 * DAY),)
        assert read_tier(storage, HOUR) == built
        fill(storage, 5, START + 4 * DAY)
        step(storage)
        assert storage.tiers().tiers[0].spans == ((BEFORE, START + 8 * DAY),)
        assert len(storage._tiers.tiers[0].blocks.every) == 2, "days become four"
        samples = read(storage)
        assert read_tier(storage, HOUR) == expected(samples, HOUR, START + 8 * DAY)
        storage.compact()
        newest = max(ts for own in samples.values() for ts, _ in own)
        through = newest // HOUR * HOUR
        assert storage.tiers().tiers[0].spans == ((BEFORE, through),), "every hour that is over"
        assert read_tier(storage, HOUR) == expected(samples, HOUR, through)


def test_late_samples_and_deletes_are_built_anew() -> None:
    with stepped(2):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        fill(storage, 3.5)
        step(storage)
        told = storage.tiers()
        wanted = Selection((n_is("0"),), START + 1, START + DAY, tier=TierRead(HOUR, (Field.SUM,)))
        late = [(2, START + 5 * HOUR + 7, bits(1e6)), (1, START + DAY + HOUR, bits(5.0))]
        assert storage.submit(make_batch(storage.secret, SERIES, late)).result(0).accepted == 2
        assert storage.tiers().tiers[0].spans == (), "late samples are in no window yet"
        storage.compact()
        assert storage.tiers().tiers[0].spans != ()
        samples = read(storage)
        through = max(ts for own in samples.values() for ts, _ in own) // HOUR * HOUR
        assert read_tier(storage, HOUR) == expected(samples, HOUR, through)
        before = storage.tiers()
        storage.delete_series([[n_is("0"), Matcher(MatchType.EQUAL, "z", "x")]], START + 3 * HOUR + 5,
                              START + 3 * HOUR + 6)
        with pytest.raises(TiersChanged):
            storage.capture([wanted], RequestContext())
        now = storage.tiers()
        assert now.tiers[0].spans != before.tiers[0].spans != told.tiers[0].spans
        assert storage.capture([wanted], RequestContext()).selected, "who asks for what there is gets it"
        hidden = read_tier(storage, HOUR)
        everywhere = expected(samples, HOUR, through)
        touched = tuple(sorted(SERIES[5].items()))
        assert hidden == {labels: {end: window for end, window in own.items()
                                   if labels != touched or end != START + 4 * HOUR}
                          for labels, own in everywhere.items()}
        storage = open_storage(fs.killed(), OPTIONS)
        assert read_tier(storage, HOUR) == hidden
        step(storage)
        assert storage.tiers().tiers[0].spans == before.tiers[0].spans
        assert read_tier(storage, HOUR) == expected(read(storage), HOUR, through)
        storage.delete_series([[n_is("3")]], START, START + 40 * DAY)
        step(storage)
        assert read_tier(storage, HOUR) == expected(read(storage), HOUR, through)
        storage.delete_series([[]], START, START + 40 * DAY)
        step(storage)
        assert read_tier(storage, HOUR) == {} == read(storage)


def test_samples_go_once_every_tier_has_them() -> None:
    with stepped(3):
        fs = SimulatedFileSystem()
        daily = TierRule(DAY, 800 * DAY)
        storage = open_storage(fs, StorageOptions(wal_sync="commit", tiers=(RULE, daily)))
        fill(storage, 6.5, series=[*SERIES, *NAMED_AS_FIELDS])
        fill(storage, 0.5, START + 30 * DAY, SERIES[:2])
        storage.set_retention(Retention(10 * DAY))
        everything = read(storage)
        step(storage)
        step(storage)
        found = storage.tiers()
        assert START + 6 * DAY < found.raw_from <= START + 20 * DAY
        assert min(ts for own in read(storage).values() for ts, _ in own) > START + 20 * DAY
        for tier in found.tiers:
            through = tier.spans[0][1]
            assert through >= START + 6 * DAY
            early = {labels: [each for each in own if each[0] <= through] for labels, own in everything.items()}
            assert read_tier(storage, tier.resolution_ms, maxt=through) == expected(early, tier.resolution_ms, through)
        names = storage.label_values("n", [], START, START + DAY, RequestContext())
        assert names == ["0", "1", "2", "3", "4"], "series that only tiers have"
        series = storage.series([[n_is("0")]], START, START + 40 * DAY, RequestContext())
        assert [series.labels(row) for row in range(len(series))] == [SERIES[0], SERIES[5]]
        names = storage.label_names([], START, START + DAY, RequestContext())
        assert names == ["__name__", "last", "n", "stale", "sum", "z"]
        storage = open_storage(fs.power_cut(), StorageOptions(wal_sync="commit"))
        assert storage.tiers() == found, "without rules they are still read"
        storage.delete_series([[n_is("2")]], START, START + DAY)
        left = read_tier(storage, HOUR, maxt=START + 6 * DAY)
        two = tuple(sorted(SERIES[2].items()))
        assert min(left[two]) == START + DAY + HOUR
        assert storage.tiers().tiers[0].spans == found.tiers[0].spans, "nothing can be built anew"


def test_quantiles_of_some_series() -> None:
    with stepped(4):
        rule = TierRule(6 * HOUR, 0, (n_is("0"),), (0.0, 0.5, 0.99))
        storage = open_storage(SimulatedFileSystem(), StorageOptions(tiers=(rule, RULE)))
        fill(storage, 2.5)
        step(storage)
        fields = [quantile_field(0.5), Field.MAX, quantile_field(0.99), Field.STALE, quantile_field(0.0), Field.SUM]
        wanted = expected({labels: own for labels, own in read(storage).items() if ("n", "0") in labels}, 6 * HOUR,
                          START + 2 * DAY, fields)
        assert len(wanted) == 2
        assert read_tier(storage, 6 * HOUR, fields) == wanted
        fill(storage, 4, START + 4 * DAY)
        storage.compact()
        found = read_tier(storage, 6 * HOUR, fields, START + 4 * DAY, START + 7 * DAY)
        samples = {labels: own for labels, own in read(storage).items() if ("n", "0") in labels}
        assert found == {labels: {end: window for end, window in own.items() if end >= START + 4 * DAY}
                         for labels, own in expected(samples, 6 * HOUR, START + 7 * DAY, fields).items()}
        assert [tier.matchers for tier in storage.tiers().tiers] == [(), (n_is("0"),)]
        assert read_tier(storage, HOUR, [quantile_field(0.5)]) == {}, "that tier has none"


def test_a_block_that_lacks_series_is_read_once_the_samples_are_gone() -> None:
    with stepped(6):
        storage = open_storage(SimulatedFileSystem(), OPTIONS)
        clash = {"__name__": "m", FIELD_LABEL: "count"}
        for day, series in enumerate([SERIES, [*SERIES, clash], SERIES, SERIES, SERIES, SERIES]):
            fill(storage, 1, START + day * DAY, series)
            step(storage)
        lacking = [span_of(block) for block in storage._tiers.tiers[0].blocks.every
                   if block.meta.tier and block.meta.tier.left_out]
        assert lacking == [(START + DAY, START + 2 * DAY)]
        assert storage.tiers().tiers[0].spans == ((BEFORE, START + DAY), (START + 2 * DAY, START + 5 * DAY))
        fill(storage, 0.2, START + 9 * DAY)
        storage.set_retention(Retention(3 * DAY))
        step(storage)
        step(storage)
        assert storage.tiers().raw_from > START + 4 * DAY
        assert storage.tiers().tiers[0].spans[0][0] == BEFORE


def test_old_samples_come_when_theirs_are_gone() -> None:
    """What there was stays; windows that were not there are added, and later ones are built of all their samples."""
    with stepped(5):
        storage = open_storage(SimulatedFileSystem(), OPTIONS)
        fill(storage, 9)
        samples = read(storage)
        storage.set_retention(Retention(3 * DAY))
        fill(storage, 0.2, START + 9 * DAY, SERIES[:1])
        step(storage)
        step(storage)
        raw_from = storage.tiers().raw_from
        rest = read(storage)
        assert START + 4 * DAY < raw_from < min(ts for own in rest.values() for ts, _ in own) + 2 * HOUR
        spans = storage.tiers().tiers[0].spans
        assert len(storage._tiers.tiers[0].blocks.every) <= 4
        assert read_tier(storage, HOUR, maxt=START + 9 * DAY) == expected(samples, HOUR, START + 9 * DAY)
        storage.set_late_window(20 * DAY)
        storage.set_retention(Retention(0))
        new = [(0, START + 4 * DAY + 1, bits(1e6)), (0, raw_from + 3 * HOUR, bits(1e6))]
        fresh = {"__name__": "m", "n": "new"}
        new += [(6, START + hour * HOUR - 1, bits(float(hour))) for hour in range(2, 200, 3)]
        assert storage.submit(make_batch(storage.secret, [*SERIES, fresh], new)).result(0).accepted == len(new)
        storage.compact()
        step(storage)
        assert storage.tiers().tiers[0].spans[0][0] == spans[0][0]
        zero = tuple(sorted(SERIES[0].items()))
        everything = dict(samples)
        everything[zero] = sorted([*samples[zero], (raw_from + 3 * HOUR, bits(1e6))])
        everything[tuple(sorted(fresh.items()))] = [(ts, value) for row, ts, value in new if row == 6]
        assert read_tier(storage, HOUR, maxt=START + 9 * DAY) == expected(everything, HOUR, START + 9 * DAY)
