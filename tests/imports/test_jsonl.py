"""JSON lines are read to the bit, whoever has written them."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.stored import HISTOGRAMS, SPAN, Stored, joined, put, stored
from tests.imports.collected import read_file
from tests.storage.batches import bits
from tsdb.exports.jsonl import export
from tsdb.exports.losses import Losses
from tsdb.imports.jsonl import read
from tsdb.imports.reader import LeftOut
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import WrongInput
from tsdb.model.native_histograms import NORMAL_NAN, decode
from tsdb.testing.memory_storage import MemoryStorage


@settings(max_examples=30)
@given(stored(), st.integers(0, 3))
def test_what_is_exported_comes_back(tmp_path_factory: pytest.TempPathFactory, given: tuple[Stored, int], most: int,
                                     ) -> None:
    samples, first = given
    path = tmp_path_factory.mktemp("jsonl") / "file"
    path.write_bytes(joined(export(put(MemoryStorage(), samples), [()], first, first + SPAN, Losses(),
                                   max_rows_per_line=most)))
    assert read_file(read, path) == samples


@pytest.mark.parametrize(("text", "wanted"), [
    ("[1, 0.5, -7e-3]", [bits(1), bits(0.5), bits(-7e-3)]),
    ("[-0, -0.0, 0, 0e5]", [bits(-0.0), bits(-0.0), 0, 0]),
    ('[null, "NaN", "Infinity", "-Infinity", "Inf"]',
     [NORMAL_NAN, NORMAL_NAN, bits(float("inf")), bits(float("-inf")), bits(float("inf"))]),
    ("[9007199254740993, 18446744073709551615, 123456789012345678901234567890]",
     [bits(9007199254740992.0), bits(2.0**64), bits(123456789012345678901234567890.0)]),
    ("[5e-324, 2.2250738585072011e-308, 1.7976931348623157e308, 0.1000000000000000055511151231257827]",
     [1, bits(2.2250738585072011e-308), bits(1.7976931348623157e308), bits(0.1)]),
])
def test_numbers_are_exact(tmp_path: Path, text: str, wanted: list[int]) -> None:
    times = list(range(len(wanted)))
    for line in (f'{{"metric":{{"a":"b"}},"values":{text.replace(" ", "")},"timestamps":{times}}}',
                 f'{{ "timestamps": {times}, "metric": {{"a": "b"}}, "else": {{"values":[1]}}, "values": {text}}}'):
        (tmp_path / "file").write_text(line)
        assert read_file(read, tmp_path / "file") == {
            (("a", "b"),): {ts: (value, 0) for ts, value in zip(times, wanted, strict=True)}}


def test_a_label_with_odd_text_is_none_of_the_values(tmp_path: Path) -> None:
    """The text between the label's quotes looks like what stands behind it."""
    odd = '},"values":[-0,"x"],true'
    line = json.dumps({"metric": {"a": odd, "b": ""}, "values": [-0.0, 1], "timestamps": [1, 2]}, separators=(",", ":"))
    (tmp_path / "file").write_text(line.replace("-0.0", "-0"))
    assert read_file(read, tmp_path / "file") == {(("a", odd),): {1: (bits(-0.0), 0), 2: (bits(1.0), 0)}}


GOOD = '{"metric":{"a":"b"},"values":[1],"timestamps":[5]}'


