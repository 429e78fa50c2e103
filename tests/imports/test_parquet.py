"""Parquet is read to the bit where we have written it, and by its columns where others have."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from tests.exports.stored import HISTOGRAMS, SPAN, Stored, joined, labels_of, put, samples_of, stored
from tests.imports.collected import read_file
from tests.storage.batches import bits
from tsdb.cli import cli
from tsdb.exports.losses import Losses
from tsdb.exports.parquet import export
from tsdb.imports import parquet
from tsdb.imports.csv_columns import Columns
from tsdb.imports.parquet import read
from tsdb.model.errors import ConfigError, TsdbError, WrongInput
from tsdb.model.native_histograms import NORMAL_NAN
from tsdb.storage import Storage
from tsdb.testing.memory_storage import MemoryStorage

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

NOW = 1_700_000_000_000


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


@given(stored())
@settings(max_examples=15)
def test_what_is_exported_comes_back(tmp_path_factory: pytest.TempPathFactory, given: tuple[Stored, int]) -> None:
    samples, first = given
    path = tmp_path_factory.mktemp("parquet") / "file"
    path.write_bytes(joined(export(put(MemoryStorage(), samples), [()], first, first + SPAN, Losses())))
    assert read_file(read, path) == samples
    plain = pq.read_table(path).replace_schema_metadata(None)
    if plain.column_names[:5] == list(parquet.OWN):  # else labels have these names
        for column in plain.column_names[5:]:  # as programs write it that know no dictionaries
            plain = plain.set_column(plain.column_names.index(column), column, plain[column].cast(pa.string()))
        pq.write_table(plain, path, store_schema=False)
        assert read_file(read, path) == samples


def test_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Series behind each other and by turns; codes of dictionaries differ from batch to batch."""
    monkeypatch.setattr(parquet, "BATCH", 700)
    rows = 10_000
    chance = np.random.default_rng(1)
    which = np.where(np.arange(rows) < 5000, np.arange(rows) // 300, chance.integers(0, 40, rows))
    values = chance.normal(size=rows)
    table = {"timestamp": pa.array(NOW + np.arange(rows)), "value": values,
             "__name__": pa.array([f"m{n % 3}" for n in which]),
             "n": pa.array([None if n == 7 else str(n) for n in which]), "number": pa.array(which),
             "flag": pa.array([bool(n % 2) for n in which]), "empty": pa.array([""] * rows)}
    path = write(tmp_path / "file", table, row_group_size=3000)
    wanted: Stored = {}
    for row, n in enumerate(which.tolist()):
        labels = {"__name__": f"m{n % 3}", "number": str(n), "flag": str(bool(n % 2)).lower(),
                  **({} if n == 7 else {"n": str(n)})}
        wanted.setdefault(labels_of(labels), {})[NOW + row] = (bits(float(values[row])), 0)
    assert read_file(read, path) == wanted


@pytest.mark.parametrize(("times", "form"), [
    (pa.array([NOW, NOW + 1]), ""), (pa.array([NOW, NOW + 1]), "unix_ms"),
    (pa.array([NOW * 1000 + 999, NOW * 1000 + 1999]), "unix_us"),
    (pa.array([NOW * 10**6, (NOW + 1) * 10**6 + 5]), "unix_ns"),
    (pa.array([NOW / 1000, (NOW + 1) / 1000]), "unix_s"), (pa.array([f"{NOW / 1000}", f"{NOW / 1000 + 0.001}"]), "s"),
    (pa.array([NOW, NOW + 1], pa.timestamp("ms")), ""),
    (pa.array([NOW, NOW + 1], pa.timestamp("ms", "Europe/Rome")), ""),
    (pa.array([NOW * 1000, NOW * 1000 + 1000], pa.timestamp("us")), ""),
    (pa.array([NOW * 10**6, (NOW + 1) * 10**6], pa.timestamp("ns", "UTC")), ""),
    (pa.array(["2023-11-14T22:13:20Z", "2023-11-15T00:13:20.001+02:00"]), ""),
    (pa.array(["2023-11-14T22:13:20Z", "2023-11-15T00:13:20.001+02:00"]).dictionary_encode(), "rfc3339"),
])
def test_times(tmp_path: Path, times: Any, form: str) -> None:
    path = write(tmp_path / "file", {"t": times, "v": [1.0, 2.0]})
    found = read_file(read, path, columns=Columns("t", form, (("m", "v"),)))
    assert found == {(("__name__", "m"),): {NOW: (bits(1.0), 0), NOW + 1: (bits(2.0), 0)}}


def test_days_and_seconds(tmp_path: Path) -> None:
    day = datetime.date(2023, 11, 14)
    midnight = NOW // 86_400_000 * 86_400_000
    for times, form in (([day], ""), (pa.array([midnight // 1000], pa.timestamp("s")), ""),
                        (["14.11.2023"], "%d.%m.%Y"), (pa.array([midnight // 1000], pa.int32()), "unix_s")):
        path = write(tmp_path / "file", {"t": times, "v": [1.0]})
        found = read_file(read, path, columns=Columns("t", form, (("m", "v"),)))
        assert found == {(("__name__", "m"),): {midnight: (bits(1.0), 0)}}


def test_columns_by_flags(tmp_path: Path) -> None:
    """Several metrics, labels by other names, and values of all kinds: what is null is no sample."""
    path = write(tmp_path / "file", {
        "when": pa.array([NOW, NOW, NOW + 1], pa.timestamp("ms")), "Station": ["a", "b", "a"],
        "temp": pa.array([1.5, None, float("nan")], pa.float32()), "rain": pa.array([1, 2, None], pa.int8()),
        "exact": pa.array(["0.1", "x", "7"]).cast(pa.string()), "other": [1, 2, 3]})
    columns = Columns("when", "", (("temperature", "temp"), ("rain_mm", "rain")), (("city", "Station"),),
                      constants={"job": "w"})
    a, b = ({"city": city, "job": "w"} for city in "ab")
    assert read_file(read, path, columns=columns) == {
        labels_of({"__name__": "temperature", **a}): {NOW: (bits(1.5), 0), NOW + 1: (NORMAL_NAN, 0)},
        labels_of({"__name__": "rain_mm", **a}): {NOW: (bits(1.0), 0)},
        labels_of({"__name__": "rain_mm", **b}): {NOW: (bits(2.0), 0)}}


@pytest.mark.parametrize(("columns", "said", "problem"), [
    ({"timestamp": [NOW, None], "value": [1.0, 2.0], "a": ["x", "x"]}, None, "what are the metrics called"),
    ({"timestamp": [NOW, None], "value": [1.0, 2.0], "__name__": ["x", "x"]}, None, "row 2: there is no time"),
    ({"timestamp": [1.0, 2.0], "value": [1.0, 2.0], "__name__": ["x", "x"]}, None, "in which unit"),
    ({"timestamp": ["x", "y"], "value": [1.0, 2.0], "__name__": ["x", "x"]}, None, "no Parquet that can be read.*x"),
    ({"t": [NOW], "value": ["no"], "__name__": ["x"]}, Columns("t"), "no Parquet that can be read.*no"),
    ({"t": [float("nan")], "value": [1.0], "__name__": ["x"]}, Columns("t", "unix_s"), "row 1: .*out of all bounds"),
    ({"t": [1 << 62], "value": [1.0], "__name__": ["x"]}, Columns("t", "unix_s"), "row 1: .*out of all bounds"),
    ({"t": [NOW], "value": [1.0], "__name__": [""]}, Columns("t"), "a series without labels"),
    ({"t": [NOW], "value": [1.0], "__name__": ["x" * 70_000]}, Columns("t"), "labels of more than 65535 bytes"),
    ({"t": [NOW], "value": [1.0]}, Columns("when"), 'there is no column "when"'),
    ({"t": [NOW], "value": [1.0], "__name__": ["x"]}, Columns("t", "%Y"), "has numbers"),
])
def test_what_is_wrong_is_told(tmp_path: Path, columns: dict[str, Any], said: Columns | None, problem: str) -> None:
    path = write(tmp_path / "file", columns)
    with pytest.raises(TsdbError, match=problem):
        read_file(read, path, columns=said)


def test_damage_is_told(tmp_path: Path) -> None:
    samples: Stored = {(("a", "b"),): {NOW: (HISTOGRAMS[0].encode(), 0), NOW + 1: (NORMAL_NAN, 5)}}
    data = joined(export(put(MemoryStorage(), samples), [()], 0, 2 * NOW, Losses()))
    path = tmp_path / "file"
    for content in (b"", b"no Parquet", data[:-9], data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(WrongInput, match="file: this is no Parquet"):
            read_file(read, path)
    path.write_bytes(data)
    table = pq.read_table(path)
    for name, column, problem in (
        ("histogram", pa.array([b"nonsense", None], pa.binary()), "row 1: the histogram: "),
        ("nan_bits", pa.array([None, 17], pa.uint64()), "row 2: .*no NaN"),
        ("nan_bits", pa.array([None, NORMAL_NAN], pa.uint64()), ""),
    ):
        changed = table.set_column(table.column_names.index(name), table.schema.field(name), column)
        pq.write_table(changed, path)
        if problem:
            with pytest.raises(WrongInput, match=problem):
                read_file(read, path)
        else:
            assert read_file(read, path) == samples
    said = table.schema.metadata[b"tsdb"].replace(b'"version": 1', b'"version": 2')
    pq.write_table(table.replace_schema_metadata({b"tsdb": said}), path)
    with pytest.raises(WrongInput, match="use a newer tsdb"):
        read_file(read, path)
    pq.write_table(table.drop_columns(["a"]), path)
    with pytest.raises(WrongInput, match="there is no column 'a'"):
        read_file(read, path)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "file", {"timestamp": [NOW], "value": [1.0]})
    for name in [name for name in sys.modules if name.startswith("pyarrow")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'tsdb-server\[arrow\]'"):
        read_file(read, path)


def test_the_command(tmp_path: Path) -> None:
    samples: Stored = {(("__name__", "m"), ("a", "b")): {NOW - 86_400_000: (bits(1.0), 7),
                                                         NOW - 1000: (HISTOGRAMS[0].encode(), 0)}}
    data = tmp_path / "data"
    ours = tmp_path / "ours.parquet"
    ours.write_bytes(joined(export(put(MemoryStorage(), samples), [()], 0, 2 * NOW, Losses())))
    other = write(tmp_path / "other.parquet", {"t": pa.array([NOW], pa.timestamp("us")), "v": [2.0], "s": ["x"]})
    for arguments, said in (
        ([str(ours), "--add-label", "job=j"], "2 samples of 1 series"),
        ([str(ours), "--add-label", "job=j"], "nothing to do"),
        ([str(other), "--time", "t", "--metric", "w=v", "--label", "a=s"], " of 1 series"),
        ([str(other)], 'there is no column "timestamp"'),
    ):
        done = CliRunner().invoke(cli, ["import", "parquet", *arguments, "--data", str(data)])
        assert said in done.output + str(done.exception), done.output
    storage = Storage.open(data, read_only=True)
    found = {**{labels_of({**dict(labels), "job": "j"}): own for labels, own in samples.items()},
             (("__name__", "w"), ("a", "x")): {NOW // 1000: (bits(2.0), 0)}}
    assert samples_of(storage) == found
    storage.close()
