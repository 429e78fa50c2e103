"""CSV of any make is read to the bit, and what is wrong in it is named with line and column."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.stored import SPAN, Stored, joined, put, stored
from tests.imports.collected import read_file
from tests.storage.batches import bits
from tsdb.exports.csv import TIME_FORMATS, export
from tsdb.exports.losses import Losses
from tsdb.imports import csv as subject
from tsdb.imports.csv_columns import Columns, time_column
from tsdb.imports.csv_kernels import read_rfc3339
from tsdb.imports.files import slices_of_lines
from tsdb.imports.reader import LeftOut
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import ConfigError, WrongInput
from tsdb.model.native_histograms import NORMAL_NAN
from tsdb.testing.memory_storage import MemoryStorage

T = 1_790_000_000_000


@settings(max_examples=30)
@given(stored(), st.sampled_from(sorted(TIME_FORMATS)))
def test_what_is_exported_comes_back(tmp_path_factory: pytest.TempPathFactory, given: tuple[Stored, int], form: str,
                                     ) -> None:
    """All that CSV can say: not stale markers, histograms, start times and the bits of NaNs."""
    samples, first = given
    if abs(first) > T:  # in ns too far
        form = "ms"
    wanted: Stored = {}
    for labels, column in samples.items():
        for ts, (value, _) in column.items():
            if isinstance(value, int) and value != STALE_NAN and first <= ts <= first + SPAN:
                nan = value & ~(1 << 63) > 0x7FF << 52
                wanted.setdefault(labels, {})[ts] = NORMAL_NAN if nan else value, 0
    path = tmp_path_factory.mktemp("csv") / "file"
    path.write_bytes(joined(export(put(MemoryStorage(), samples), [()], first, first + SPAN, Losses(),
                                   time_format=form)))
    if b"__name__" not in path.read_bytes():
        return
    assert read_file(subject.read, path, columns=Columns(form=form)) == wanted


CELLS = st.one_of(st.sampled_from(["", " ", 'a"b', "x,y;z", "line\nfeed", "\r\n", "\r", "ü", "\\", '"']),
                  st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
FLOATS = st.floats(allow_nan=False)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 1 << 41), st.one_of(st.none(), FLOATS), FLOATS, CELLS, CELLS),
                min_size=1, max_size=6),
       st.sampled_from([",", ";", "\t"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
       st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from([1 << 20, 100, 17]))
def test_what_python_writes(tmp_path_factory: pytest.TempPathFactory,
                            rows: list[tuple[int, float | None, float, str, str]], delimiter: str, quoting: int,
                            end: str, header: bool, size: int) -> None:
    """In slices of whatever size."""
    if any("\r" in cell for *_, one, two in rows for cell in (one, two)):  # Python leaves it without quotes
        quoting = csv.QUOTE_ALL
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    if header:
        writer.writerow(["one\n1", "time", "a,b", 'l"1', "l2"])
    wanted: Stored = {}
    for ts, first, second, one, two in rows:
        writer.writerow([one, ts, first, second, two])
        for name, value in (("first", first), ("second", second)):
            if value is not None:
                labels = {"__name__": name, "one": one, "two": two, "const": "x"}
                key = tuple(sorted((label, each) for label, each in labels.items() if each))
                wanted.setdefault(key, {}).setdefault(ts, (bits(value), 0))
    names = ["one\n1", "time", "a,b", 'l"1', "l2"] if header else ["1", "2", "3", "4", "5"]
    columns = Columns(names[1], "unix_ms", (("first", names[2]), ("second", names[3])),
                      (("one", names[0]), ("two", names[4])), constants={"const": "x"}, header=header,
                      delimiter=delimiter)
    path = tmp_path_factory.mktemp("csv") / "file"
    path.write_bytes(text.getvalue().encode().removesuffix(b"\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "slices_of_lines",
                      lambda *given, **options: slices_of_lines(*given, **options, size=size))
        assert read_file(subject.read, path, columns=columns) == wanted


@pytest.mark.parametrize(("form", "times"), [
    ("unix_s", {"1790000000": T, "1790000000.5": T + 500, "1790000000.0019": T + 1, "-1.5": -1500, "1.79e9": T,
                "+1": 1000, " 5 ": 5000, "9007199254740.991": 9007199254740991}),
    ("unix_ms", {"1790000000000": T, "1790000000000.9": T, "-1": -1, "1.79e+12": T, "0": 0}),
    ("unix_us", {"1790000000000999": T, "17": 0}),
    ("unix_ns", {"1790000000000999999": T, "9223372036854775799": 9223372036854}),
    ("rfc3339", {"2026-09-21T14:13:20Z": T, "2026-09-21 14:13:20": T, "2026-09-21t16:13:20.0019+02:00": T + 1,
                 "2026-09-21T09:43:20-0430": T, "1970-01-01": 0, "1969-12-31T23:59:59.999Z": -1,
                 "2024-02-29T00:00:00,5Z": 1709164800500, "0000-03-01": -62162035200000,
                 "+12026-01-01T00:00:00Z": 317336745600000}),
    ("%d.%m.%Y %H:%M", {"21.09.2026 14:13": T - 20_000, "01.01.1970 00:00": 0}),
    ("%Y-%m-%d %H:%M:%S.%f%z", {"2026-09-21 16:13:20.001+0200": T + 1}),
])
def test_forms_of_times(tmp_path: Path, form: str, times: dict[str, int]) -> None:
    path = tmp_path / "file"
    path.write_text("t,v\n" + "".join(f'"{text}",{i}\n' for i, text in enumerate(times)))
    (found,) = read_file(subject.read, path, columns=Columns("t", form, (("m", "v"),))).values()
    assert [(ts, value) for ts, (value, _) in sorted(found.items())] == sorted({
        ts: bits(i) for i, ts in reversed(list(enumerate(times.values())))}.items())


@settings(max_examples=30)
@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_the_calendar(time: datetime) -> None:
    wanted = round(time.replace(tzinfo=UTC, microsecond=time.microsecond // 1000 * 1000).timestamp() * 1000)
    text = time.isoformat().encode()
    assert read_rfc3339.py_func(  # type: ignore[attr-defined]
        np.frombuffer(text, np.uint8), 0, len(text)) == (wanted, True)


@pytest.mark.parametrize(("text", "wanted"), [
    ("timestamp,value,__name__,a\n1790000000000,1,m,x\n", {(("__name__", "m"), ("a", "x")): T}),
    ("timestamp,value,__name__,a\n2026-09-21T14:13:20Z,1,m,x", {(("__name__", "m"), ("a", "x")): T}),
    ("timestamp_,value_,__name__,timestamp,value\n1790000000000,1,m,1,\n",
     {(("__name__", "m"), ("timestamp", "1")): T}),
    ("\ufeff__name__,value,timestamp\n\n m,1,1790000000000\n", {(("__name__", " m"),): T}),
    ("timestamp,value,__name__\n1790000000000,,m\n", {}),
])
def test_files_of_our_kind_need_no_options(tmp_path: Path, text: str, wanted: dict[tuple[tuple[str, str], ...], int],
                                           ) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert read_file(subject.read, path) == {labels: {ts: (bits(1.0), 0)} for labels, ts in wanted.items()}


HEAD = "timestamp,value,__name__,a\n"
ROW = "1790000000000,1,m,x\n"


@pytest.mark.parametrize(("text", "reason"), [
    ("x,1,m,x\n", 'line 3, column 1 ("timestamp"): not a time'),
    (",1,m,x\n", 'line 3, column 1 ("timestamp"): not a time'),
    ("1790000000000,1x,m,x\n", 'line 3, column 2 ("value"): not a number'),
    ("1790000000000,1e999,m,x\n", "line 3: the value '1e999' is out of range"),
    ("1790000000000,0x1,m,x\n", 'line 3, column 2 ("value"): not a number'),
    ("1790000000000,1,m\n", "line 3, column 4 (\"a\"): the row has too few columns"),
    ("1790000000000,1,m,x,y\n", "line 3, column 5: the row has more columns than the header"),
    ('1790000000000,1,m,"x"y\n', 'line 3, column 4 ("a"): there is something behind a closing quote'),
    ("1790000000000,1,m,\udcff\n", 'a label is not UTF-8'),
    ("1790000000000,1,m,\udc80\n", 'line 3: a label is not UTF-8'),
    ("1790000000000,1,,\n", 'line 3: there are no labels'),
    (f"1790000000000,1,m,{'x' * 70_000}\n", 'line 3: labels of more than 65535 bytes'),
])
def test_wrong_rows_are_named(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "file"
    path.write_text(HEAD + ROW + text + ROW.replace("0,", "1,"), errors="surrogateescape")
    with pytest.raises(WrongInput) as caught:
        read_file(subject.read, path)
    assert f"{path}: " in str(caught.value) and reason in str(caught.value)
    left_out = LeftOut()
    assert read_file(subject.read, path, left_out, skip_invalid=True) == {
        (("__name__", "m"), ("a", "x")): {T: (bits(1.0), 0), T + 1: (bits(1.0), 0)}}
    assert left_out.messages() == ["left out: 1 invalid rows"]


def test_a_quote_that_is_not_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(HEAD + ROW + '1790000000000,1,m,"x\n' + ROW)
    with pytest.raises(WrongInput, match=r'line 3, column 4 \("a"\): a quote is not closed'):
        read_file(subject.read, path)


@pytest.mark.parametrize(("text", "columns", "reason"), [
    ("t,v\n1,2\n", Columns(), '--time: there is no column "timestamp"; there are: t, v'),
    ("t,v\n1,2\n", Columns("t"), 'there is no column "value"'),
    ("t,value\n1,2\n", Columns("t"), "what are the metrics called?"),
    ("t,t\n1,2\n", Columns("t", values=(("m", "v"),)), 'columns are called "t"'),
    ("t,v\n1,2\n", Columns("t", values=(("m", "t"),)), 'column "t" is given twice'),
    ("t,v,l\n1,2,3\n", Columns("t", values=(("m", "v"),), labels=(("a", "l"),), constants={"a": "b"}),
     'the label "a" is given twice'),
    ("1,2\n", Columns(header=False), "without a header, columns are given by their numbers"),
    ("1,2\n", Columns("1", values=(("m", "x"),), header=False), '"x" is no number of a column'),
])
def test_columns_that_are_not_there(tmp_path: Path, text: str, columns: Columns, reason: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_file(subject.read, path, columns=columns)
    assert reason in str(caught.value)


@pytest.mark.parametrize("time", ["1790000000", "1790000000000000", "x"])
def test_units_are_not_guessed(tmp_path: Path, time: str) -> None:
    path = tmp_path / "file"
    path.write_text(f"timestamp,value,__name__\n{time},1,m\n")
    with pytest.raises(WrongInput, match=r"line 2: in which unit is the time\? Give --time COLUMN:FORM"):
        read_file(subject.read, path)


@pytest.mark.parametrize(("text", "wanted"), [
    ("t", ("t", "")), ("t:unix_s", ("t", "unix_s")), ("a:b:rfc3339", ("a:b", "rfc3339")), ("a:b", ("a:b", "")),
    ("day:%Y-%m-%d %H:%M", ("day", "%Y-%m-%d %H:%M")), ("1:ms", ("1", "ms")), ("", ("", "")),
])
def test_columns_of_times(text: str, wanted: tuple[str, str]) -> None:
    assert time_column(text) == wanted


def split(text: str) -> list[list[str]] | None:
    """The slow, obvious reader of RFC 4180; None where something is wrong. Blank lines are no rows."""
    rows: list[list[str]] = [[]]
    at = 0
    while at < len(text):
        if text[at] == '"':
            cell, at = "", at + 1
            while text[at : at + 1] != '"' or text[at : at + 2] == '""':
                if at >= len(text):
                    return None
                cell += text[at]
                at += 2 if text[at] == '"' else 1
            at += 1
            if text[at:] == "\r" or text[at : at + 2] == "\r\n":
                at += 1
            if at < len(text) and text[at] not in ",\n":
                return None
            if not cell and not rows[-1] and text[at : at + 1] != ",":
                return None  # no blank line, but a row of one column
        else:
            begin = at
            while at < len(text) and text[at] not in ",\n":
                at += 1
            cell = text[begin:at]
            if text[at : at + 1] in ("", "\n"):
                cell = cell.removesuffix("\r")
        rows[-1].append(cell)
        if text[at : at + 1] != ",":
            rows.append([])
        elif at + 1 == len(text):
            rows[-1].append("")
        at += 1
    return [row for row in rows if row not in ([], [""])]


@settings(max_examples=200)
@given(st.lists(st.text('a",\n\r', max_size=5), min_size=1, max_size=3), st.sampled_from([1 << 20, 5]))
def test_rows_are_split_as_the_slow_reader_does(tmp_path_factory: pytest.TempPathFactory, cells: list[str], size: int,
                                                ) -> None:
    text = "".join(f"{i + 1},1,{cell}\n" for i, cell in enumerate(cells))
    rows = split(text)
    wanted: Stored | None = {}
    for row in rows if rows is not None else []:
        if len(row) < 4 or not row[0].isdecimal() or row[1] != "1":
            wanted = None
            break
        if wanted is not None:
            labels = {"__name__": "m", "a": row[2], "b": row[3]}
            key = tuple(sorted((name, value) for name, value in labels.items() if value))
            wanted.setdefault(key, {}).setdefault(int(row[0]), (bits(1.0), 0))
    path = tmp_path_factory.mktemp("csv") / "file"
    path.write_text(text, newline="")
    columns = Columns("1", "ms", (("m", "2"),), (("a", "3"), ("b", "4")), header=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "slices_of_lines",
                      lambda *given, **options: slices_of_lines(*given, **options, size=size))
        if rows is None or wanted is None:
            with pytest.raises(WrongInput):
                read_file(subject.read, path, columns=columns)
        else:
            assert read_file(subject.read, path, columns=columns) == wanted