@pytest.mark.parametrize(("line", "reason"), [
    ('{"metric":{"a":"b"},"values":[1],"timestamps":[1]', "column "),
    ("[]", "not an object"),
    ('{"values":[1],"timestamps":[1]}', '"metric" is not an object of texts'),
    ('{"metric":{"a":1},"values":[1],"timestamps":[1]}', '"metric" is not an object of texts'),
    ('{"metric":{},"values":[1],"timestamps":[1]}', '"metric" has no labels'),
    ('{"metric":{"":"b"},"values":[1],"timestamps":[1]}', '"metric" has a label without a name'),
    ('{"metric":{"a":"b"},"values":[],"timestamps":[]}', "no values"),
    ('{"metric":{"a":"b"},"values":[1,2],"timestamps":[1]}', '2 "values", but 1 "timestamps"'),
    ('{"metric":{"a":"b"},"values":[1],"timestamps":[1.5]}', '"timestamps" are not all whole numbers'),
    ('{"metric":{"a":"b"},"values":[1],"timestamps":[9223372036854775808]}', '"timestamps" are not all whole'),
    ('{"metric":{"a":"b"},"values":[true],"timestamps":[1]}', '"values" are not all numbers'),
    ('{"metric":{"a":"b"},"values":[[1]],"timestamps":[1]}', '"values" are not all numbers'),
    ('{"metric":{"a":"b"},"values":["1_0"],"timestamps":[1]}', "the value '1_0' is not a number"),
    ('{"metric":{"a":"b"},"values":[1],"timestamps":[1],"start_timestamps":[1,2]}', '2 "start_timestamps", but 1'),
    ('{"metric":{"a":"b"},"values":[1],"timestamps":[1],"nan_bits":[[0,"7ff0000000000002"]]}', "has a number"),
    ('{"metric":{"a":"b"},"values":[null],"timestamps":[1],"nan_bits":[[1,"7ff0000000000002"]]}', "not pairs"),
    ('{"metric":{"a":"b"},"values":[null],"timestamps":[1],"nan_bits":[[0,"7ff0000000000000"]]}', "a NaN"),
    ('{"metric":{"a":"b"},"values":[null],"timestamps":[1],"nan_bits":[[0,"77ff0000000000002"]]}', "of a float"),
    ('{"metric":{"a":"b"},"values":[null],"timestamps":[1],"histograms":[[0,"AAAA"]]}', "place 0: not a histogram"),
    ('{"metric":{"a":"b"},"values":[null],"timestamps":[1],"histograms":[[0,"A"]]}', "base64"),
])
def test_wrong_lines_are_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "file"
    path.write_text(f"\n{GOOD}\n{line}\n{GOOD.replace('5', '6')}\n")
    with pytest.raises(WrongInput, match=r"file: line 3: ") as caught:
        read_file(read, path)
    assert reason in str(caught.value)
    left_out = LeftOut()
    assert read_file(read, path, left_out, skip_invalid=True) == {(("a", "b"),): {5: (bits(1.0), 0), 6: (bits(1.0), 0)}}
    assert left_out.messages() == ["left out: 1 invalid lines"]


@settings(max_examples=30)
@given(st.sampled_from([each.encode() for each in HISTOGRAMS]), st.integers(0, 200), st.integers(0, 255))
def test_histograms_from_outside_are_judged(tmp_path_factory: pytest.TempPathFactory, good: bytes, at: int, byte: int,
                                            ) -> None:
    """What comes through is a histogram, whatever the bytes were."""
    data = bytearray(good)
    data[at % len(data)] = byte
    path = tmp_path_factory.mktemp("jsonl") / "file"
    path.write_text(json.dumps({"metric": {"a": "b"}, "values": [None], "timestamps": [7],
                                "histograms": [[0, base64.b64encode(data).decode()]]}))
    try:
        found = read_file(read, path)
    except WrongInput:
        assert data != good
        return
    value, _ = found[(("a", "b"),)][7]
    assert isinstance(value, bytes) and decode(np.frombuffer(value, np.uint8), 0).encode() == value
    assert bytes(data) != good or value == good


def test_files_may_be_compressed_and_long(tmp_path: Path) -> None:
    lines = [json.dumps({"metric": {"__name__": "m", "i": str(i)}, "values": [i, None], "timestamps": [i, i + 1],
                         "nan_bits": [[1, f"{STALE_NAN:x}"]]}) for i in range(3000)]
    text = "\r\n".join(lines).encode()
    plain = tmp_path / "plain"
    plain.write_bytes(text)
    found = read_file(read, plain)
    assert len(found) == 3000 and found[(("__name__", "m"), ("i", "777"))] == {777: (bits(777.0), 0),
                                                                                 778: (STALE_NAN, 0)}
    for content in (gzip.compress(text[: 99_999]) + gzip.compress(text[99_999 :]), zstandard.compress(text)):
        (tmp_path / "packed").write_bytes(content)
        assert read_file(read, tmp_path / "packed") == found
        (tmp_path / "packed").write_bytes(content[:-9])
        with pytest.raises(WrongInput, match=r"packed: "):
            read_file(read, tmp_path / "packed")
