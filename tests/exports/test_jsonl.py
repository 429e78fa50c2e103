"""JSON lines: bit for bit, in lines that are not too long, as VictoriaMetrics reads them."""

from __future__ import annotations

import base64
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.stored import HISTOGRAMS, SPAN, Stored, joined, labels_of, put, samples_of, stored
from tsdb.exports.jsonl import export
from tsdb.exports.losses import Losses
from tsdb.model.native_histograms import NORMAL_NAN, NativeHistogram
from tsdb.testing.memory_storage import MemoryStorage

NUMBERS = {None: NORMAL_NAN, "Infinity": 0x7FF << 52, "-Infinity": 0xFFF << 52}


def parsed(lines: bytes) -> Stored:
    """The slow, obvious reader."""
    found: Stored = {}
    for line in lines.splitlines():
        document = json.loads(line)
        assert len(document["values"]) == len(document["timestamps"]) > 0
        values: list[int | bytes] = [
            NUMBERS[value] if value is None or isinstance(value, str) else int(np.float64(value).view(np.uint64))
            for value in document["values"]]
        for place, bits in document.get("nan_bits", ()):
            assert document["values"][place] is None
            values[place] = int(bits, 16)
        for place, encoded in document.get("histograms", ()):
            assert document["values"][place] is None
            values[place] = base64.b64decode(encoded, validate=True)
        starts = document.get("start_timestamps", [0] * len(values))
        column = found.setdefault(labels_of(document["metric"]), {})
        assert not column.keys() & set(document["timestamps"])
        column.update(zip(document["timestamps"], zip(values, starts, strict=True), strict=True))
    return found


@settings(max_examples=40)
@given(stored(), st.integers(0, 3))
def test_all_of_it_is_there(given: tuple[Stored, int], most: int) -> None:
    samples, first = given
    storage = put(MemoryStorage(), samples)
    losses = Losses()
    lines = joined(export(storage, [()], first, first + SPAN, losses, max_rows_per_line=most))
    assert parsed(lines) == samples_of(storage) == samples
    assert losses == Losses() and all(capture.closed for capture in storage.captures)
    if most:
        assert all(len(json.loads(line)["values"]) <= most for line in lines.splitlines())


def test_lines_are_as_people_expect_them() -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "up", "job": 'a"b'}, [1000, 2000, 3000, 4000], [1, float("nan"), -0.0, float("-inf")])
    storage.columns[(("__name__", "up"), ("job", 'a"b'))][2000] = NORMAL_NAN
    assert joined(export(storage, [()], 0, 5000, Losses())) == (
        b'{"metric":{"__name__":"up","job":"a\\"b"},"values":[1,null,-0.0,"-Infinity"],'
        b'"timestamps":[1000,2000,3000,4000]}\n')


def test_long_lines_are_cut_and_long_histograms_are_not() -> None:
    storage = MemoryStorage()
    large = NativeHistogram(0, 1.5, 90_000, positive_spans=((0, 90_000),), positive=(1.0,) * 90_000, floats=True)
    storage.add({"__name__": "a"}, np.arange(60_000), np.arange(60_000) / 7)
    for ts in range(3):
        storage.add_histogram({"__name__": "b"}, ts, large)
        storage.add_histogram({"__name__": "b"}, ts + 10, HISTOGRAMS[0])
    parts = list(export(storage, [()], 0, 60_000, Losses()))
    lengths = [len(line) for line in joined(parts).splitlines()]
    assert max(lengths[:-3]) < 1 << 20 and max(lengths) < 1_100_000 and len(lengths) == 7
    assert parsed(joined(parts)) == samples_of(storage)
    assert max(map(len, parts)) < 4 << 20
