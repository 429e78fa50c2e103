"""CSV: what Python's reader makes of it, and what is told to be lost."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exports.stored import EVER, HISTOGRAMS, SPAN, Stored, joined, labels_of, put, stored
from tsdb.exports.csv import TIME_FORMATS, export
from tsdb.exports.losses import Losses
from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.errors import ExecutionError
from tsdb.model.native_histograms import NORMAL_NAN
from tsdb.testing.memory_storage import MemoryStorage


def is_nan(bits: int) -> bool:
    return bits & 0x7FF << 52 == 0x7FF << 52 and bits & (1 << 52) - 1 != 0


def kept(samples: Stored) -> tuple[Stored, Losses]:
    """What formats of floats can carry, and what they cannot."""
    found, losses = Stored(), Losses()
    for labels, column in samples.items():
        for ts, (value, start) in column.items():
            if isinstance(value, bytes):
                losses.histograms += 1
            elif value == STALE_NAN:
                losses.stale_markers += 1
            else:
                losses.nan_bits += is_nan(value) and value != NORMAL_NAN
                losses.start_times += start != 0
                found.setdefault(labels, {})[ts] = NORMAL_NAN if is_nan(value) else value, 0
    return found, losses


def number(text: str) -> int:
    return NORMAL_NAN if text == "NaN" else int(np.float64(text).view(np.uint64))


def milliseconds(text: str, form: str) -> int:
    if form == "rfc3339":
        moment = datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    whole, _, fraction = text.partition(".")
    parts = int(whole) * 1000 + int((fraction + "000")[:3]) * (-1 if text.startswith("-") else 1)
    return {"ms": int(whole), "s": parts, "ns": int(whole) // 1_000_000}[form]


@settings(max_examples=40)
@given(stored(), st.sampled_from(sorted(TIME_FORMATS)))
def test_floats_are_there_to_the_bit(given: tuple[Stored, int], form: str) -> None:
    samples, first = given
    if form == "rfc3339" and not -62_135_596_800_000 <= first <= 253_402_300_799_999 - SPAN:
        form = "ms"  # years that Python's calendar does not have
    losses = Losses()
    text = joined(export(put(MemoryStorage(), samples), [()], first, first + SPAN, losses, time_format=form)).decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    found: Stored = {}
    for row in rows:
        labels = labels_of({name: value for name, value in zip(header[2:], row[2:], strict=True) if value})
        ts = milliseconds(row[0], form)
        assert ts not in found.setdefault(labels, {})
        found[labels][ts] = number(row[1]), 0
    assert (found, losses) == kept(samples)


def test_a_line_is_as_people_expect_it() -> None:
    storage = MemoryStorage()
    storage.add({"__name__": "up", "job": 'a"b'}, [1_795_392_000_250], [-0.0])
    storage.add({"timestamp": "x,y"}, [1_795_392_000_000], [1e300])
    lines = [joined(export(storage, [()], 0, 1 << 41, Losses(), time_format=form)) for form in TIME_FORMATS]
    assert lines[0] == (b'timestamp_,value,__name__,job,timestamp\n1795392000250,-0,up,"a""b",\n'
                        b'1795392000000,1e+300,,,"x,y"\n')
    assert [each.splitlines()[1].partition(b",")[0].decode() for each in lines] == [
        "1795392000250", "1795392000.25" + "0", "1795392000250000000", "2026-11-23T00:00:00.250Z"]


@pytest.mark.parametrize("ms, text", [
    (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    (-62_167_219_200_001, "-0001-12-31T23:59:59.999Z"), (253_402_300_800_000, "+10000-01-01T00:00:00.000Z"),
])
def test_times_of_the_calendar(ms: int, text: str) -> None:
    storage = MemoryStorage()
    storage.add({"a": "b"}, [ms], [1])
    assert joined(export(storage, [()], ms, ms, Losses(), time_format="rfc3339")).splitlines()[1].startswith(
        f"{text},1".encode())


def test_losses_are_told() -> None:
    storage = MemoryStorage()
    storage.add_histogram({"__name__": "a"}, 5, HISTOGRAMS[0])
    storage.add_stale({"__name__": "a"}, 6)
    storage.add({"__name__": "a"}, [7], np.array([0x7FF8 << 48], np.uint64))
    storage.add_starts({"__name__": "a"}, {7: 3})
    losses = Losses()
    joined(export(storage, [()], 0, 10, losses))
    assert losses.messages() == [
        "1 native histograms were left out: this format has none", "1 stale markers were left out: this format has "
        "none", "1 NaNs lost their bits", "1 samples lost their start times: this format has none"]


def test_a_label_that_appears_late_has_no_column() -> None:
    storage = MemoryStorage(rows_per_tile=1)
    for n in range(3):
        storage.add({"__name__": "a", "n": str(n)}, np.arange(60_000), np.sqrt(np.arange(60_000)))
    parts = export(storage, [()], 0, EVER >> 20, Losses(), context=RequestContext())
    next(parts)
    storage.add({"__name__": "a", "fresh": "1"}, [1], [1])
    storage.add({"__name__": "a", "fresh": "1"}, [40 * 86_400_000], [1])
    with pytest.raises(ExecutionError, match="'fresh' appeared"):
        list(parts)
