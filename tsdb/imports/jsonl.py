"""JSON lines, as VictoriaMetrics and `tsdb export jsonl` write them (`tsdb.exports.jsonl` says what is in a line)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tsdb.imports.files import slices_of_lines
from tsdb.imports.histograms import WrongHistogram, checked
from tsdb.imports.reader import LeftOut, Progress
from tsdb.imports.series_rows import FULL, SeriesRows
from tsdb.ingest.exposition.series_keys import keyed_rows
from tsdb.model.batch import Batch
from tsdb.model.errors import WrongInput
from tsdb.model.labels import canonical_key
from tsdb.model.native_histograms import NORMAL_NAN, only_floats

LONGEST_LINE = 256 << 20
BATCH = 50_000
"""Samples of a batch, or those of one line if it has more."""
INVALID = "invalid lines"
MAX_KEY_BYTES = 65_535

METRIC, VALUES = b'{"metric":{', b'},"values":['
WORDS = {"Infinity": float("inf"), "Inf": float("inf"), "+Inf": float("inf"), "-Infinity": float("-inf"),
         "-Inf": float("-inf"), "NaN": float("nan")}
"""Of values that JSON has no numbers for."""


def read(path: Path, secret: NDArray[np.uint64], *, left_out: LeftOut, progress: Progress, skip_invalid: bool = False,
         name: str = "") -> Iterator[Batch]:
    """All samples of a file, which may be compressed. Wrong lines raise WrongInput with their number, or with
    `skip_invalid` are counted. `name` is that of the file to people."""
    reader = _Reader(secret)
    number = 0
    for piece in slices_of_lines(path, progress, longest=LONGEST_LINE):
        for line in piece.removesuffix(b"\n").split(b"\n"):
            number += 1
            if not line or line.isspace():
                continue
            try:
                reader.take(line)
            except ValueError as problem:
                if not skip_invalid:
                    raise WrongInput(f"{name or path}: line {number}: {_reason(problem)}") from None
                left_out.count(INVALID, 1)
            if reader.samples >= BATCH:
                yield reader.batch()
    if reader.samples:
        yield reader.batch()


def _reason(problem: ValueError) -> str:
    if isinstance(problem, json.JSONDecodeError):
        return f"column {problem.colno}: {problem.msg}: this is no JSON"
    return str(problem)


class _Reader:
    """Collects the samples of lines."""

    def __init__(self, secret: NDArray[np.uint64]) -> None:
        self.samples = 0
        self._secret = secret
        self._start()
        self._begin()

    def _start(self) -> None:
        self._rows = SeriesRows()
        self._known: dict[bytes, int] = {}
        """By the text of the labels, or by the key."""
        self._fresh: list[bytes] = []
        """Keys that are no rows yet."""

    def _begin(self) -> None:
        self.samples = 0
        self._numbers: list[int] = []
        self._lengths: list[int] = []
        self._values: list[NDArray[np.uint64]] = []
        self._ts: list[NDArray[np.int64]] = []
        self._starts: list[NDArray[np.int64] | None] = []
        self._payload: list[NDArray[np.uint8]] = []
        self._payload_bytes = 0

    def batch(self) -> Batch:
        """What was collected."""
        if self._fresh:
            self._rows.add(keyed_rows(self._secret, self._fresh))
            self._fresh = []
        counts = np.array(self._lengths)
        start_ts = None
        if any(each is not None for each in self._starts):
            start_ts = np.concatenate([np.zeros(length, np.int64) if each is None else each
                                       for each, length in zip(self._starts, self._lengths, strict=True)])
        batch = self._rows.batch(
            np.repeat(np.array(self._numbers), counts), np.concatenate(self._ts), np.concatenate(self._values),
            payload=np.concatenate(self._payload) if self._payload else None, start_ts=start_ts)
        self._begin()
        if self._rows.full or len(self._known) > FULL // 1024:
            self._start()
        return batch

    def take(self, line: bytes) -> None:
        """Raises ValueError where it is wrong; nothing of it is taken then."""
        end = line.find(VALUES, len(METRIC) - 1) if line.startswith(METRIC) else -1
        document = orjson.loads(line)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        values = _values(line, end, document)
        ts = _whole_numbers(document, "timestamps")
        if ts.size != values.size:
            raise ValueError(f'{values.size} "values", but {ts.size} "timestamps"')
        if not ts.size:
            raise ValueError("no values")
        starts = _whole_numbers(document, "start_timestamps") if "start_timestamps" in document else None
        if starts is not None and starts.size != ts.size:
            raise ValueError(f'{starts.size} "start_timestamps", but {ts.size} "timestamps"')
        if "nan_bits" in document:
            places, texts = _pairs(document, "nan_bits", values)
            try:
                values[places] = only_floats(np.array([int(text, 16) for text in texts], np.uint64))
            except OverflowError:
                raise ValueError('"nan_bits" are not those of a float') from None
            if not np.isnan(values[places].view(np.float64)).all():
                raise ValueError('"nan_bits" are not those of a NaN')
        payload = self._histograms(document, values)
        self._numbers.append(self._number(line[len(METRIC) : end] if end >= 0 else b"", document))
        self._lengths.append(ts.size)
        self._values.append(values)
        self._ts.append(ts)
        self._starts.append(starts)
        if payload is not None:
            self._payload.append(payload)
            self._payload_bytes += payload.size
        self.samples += ts.size

    def _histograms(self, document: dict[str, Any], values: NDArray[np.uint64]) -> NDArray[np.uint8] | None:
        if "histograms" not in document:
            return None
        places, texts = _pairs(document, "histograms", values)
        try:
            payload, boxed = checked([base64.b64decode(text, validate=True) for text in texts])
        except WrongHistogram as problem:
            raise ValueError(f"the histogram at place {places[problem.number]}: {problem}") from None
        values[places] = boxed + np.uint64(self._payload_bytes)
        return payload

    def _number(self, text: bytes, document: dict[str, Any]) -> int:
        key = b"" if text else _key(document)
        found = self._known.get(text or key)
        if found is None:
            found = self._known[text or key] = self._rows.count + len(self._fresh)
            self._fresh.append(key or _key(document))
        return found


def _key(document: dict[str, Any]) -> bytes:
    labels = document.get("metric")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ValueError('"metric" is not an object of texts')
    if "" in labels:
        raise ValueError('"metric" has a label without a name')
    key = canonical_key(labels)
    if not key:
        raise ValueError('"metric" has no labels')
    if len(key) > MAX_KEY_BYTES:
        raise ValueError(f"labels of more than {MAX_KEY_BYTES} bytes")
    return key


def _values(line: bytes, begin: int, document: dict[str, Any]) -> NDArray[np.uint64]:
    """Bits of the floats. Values stand behind `begin`; below 0: nobody knows where."""
    found = document.get("values")
    if not isinstance(found, list):
        raise ValueError('no list "values"')
    end = line.find(b"]", begin) + 1
    if begin < 0 or any(line.find(odd, begin + len(VALUES), end) >= 0 for odd in (b'"', b"-0,", b"-0]", b"r", b"s")):
        found = _odd_values(line, found)
    try:
        floats = np.array(found, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError('"values" are not all numbers') from None
    if floats.ndim != 1:
        raise ValueError('"values" are not all numbers')
    bits = floats.view(np.uint64)
    nans = np.isnan(floats)
    if nans.any():
        bits[nans] = NORMAL_NAN
    return bits


def _odd_values(line: bytes, found: list[Any]) -> list[float | None]:
    """Values that may be words, or the -0 of VictoriaMetrics, which is a whole number to a parser of JSON."""
    if b"-0" in line:
        found = json.loads(line, parse_int=lambda text: -0.0 if text == "-0" else int(text))["values"]
    values: list[float | None] = []
    for value in found:
        if isinstance(value, str):
            if value not in WORDS:
                raise ValueError(f"the value {value!r} is not a number")
            value = WORDS[value]
        elif isinstance(value, bool):
            raise ValueError('"values" are not all numbers')
        values.append(value)
    return values


def _whole_numbers(document: dict[str, Any], key: str) -> NDArray[np.int64]:
    found = np.array(document.get(key) or (), np.int64) if not document.get(key) else np.array(document[key])
    if found.dtype != np.int64 or found.ndim != 1:
        raise ValueError(f'"{key}" are not all whole numbers')
    return found


def _pairs(document: dict[str, Any], key: str, values: NDArray[np.uint64]) -> tuple[NDArray[np.int64], list[str]]:
    """(places, texts) of pairs; the values there are NaN."""
    found = document[key]
    if not isinstance(found, list) or not all(
            isinstance(each, list) and len(each) == 2 and type(each[0]) is int and isinstance(each[1], str)
            and 0 <= each[0] < values.size for each in found):
        raise ValueError(f'"{key}" are not pairs of a place in "values" and a text')
    places = np.array([place for place, _ in found], np.int64)
    if not np.isnan(values[places].view(np.float64)).all():
        raise ValueError(f'"{key}" has a place where "values" has a number')
    return places, [text for _, text in found]
