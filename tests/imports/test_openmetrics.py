"""OpenMetrics and Prometheus' text format with times, as promtool takes them, and a plain reading says they are."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.stored import BITS, Stored
from tests.imports.collected import collected, read_file
from tests.storage.batches import bits
from tsdb.imports import openmetrics, prometheus
from tsdb.imports.files import slices_of_lines
from tsdb.imports.reader import LeftOut
from tsdb.ingest.exposition.formats import Format
from tsdb.kernels.hash_kernels import new_secret
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import WrongInput
from tsdb.model.native_histograms import NORMAL_NAN
from tsdb.prometheus_data.notes import Notes

T = 1_790_000_000

GOOD = rf"""# HELP a_seconds Some help\nwith an escape
# TYPE a_seconds counter
# UNIT a_seconds seconds
a_seconds_total 1 {T}
a_seconds_total{{l="x"}} 2 {T}.5 # {{trace="a,b}}"}} 0.5 {T}.25
a_seconds_total{{l="x"}} 3 {T + 1}.0005 # {{}} 1
a_seconds_created 1.5e9 {T}
# TYPE h histogram
h_bucket{{le="1"}} 1 {T}
h_bucket{{le="2.5"}} 1 {T}
h_bucket{{le="1e3"}} 1 {T}
h_bucket{{le="+Inf"}} 3 {T}
h_count 3 {T}
h_sum NaN {T}
# TYPE s summary
s{{quantile="0.50"}} 7 {T}
s{{quantile="1"}} 7 {T}
# TYPE g gauge
g{{le="1",quantile="1"}} -0 {T}
g{{e="a\\b\"c\nd\x"}} +Inf {T}
g{{e="ünï😀{{}},=#"}} -inf {T}
g{{}} 0x {T}
g{{empty="",b="1",a="2"}} .5e-3 {T}
{{"g.dots","label.dots"="x",other="y"}} 1 {T}
g 1 {T}
g 2 {T + 15}
g 12345678901234567890.123456789012345678901234567890 {T + 30}
g 2.2250738585072011e-308 {T + 45}
g 1e-400 {T + 60}
g nan {T + 75}
g 1 {T + 90}.123456789
g 1 1.790000100e9
g 1 {T + 110}.9999
# EOF
""".replace("g{} 0x", "g{z=\"1\"} 0")


def test_times_are_exact(tmp_path: Path) -> None:
    """promtool makes floats of them, and loses a millisecond of some."""
    texts = {f"{T}.001": T * 1000 + 1, "1.001": 1001, "-1.0019": -1001, "0.57": 570, "5.": 5000, "9e3": 9_000_000,
             "9007199254740.991": 9007199254740991, "1.0000000000000000000000001": 1000,
             "123456789012.9999": 123456789012999}
    path = tmp_path / "file"
    path.write_text("".join(f"m {i} {text}\n" for i, text in enumerate(texts)) + "# EOF")
    (found,) = read_file(openmetrics.read, path).values()
    assert {ts: value for ts, (value, _) in found.items()} == {ts: bits(i) for i, ts in enumerate(texts.values())}


def promtool(peer: Callable[[str], Path], path: Path) -> tuple[Stored, str]:
    """What its blocks have, or why there are none."""
    made = path.with_suffix(".blocks")
    done = subprocess.run([peer("promtool"), "tsdb", "create-blocks-from", "openmetrics", path, made],
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        return {}, done.stderr
    secret = new_secret()
    return collected(batch for each in prometheus.inputs(made, Notes())
                     for batch in each.read(secret, left_out=LeftOut(), progress=lambda *_: None)), ""


@pytest.mark.peer
def test_as_promtool_reads_it(tmp_path: Path, peer: Callable[[str], Path]) -> None:
    path = tmp_path / "file"
    path.write_text(GOOD)
    theirs, wrong = promtool(peer, path)
    assert not wrong
    left_out = LeftOut()
    ours = read_file(openmetrics.read, path, left_out)
    assert ours == theirs and len(ours) == 18
    assert left_out.messages() == ["left out: 2 exemplars: blocks have none"]


BAD = {
    f'a 1 {T}\nb 2\n# EOF\n': (2, "the sample has no timestamp"),
    f'a 1 {T}\na 2\na 3\n# EOF\n': (2, "the sample has no timestamp"),
    f'a 1 {T}\n': (2, "does not end with # EOF"),
    f'a 1 {T}': (1, "does not end with # EOF"),
    f'a 1 {T}\n# EOF\na 2 {T}\n': (2, "after # EOF"),
    f'a 1 {T}\n\n# EOF\n': (2, "a metric name is missing"),
    f'a 1 {T}\na x {T}\n# EOF\n': (2, "not a number"),
    f'a 1 {T}\na 1 x\n# EOF\n': (2, "timestamp"),
    f'a 1 {T}\na 1 NaN\n# EOF\n': (2, "timestamp"),
    f'a{{b="c}} 1 {T}\n# EOF\n': (1, "expected"),
    f'a{{b=c}} 1 {T}\n# EOF\n': (1, "label value"),
    f'a{{b}} 1 {T}\n# EOF\n': (1, "expected"),
    f'a 1 {T}\n# TYPE a what\n# EOF\n': (2, "invalid metric type"),
    f'a 1 {T}\n# comment\n# EOF\n': (2, "expected a valid start token"),
    f'a 1 {T} # {{b="c"}} x\n# EOF\n': (1, "exemplar"),
    f'a 1e999 {T}\n# EOF\n': (1, "out of range"),
    '': (1, "does not end with # EOF"),
}


@pytest.mark.parametrize("text", BAD)
def test_wrong_lines_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    line, reason = BAD[text]
    with pytest.raises(WrongInput, match=rf"file: line {line}: .*{reason}"):
        read_file(openmetrics.read, path)


@pytest.mark.peer
@pytest.mark.parametrize("text", BAD)
def test_promtool_refuses_them_too(tmp_path: Path, peer: Callable[[str], Path], text: str) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert promtool(peer, path)[1]


def test_wrong_lines_can_be_left_out(tmp_path: Path) -> None:
    """They leave no trace, in whatever way they are wrong; those with good labels are right later on."""
    path = tmp_path / "file"
    lines = [f"good 0 {T}", *(line for text in BAD for line in text.splitlines() if line and line != "# EOF"),
             f'twice{{a="1",a="2"}} 1 {T}', f'twice{{a="1",a="2"}} 1 {T + 1}', f"good 1 {T + 1}", "# EOF"]
    path.write_text("\n".join(lines))
    left_out = LeftOut()
    found = read_file(openmetrics.read, path, left_out, skip_invalid=True)
    assert found == {
        (("__name__", "good"),): {T * 1000: (0, 0), T * 1000 + 1000: (bits(1.0), 0)},
        (("__name__", "a"),): {T * 1000: (bits(1.0), 0)},
    }
    assert left_out.counts[openmetrics.INVALID] == 15


def test_files_are_read_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types go on from slice to slice, and so do lines; numbers of lines count all of them."""
    whole = tmp_path / "whole"
    whole.write_text(GOOD)
    wanted = read_file(openmetrics.read, whole)
    for size in (1, 7, 60, 300):
        monkeypatch.setattr(openmetrics, "slices_of_lines",
                            lambda *given, size=size, **options: slices_of_lines(*given, **options, size=size))
        assert read_file(openmetrics.read, whole) == wanted
        wrong = tmp_path / "wrong"
        wrong.write_text(GOOD.replace(f"g 2 {T + 15}", "g 2"))
        with pytest.raises(WrongInput, match=r"wrong: line 26: the sample has no timestamp while parsing: 'g 2'"):
            read_file(openmetrics.read, wrong)
        text = tmp_path / "text"
        text.write_text(f'# TYPE h histogram\n\n# any comment\nh_bucket{{le="1"}} 1 {T}000\n'
                        f'  a{{b="one\ntwo\n"}}   5   {T}000\nc\t6 {T}001')
        assert read_file(openmetrics.read, text, format=Format.TEXT) == {
            (("__name__", "h_bucket"), ("le", "1.0")): {T * 1000: (bits(1.0), 0)},
            (("__name__", "a"), ("b", "one\ntwo\n")): {T * 1000: (bits(5.0), 0)},
            (("__name__", "c"),): {T * 1000 + 1: (bits(6.0), 0)},
        }


