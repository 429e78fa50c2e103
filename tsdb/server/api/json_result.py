"""Query results and label sets as Prometheus' JSON, in parts of about 1 MiB. No Python runs per value or per series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import accumulate, chain
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import orjson
from numpy.typing import NDArray

from tsdb.histograms.payload_kernels import PARTS
from tsdb.kernels.number_kernels import format_value
from tsdb.model.native_histograms import is_boxed, offsets
from tsdb.model.tiles import SeriesSet
from tsdb.promql.ast import ValueType
from tsdb.server.api.json_kernels import (
    CELL_BYTES,
    FLOAT,
    HISTOGRAM,
    MATRIX,
    ROW_BYTES,
    SERIES,
    STAMP_BYTES,
    VECTOR,
    encode_rows,
)
from tsdb.server.http.answer import dumps

if TYPE_CHECKING:
    from tsdb.promql.result import QueryResult

Part = bytes | memoryview

_PART_BYTES = 1 << 20
_SMALL_PART_BYTES = 64 << 10
_WORDS = np.frombuffer(b'{"metric":,"value":,"values":[,"histogram":,"histograms":[' + bytes(8), np.uint8)
_AT_ONCE = 1 << 18
"""Labels whose distinct texts are found together."""
_LABEL_BYTES = 2 * (4 + 8)
"""Name and value of a label, and their places among the texts."""
_TEXT_BYTES = 400
"""A text, about, as it is known and as JSON."""
_UNBOXED_BYTES = 12
"""A cell that may be a histogram."""
_NO_TIMES = np.empty(0, np.int64)
_NO_VALUES = np.empty(0, np.uint64)
_NO_CELLS = np.empty(0, np.uint8)
_NO_NUMBERS = np.empty(0)


Reserve = Callable[[int], None]


def _any_size(size: int) -> None:
    """Nobody counts."""


def value_text(value: float) -> str:
    """A float as Prometheus' API prints it."""
    out = np.empty(64, np.uint8)
    length = format_value(int(np.float64(value).view(np.uint64)), out)
    return out[:length].tobytes().decode()


def time_text(ms: int) -> str:
    """Milliseconds as seconds, with three decimals unless they are zero."""
    seconds, fraction = divmod(abs(ms), 1000)
    return f"{'-' if ms < 0 else ''}{seconds}" + (f".{fraction:03d}" if fraction else "")


def plain_text(value: float) -> str:
    """A float with plain digits whatever its size: so Prometheus prints scalars and their times."""
    return f"{Decimal(repr(value)).normalize():f}" if isfinite(value) else value_text(value)


def encode_result(result: QueryResult, limit: int = 0, reserve: Reserve = _any_size) -> tuple[Iterator[Part], bool]:
    """The members ``"resultType"`` and ``"result"`` of `data`, and whether `limit` (0: none) cuts series off. A part is
    made when it is asked for. `reserve` is told of bytes that are held besides."""
    head = f'"resultType":"{result.type}","result":'.encode()
    payload = result.payload
    if result.type in (ValueType.SCALAR, ValueType.STRING):
        time = plain_text(int(result.times[0]) / 1000)
        text = result.text if result.type == ValueType.STRING else plain_text(float(result.scalar))
        return iter([head + f"[{time},".encode() + dumps(text) + b"]"]), False
    assert result.series is not None
    rows = len(result.series)
    kept = min(rows, limit) if limit > 0 else rows
    if result.samples is not None:
        samples = result.samples[:kept]
        lengths = np.fromiter((times.size for times, _ in samples), np.int64, kept)
        end = np.cumsum(lengths)
        times = np.concatenate([times for times, _ in samples]) if kept else _NO_TIMES
        bits = np.concatenate([cells for _, cells in samples]).view(np.uint64) if kept else _NO_VALUES
        parts = _encode(MATRIX, result.series, kept, end - lengths, end, times, bits, _NO_CELLS, False, payload,
                        reserve)
    else:
        steps = int(result.times.size)
        begin = np.arange(kept, dtype=np.int64) * steps
        kind = VECTOR if result.type == ValueType.VECTOR else MATRIX
        values = np.ascontiguousarray(result.values).reshape(-1).view(np.uint64)
        present = np.ascontiguousarray(result.present).reshape(-1).view(np.uint8)
        parts = _encode(kind, result.series, kept, begin, begin + steps, result.times, values, present, True, payload,
                        reserve)
    return chain([head], parts), kept < rows


