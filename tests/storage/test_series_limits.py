"""Limits on new series, against plain counting."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits, make_batch
from tests.storage.test_collector import Series
from tsdb.model.batch import ACCEPTED, OVER_JOB, OVER_LABEL_VALUES, OVER_METRIC, OVER_SERIES, Appended
from tsdb.storage import Storage, StorageOptions
from tsdb.storage.head.head import Head
from tsdb.storage.head.limits import Rules, SeriesLimits
from tsdb.storage.head.series_kernels import REFUSED
from tsdb.storage.head.windows import Windows
from tsdb.wal.files import LocalFileSystem

NOW = 1_700_000_000_000
Labels = Mapping[str, str]


class Plain:
    """What there may be, one series after the other."""

    def __init__(self, limits: SeriesLimits) -> None:
        self._limits = limits
        self._series: set[tuple[tuple[str, str], ...]] = set()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._values: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def series(self) -> int:
        return len(self._series)

    @property
    def values(self) -> dict[str, int]:
        return {name: len(values) for name, values in self._values.items() if values}

    def add(self, labels: Labels) -> int:
        limits, key = self._limits, tuple(sorted(labels.items()))
        if key in self._series:
            return ACCEPTED
        if 0 < limits.max_series <= len(self._series):
            return OVER_SERIES
        for name, value in key:
            most = {"__name__": limits.max_series_per_metric, "job": limits.max_series_per_job}.get(name, 0)
            if 0 < most <= self._pairs[name, value]:
                return OVER_METRIC if name == "__name__" else OVER_JOB
            most = limits.max_label_values.get(name, limits.max_label_values.get("*", 0))
            if value not in self._values[name] and 0 < most <= len(self._values[name]):
                return OVER_LABEL_VALUES
        self._series.add(key)
        for name, value in key:
            self._pairs[name, value] += 1
            self._values[name].add(value)
        return ACCEPTED


limits_ = st.builds(
    SeriesLimits, st.integers(0, 8), st.integers(0, 4), st.integers(0, 4),
    st.dictionaries(st.sampled_from(["*", "__name__", "job", "a", "never"]), st.integers(0, 3)),
)
labels_ = st.dictionaries(st.sampled_from(["__name__", "job", "a", "b", "é"]), st.sampled_from("vwxyz"), min_size=1)


@settings(max_examples=60)
@given(limits=limits_, batches=st.lists(st.lists(labels_, min_size=1, max_size=12), max_size=4))
def test_as_plain_counting(limits: SeriesLimits, batches: list[list[dict[str, str]]]) -> None:
    head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
    table, rules, plain = head.table, Rules.of(limits), Plain(limits)
    for series in batches:
        batch = make_batch(table.secret, series, [])
        rows, _ = table.resolve(batch)
        table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows, rules=rules)
        codes = [ACCEPTED if row >= 0 else rules.each[REFUSED - row].code for row in rows.tolist()]
        assert codes == [plain.add(labels) for labels in series]
        assert table.series == plain.series
        assert {name: int(table.name_values[table.find_symbol(name)]) for name in plain.values} == plain.values


@pytest.mark.parametrize(("limits", "series", "codes"), [
    (SeriesLimits(), "a1 a2 a3", "ok ok ok"),
    (SeriesLimits(max_series=2), "a1 a2 a3 a1", "ok ok all ok"),
    (SeriesLimits(max_series_per_metric=1), "a1 b1 a2 b2 c1", "ok ok metric metric ok"),
    (SeriesLimits(max_series_per_job=2), "a1 b1 c1 -1", "ok ok job ok"),
    (SeriesLimits(max_label_values={"n": 2}), "a1 a2 a3 b1 b2 b3", "ok ok values ok ok values"),
    (SeriesLimits(max_label_values={"*": 2}), "a1 a2 a3 b1 c1", "ok ok values ok values"),
    (SeriesLimits(max_label_values={"*": 2, "n": 3, "__name__": 0}), "a1 a2 a3 a4 b1 c1 d1",
     "ok ok ok values ok ok ok"),
    (SeriesLimits(max_series=9, max_series_per_metric=1, max_label_values={"n": 1}), "a1 a2 b2", "ok metric values"),
])
def test_each_limit(tmp_path: Path, limits: SeriesLimits, series: str, codes: str) -> None:
    """A series is a letter, its metric, and a number, the value of n; all but that of the metric - have one job."""
    meaning = {"ok": ACCEPTED, "all": OVER_SERIES, "metric": OVER_METRIC, "job": OVER_JOB, "values": OVER_LABEL_VALUES}
    with closing(Storage.open(tmp_path, StorageOptions(series_limits=limits))) as storage:
        assert write(storage, series).codes.tolist() == [meaning[code] for code in codes.split()]


def test_existing_series_go_on_whatever_the_limits_become(tmp_path: Path) -> None:
    with closing(Storage.open(tmp_path)) as storage:
        assert write(storage, "a1 a2 a3").rejected == 0
        storage.set_series_limits(SeriesLimits(max_series=1, max_label_values={"*": 1}))
        assert write(storage, "a1 a2 a3 a4", 1).codes.tolist() == [ACCEPTED] * 3 + [OVER_SERIES]
        storage.set_series_limits(SeriesLimits(max_series=4))
        assert write(storage, "a4 a5", 2).codes.tolist() == [ACCEPTED, OVER_SERIES]
        storage.set_series_limits(SeriesLimits())
        assert write(storage, "a5", 3).rejected == 0
        assert [(each.limit, each.label, each.most, each.refused) for each in storage.statistics().limits] == [
            ("max_series", "", 0, 2)]


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_counts_as_before(tmp_path: Path, clean: bool) -> None:
    limits = SeriesLimits(max_series=4, max_series_per_metric=2, max_series_per_job=3, max_label_values={"n": 2})
    options = StorageOptions(series_limits=limits)
    with closing(Storage.open(tmp_path, options)) as storage:
        assert write(storage, "a1 a2 b1").rejected == 0
        states = storage.statistics().limits
    if not clean:
        (tmp_path / "head" / "saved").unlink()
    with closing(Storage.open(tmp_path, options)) as storage:
        assert storage.statistics().limits == states
        assert write(storage, "a1 b3 b2 -1 -2", 1).codes.tolist() == [
            ACCEPTED, OVER_JOB, OVER_JOB, ACCEPTED, OVER_SERIES]


def test_how_close_each_limit_is(tmp_path: Path) -> None:
    limits = SeriesLimits(10, 10, 10, {"*": 10, "n": 10, "nowhere": 10, "job": 0})
    with closing(Storage.open(tmp_path, StorageOptions(series_limits=limits))) as storage:
        write(storage, "a1 a2 a3 b1 b2 c1 -9")
        states = storage.statistics().limits
        assert {(each.limit, each.label): (each.used, each.most) for each in states} == {
            ("max_series", ""): (7, 10), ("max_series_per_metric", ""): (3, 10), ("max_series_per_job", ""): (6, 10),
            ("max_label_values", "*"): (4, 10), ("max_label_values", "n"): (4, 10),
            ("max_label_values", "nowhere"): (0, 10),
        }


def test_two_databases_in_one_process(tmp_path: Path) -> None:
    few = StorageOptions(series_limits=SeriesLimits(max_series=2))
    with closing(Storage.open(tmp_path / "few", few)) as a, closing(Storage.open(tmp_path / "many")) as b:
        assert write(b, "a1 a2 a3").rejected == 0
        assert write(a, "a1 a2 a3").codes.tolist() == [ACCEPTED, ACCEPTED, OVER_SERIES]
        assert [each.refused for each in a.statistics().limits] == [1]
        assert b.statistics().limits == []
        assert [[each.created for each in storage.churn(1).last_hour] for storage in (a, b)] == [[2], [3]]


def test_series_that_leave_make_room() -> None:
    series = Series()
    table, rules = series.head.table, Rules.of(SeriesLimits(max_series=3, max_label_values={"n": 2}))

    def are_refused(more: list[dict[str, str]]) -> list[bool]:
        batch = make_batch(table.secret, more, [])
        rows, _ = table.resolve(batch)
        table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows, rules=rules)
        table.logged()
        return [row <= REFUSED for row in rows.tolist()]

    made = labelled("a1 a2 b2")
    series.make(made)
    assert are_refused(labelled("a3 c1")) == [True, True]
    series.collect([tuple(sorted(made[0].items()))])
    assert are_refused(labelled("a3 b3 b1")) == [False, True, True]


def test_what_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    limits = SeriesLimits(5, 2, 4, {"*": 4, "n": 3})
    with closing(Storage.open(tmp_path, StorageOptions(series_limits=limits))) as storage:
        write(storage, "a1 a2 b1 b2")
        found, *_ = [write(storage, "a3 b3 c1 -4 -3 -1 -2") for _ in range(3)]
    assert found.refusals == {
        OVER_METRIC: 'the metrics "a", "b" have as many series as may be, and storage.limits.max_series_per_metric is '
                     "2: drop labels with many values, or raise the limit",
        OVER_JOB: 'the job "j" has as many series as may be, and storage.limits.max_series_per_job is 4: drop labels '
                  "with many values, or raise the limit",
        OVER_SERIES: "the head has 5 series, and storage.limits.max_series is 5: send fewer series, or raise the limit",
    }
    told = [record.getMessage() for record in caplog.records if "new series are refused" in record.getMessage()]
    assert len(told) == 3, "once a minute for each limit"


def write(storage: Storage, series: str, second: int = 0) -> Appended:
    rows = labelled(series)
    samples = [(row, NOW + second * 1000, bits(1.0)) for row in range(len(rows))]
    return storage.submit(make_batch(storage.secret, rows, samples)).result(30)


def labelled(series: str) -> list[dict[str, str]]:
    return [{"__name__": each[0], "n": each[1:]} | ({"job": "j"} if each[0] != "-" else {}) for each in series.split()]
