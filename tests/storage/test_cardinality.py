"""What makes the most series, against plain counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.batches import bits, make_batch
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage import Storage
from tsdb.storage.head.cardinality import Cardinality, Top

names = st.sampled_from(["__name__", "job", "é", "instance"])
values = st.sampled_from(["x", "y", "api", "été", "a=b"])
label_sets = st.lists(st.dictionaries(names, values, min_size=1), max_size=12)

NOW = 1_700_000_000_000


def top(counts: Mapping[str, int], most: int) -> Top:
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:most]


def counted(series: list[dict[str, str]], most: int) -> Cardinality:
    distinct = [dict(labels) for labels in {tuple(sorted(labels.items())) for labels in series}]
    pairs = Counter(pair for labels in distinct for pair in labels.items())
    spent: Counter[str] = Counter()
    for (name, value), count in pairs.items():
        spent[name] += (len(name.encode()) + len(value.encode()) + 2) * count
    return Cardinality(
        series=len(distinct),
        label_pairs=len(pairs),
        series_by_metric=top({value: count for (name, value), count in pairs.items() if name == "__name__"}, most),
        values_by_name=top(Counter(name for name, _ in pairs), most),
        bytes_by_name=top(spent, most),
        series_by_pair=top({f"{name}={value}": count for (name, value), count in pairs.items()}, most),
    )


@settings(max_examples=25)
@given(series=label_sets)
def test_all_rows(tmp_path_factory: pytest.TempPathFactory, series: list[dict[str, str]]) -> None:
    assert of(tmp_path_factory.mktemp("data"), series, 1000) == counted(series, 1000)


@settings(max_examples=8)
@given(series=label_sets)
def test_of_what_matchers_find(tmp_path_factory: pytest.TempPathFactory, series: list[dict[str, str]]) -> None:
    matchers = [Matcher(MatchType.EQUAL, "job", "x")], [Matcher(MatchType.EQUAL, "__name__", "api")]
    wanted = [labels for labels in series if labels.get("job") == "x" or labels.get("__name__") == "api"]
    assert of(tmp_path_factory.mktemp("data"), series, 1000, matchers) == counted(wanted, 1000)


def test_few_rows(tmp_path: Path) -> None:
    series = [{"__name__": f"m{number % 7}", "n": str(number)} for number in range(100)]
    found = of(tmp_path, series, 2)
    assert found.series_by_metric == [("m0", 15), ("m1", 15)]
    assert found.values_by_name == [("n", 100), ("__name__", 7)]
    assert len(found.series_by_pair) == len(found.bytes_by_name) == 2


def of(path: Path, series: list[dict[str, str]], most: int, matchers: Sequence[Sequence[Matcher]] = (),
       ) -> Cardinality:
    storage = Storage.open(path)
    try:
        samples = [(row, NOW, bits(1.0)) for row in range(len(series))]
        storage.submit(make_batch(storage.secret, series, samples)).result(30)
        return storage.cardinality(most, matchers)
    finally:
        storage.close()