def encode_series(series: SeriesSet, limit: int = 0, reserve: Reserve = _any_size) -> tuple[Iterator[Part], bool]:
    """Label sets as a JSON array, and whether `limit` (0: none) cuts any off. `reserve` as above."""
    rows = len(series)
    kept = min(rows, limit) if limit > 0 else rows
    return _encode(SERIES, series, kept, _NO_TIMES, _NO_TIMES, _NO_TIMES, _NO_VALUES, _NO_CELLS, False, None,
                   reserve), kept < rows


def _encode(kind: int, series: SeriesSet, rows: int, begin: NDArray[np.int64], end: NDArray[np.int64],
            times: NDArray[np.int64], values: NDArray[np.uint64], present: NDArray[np.uint8], shared: bool,
            payload: NDArray[np.uint8] | None, reserve: Reserve) -> Iterator[Part]:
    """A JSON array of the first `rows` rows."""
    numbers, counts = _NO_TIMES, _NO_NUMBERS
    if payload is None:
        payload = _NO_CELLS
    else:
        reserve(_UNBOXED_BYTES * values.size)
        values, present, longest = _unboxed(values, present, payload)
        numbers, counts = np.empty(PARTS + longest, np.int64), np.empty(longest)
    offsets = series.offsets[: rows + 1]
    labels = int(offsets[-1])
    reserve(_LABEL_BYTES * labels)
    used, places = _distinct(np.concatenate((series.names[:labels], series.values[:labels])))
    reserve(_TEXT_BYTES * len(used))
    text, text_offsets = _strings(series.symbols.texts(used))
    yield b"["
    written = np.zeros(1, np.int64)
    stamps = np.empty(times.size * STAMP_BYTES + 8 if shared else 0, np.uint8)
    lengths = np.empty(times.size if shared else 0, np.int64)
    cells = int(values.size)
    size = min(_PART_BYTES, rows * ROW_BYTES + cells * CELL_BYTES + labels * 48 + _SMALL_PART_BYTES)
    row = 0
    last: Part | None = None
    while row < rows:
        out = np.empty(size, np.uint8)
        after = encode_rows(kind, row, begin, end, times, values, present, shared, offsets, places[:labels],
                            places[labels:], text, text_offsets, _WORDS, stamps, lengths, out, written, payload,
                            numbers[:PARTS], numbers[PARTS:], counts)
        if after == row:
            size *= 2
            continue
        row = after
        if written[0]:
            if last is not None:
                yield last
            last = out[: int(written[0])].data
    if last is not None:
        yield last[:-1]  # without the comma behind the last row
    yield b"]"


def _unboxed(values: NDArray[np.uint64], present: NDArray[np.uint8], payload: NDArray[np.uint8],
             ) -> tuple[NDArray[np.uint64], NDArray[np.uint8], int]:
    """(values, what each cell is, the most bytes of a histogram): values of histograms are where they begin."""
    cells = present.copy() if present.size else np.full(values.size, FLOAT, np.uint8)
    places = np.flatnonzero(is_boxed(values) & (cells != 0))
    begin = offsets(values[places])
    values = values.copy()
    values[places] = begin.view(np.uint64)
    cells[places] = HISTOGRAM
    lengths = payload[begin[:, np.newaxis] + np.arange(4)].view("<u4")
    return values, cells, int(lengths.max(initial=0))


def _distinct(symbols: NDArray[np.uint32]) -> tuple[list[int], NDArray[np.int64]]:
    """The distinct ids, and for each of `symbols` its place among them, i64[n]."""
    if symbols.size <= 128:  # numpy's calls would take longer
        place: dict[int, int] = {}
        places = [place.setdefault(symbol, len(place)) for symbol in symbols.tolist()]
        return list(place), np.array(places, np.int64)
    parts = range(0, symbols.size, _AT_ONCE)
    used = np.unique(np.concatenate([np.unique(symbols[first : first + _AT_ONCE]) for first in parts]))
    inverse = np.empty(symbols.size, np.int64)
    for first in parts:
        inverse[first : first + _AT_ONCE] = np.searchsorted(used, symbols[first : first + _AT_ONCE])
    return used.tolist(), inverse


def _strings(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """JSON strings one behind the other, u8[], and where each begins and the last ends, i64[n + 1]."""
    encoded = [b""] + [orjson.dumps(text)[1:] for text in texts]  # what orjson returns takes 4 KiB, the slice does not
    offsets = np.fromiter(accumulate((len(text) + 1 for text in encoded[1:]), initial=0), np.int64, len(encoded))
    return np.frombuffer(b'"'.join(encoded) + bytes(8), np.uint8), offsets
