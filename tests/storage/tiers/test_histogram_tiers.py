"""Tiers of series with native histograms in a storage: built, read, built anew, merged, in snapshots, and when the
samples are gone."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tests.storage.batches import FOREVER, bits, everything, make_batch
from tests.storage.histograms.payload import with_payload
from tests.storage.simulator.stepped import open_storage, step, stepped
from tests.storage.tiers.histogram_twin import Samples, Value, Windows, assert_same, cell, windows
from tests.storage.tiers.test_storage_tiers import BEFORE, DAY, HOUR, OPTIONS, START
from tests.wal.simulated import SimulatedFileSystem
from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher, MatchType
from tsdb.model.native_histograms import CUSTOM_SCHEMA, NativeHistogram, ResetHint
from tsdb.model.tiers import Field, TierRead, quantile_field
from tsdb.model.tiles import Queryable, Selection
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.tiers.rule import TierRule
from tsdb.storage.upkeep.retention import Retention
from tsdb.storage.upkeep.snapshots import FOLDER

KINDS = ("integers", "floats", "custom", "gauge", "mixed", "numbers")
ALL = tuple(Field)


def history(days: float, start: int = START) -> dict[str, list[tuple[int, Value]]]:
    """A series of each kind, a sample each 40 minutes; counters begin anew now and then."""
    found: dict[str, list[tuple[int, Value]]] = {}
    for row, kind in enumerate(KINDS):
        chance, own, count = random.Random(start + row), list[tuple[int, Value]](), 0
        for at in range(start + 1, start + int(days * DAY), 40 * 60_000):
            count = 0 if chance.random() < 0.05 else count + chance.randrange(4)
            value: Value = None if chance.random() < 0.05 else sample(kind, count, chance)
            own.append((at + chance.randrange(1000), value))
        found[kind] = own
    return found


def sample(kind: str, count: int, chance: random.Random) -> Value:
    if kind == "numbers" or (kind == "mixed" and count % 5 == 4):
        return float(count)
    if kind == "custom":
        bounds = (1.0, 2.0, 5.0) if count < 40 else (1.0, 5.0)
        return NativeHistogram(CUSTOM_SCHEMA, count / 2, count * 2, positive_spans=((0, 2),), positive=(count, count),
                               custom_values=bounds)
    buckets = (count, 0, 2 * count, count)
    made = NativeHistogram(3 if count < 30 else 2, count * 1.5, sum(buckets) + count, 0.001, count, ((-2, 3), (2, 1)),
                           positive=buckets, floats=kind == "floats")
    return replace(made, hint=ResetHint.GAUGE if kind == "gauge" else ResetHint.UNKNOWN)


def fill(storage: Storage, samples: Mapping[str, Samples], *, late: bool = False) -> None:
    labels = [{"__name__": "h", "kind": kind} for kind in samples]
    every = [(row, ts, value) for row, kind in enumerate(samples) for ts, value in samples[kind]]
    every.sort(key=lambda each: each[1])
    batch = make_batch(storage.secret, labels, [(row, ts, 0) for row, ts, _ in every])
    batch.values, batch.payload = with_payload(
        [STALE_NAN if value is None else value if isinstance(value, NativeHistogram) else bits(value)
         for _, _, value in every])
    assert storage.submit(batch).result(0).accepted == len(every)


def read(storage: Queryable, resolution: int = HOUR, mint: int = -FOREVER, maxt: int = FOREVER) -> dict[str, Windows]:
    found: dict[str, Windows] = {}
    selection = Selection(everything(), mint, maxt, tier=TierRead(resolution, ALL))
    with storage.capture([selection], RequestContext()) as capture:
        selected = capture.selected[0]
        for index in range(len(selected.tile_rows) - 1):
            tile = selected.tile(index)
            assert tile.fields is not None
            values = tile.fields.view(np.uint64)
            for row in range(tile.rows):
                own = range(int(tile.begin[row]), int(tile.end[row]))
                if own:
                    found[selected.series.labels(tile.first_row + row)["kind"]] = {
                        int(tile.ts[i]): {field: cell(values[number, i], tile.payload)
                                          for number, field in enumerate(ALL)} for i in own}
    return found


def check(storage: Queryable, samples: Mapping[str, Samples], through: int, resolution: int = HOUR) -> None:
    found = read(storage, resolution, maxt=through)
    assert found.keys() == samples.keys()
    for kind, own in samples.items():
        assert_same(found[kind], {end: each for end, each in windows(own, resolution).items() if end <= through})


def test_windows_are_built_and_merged_and_stay_when_samples_go() -> None:
    with stepped(1):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, OPTIONS)
        samples = history(3.5)
        fill(storage, samples)
        step(storage)
        assert storage.tiers().tiers[0].spans == ((BEFORE, START + 3 * DAY),)
        block = storage._tiers.tiers[0].blocks.every[0]
        assert block.meta.stats.histograms and block.meta.tier is not None and not block.meta.tier.left_out
        check(storage, samples, START + 3 * DAY)
        more = history(5.2, START + 4 * DAY)
        fill(storage, more)
        step(storage)
        assert len(storage._tiers.tiers[0].blocks.every) == 2, "days became four"
        samples = {kind: [*own, *more[kind]] for kind, own in samples.items()}
        check(storage, samples, START + 9 * DAY)
        storage.set_retention(Retention(3 * DAY))
        step(storage)
        step(storage)
        assert storage.tiers().raw_from > START + 4 * DAY
        storage = open_storage(fs.power_cut(), OPTIONS)
        check(storage, samples, START + 9 * DAY)


def test_late_histograms_are_built_anew_and_snapshots_have_them() -> None:
    with stepped(2):
        fs = SimulatedFileSystem()
        storage = open_storage(fs, StorageOptions(wal_sync="commit", late_window_ms=5 * DAY,
                                                  tiers=(TierRule(HOUR, 0), TierRule(DAY, 0))))
        samples = history(2.5)
        fill(storage, samples)
        step(storage)
        new = sample("integers", 7, random.Random(1))
        late: dict[str, list[tuple[int, Value]]] = {"integers": [(START + 5 * HOUR + 7, new)],
                                                    "numbers": [(START + 7 * HOUR + 9, new)]}
        fill(storage, late)
        storage.compact()
        for kind, own in late.items():
            samples[kind] = sorted([*samples[kind], *own], key=lambda each: each[0])
        check(storage, samples, START + 2 * DAY)
        check(storage, samples, START + 2 * DAY, DAY)
        folder = storage.path / FOLDER / storage._snapshots.take()
        snapshot = Storage.open(folder, OPTIONS, fs=fs, read_only=True)
        check(snapshot, samples, START + 2 * DAY)
        snapshot.close()
        storage.delete_series([[Matcher(MatchType.EQUAL, "kind", "custom")]], START + DAY + 1, START + 3 * DAY)
        step(storage)
        samples["custom"] = [(ts, value) for ts, value in samples["custom"] if ts <= START + DAY]
        check(storage, samples, START + 2 * DAY)


def test_windows_before_the_samples_that_are_left_stay() -> None:
    """A late histogram where the others are gone: windows that are there stay, others are added."""
    with stepped(3):
        storage = open_storage(SimulatedFileSystem(), OPTIONS)
        samples = history(6)
        fill(storage, samples)
        step(storage)
        storage.set_retention(Retention(3 * DAY))
        fill(storage, {"numbers": [(START + 6 * DAY + 1000, 1.0)]})
        step(storage)
        step(storage)
        raw_from = storage.tiers().raw_from
        assert raw_from > START + DAY
        storage.set_late_window(20 * DAY)
        storage.set_retention(Retention(0))
        other = sample("integers", 9, random.Random(1))
        fill(storage, {"integers": [(raw_from + 3 * HOUR, other), (START + 4 * HOUR + 1, other)],
                       "new": [(START + 5 * HOUR, other)]})
        storage.compact()
        step(storage)
        samples["integers"] = sorted([*samples["integers"], (raw_from + 3 * HOUR, other)], key=lambda each: each[0])
        check(storage, {**samples, "new": [(START + 5 * HOUR, other)]}, START + 6 * DAY)


def test_quantiles_are_of_floats() -> None:
    with stepped(4):
        storage = open_storage(SimulatedFileSystem(), StorageOptions(tiers=(TierRule(HOUR, 0, (), (1.0,)),)))
        fill(storage, history(1.5))
        step(storage)
        fields = (quantile_field(1.0), Field.MAX, Field.COUNT, Field.HISTOGRAMS)
        with storage.capture([Selection(everything(), 0, FOREVER, tier=TierRead(HOUR, fields))],
                             RequestContext()) as capture:
            selected = capture.selected[0]
            columns = [tile.fields for index in range(len(selected.tile_rows) - 1)
                       if (tile := selected.tile(index)).fields is not None]
        quantile, most, count, histograms = np.concatenate(columns, axis=1)
        some = count > histograms
        assert some.any() and (histograms > 0).any() and np.array_equal(quantile[some], most[some])
        assert (quantile[~some] == 0).all() and np.isnan(most[~some & (count > 0)]).all()