NAMES = st.one_of(st.sampled_from(["a", "le", "b.c", "ü"]), st.text(st.characters(exclude_categories=["Cs"]),
                                                                     min_size=1, max_size=3))
FLOATS = BITS.map(lambda value: NORMAL_NAN if value & ~(1 << 63) > 0x7FF << 52 else value)


@settings(max_examples=30)
@given(st.dictionaries(st.dictionaries(NAMES, NAMES, max_size=3).map(lambda labels: tuple(sorted(labels.items()))),
                       st.dictionaries(st.integers(0, 1 << 41), FLOATS, min_size=1, max_size=5), max_size=4))
def test_what_python_writes_is_read_to_the_bit(tmp_path_factory: pytest.TempPathFactory,
                                               given: dict[tuple[tuple[str, str], ...], dict[int, int]]) -> None:
    import struct

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    folder, wanted = tmp_path_factory.mktemp("openmetrics"), {}
    texts = {Format.OPENMETRICS: "", Format.TEXT: "# HELP a b\n"}
    for labels, column in given.items():
        labels = tuple(sorted({**dict(labels), "__name__": "m.1"}.items()))
        pairs = [quoted("m.1"), *(f"{quoted(name)}={quoted(value)}" for name, value in labels if name != "__name__")]
        wanted[labels] = {ts: (value, 0) for ts, value in column.items()}
        for ts, value in column.items():
            number = struct.unpack("<d", struct.pack("<Q", value))[0]
            texts[Format.OPENMETRICS] += f"{{{','.join(pairs)}}} {number!r} {ts // 1000}.{ts % 1000:03d}\n"
            texts[Format.TEXT] += f"{{{', '.join(pairs)}}} {number!r} {ts}\n"
    assert all(value != STALE_NAN for column in wanted.values() for value, _ in column.values())
    for format_, text in texts.items():
        path = folder / format_.name
        path.write_text(text + ("# EOF\n" if format_ is Format.OPENMETRICS else ""))
        assert read_file(openmetrics.read, path, format=format_) == wanted
