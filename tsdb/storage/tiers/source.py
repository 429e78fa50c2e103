"""The source of a tier's block: samples of blocks, made into windows, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tsdb.histograms.windows import put_histograms
from tsdb.kernels.window_kernels import windows
from tsdb.model.matchers import Matcher
from tsdb.storage.block import Block, Chunks, SeriesLabels, TimeColumns
from tsdb.storage.block.dictionary import take_series
from tsdb.storage.block.encoding import DenseEncoder
from tsdb.storage.block.histogram_encoding import encode_kinds
from tsdb.storage.starts.runs import StartRuns
from tsdb.storage.tiers.fields import DENSE, FIELDS, field_names, field_series, has_room_for_field
from tsdb.storage.tiers.window_quantiles import window_quantiles
from tsdb.storage.upkeep.compaction_source import CompactionSource, MergedTile


class TierSource:
    """Windows of a resolution within (after, through], of the samples that blocks have there.

    In memory are the labels of all series once for each field, and a tile of samples with its windows.
    """

    def __init__(self, blocks: Sequence[Block], resolution_ms: int, after: int, through: int,
                 pause: Callable[[], None] = lambda: None, *, matchers: Sequence[Matcher] = (),
                 quantiles: Sequence[float] = ()) -> None:
        """`after` and `through` (ms) are multiples of the resolution; `blocks` may overlap. `pause` is called between
        tiles and may raise. Of series that satisfy all `matchers`; with `quantiles` (0 … 1) beside the other fields."""
        self.mint, self.maxt = after + 1, through + 1
        self._samples = CompactionSource(blocks, pause)
        self._resolution, self._after, self._through, self._pause = resolution_ms, after, through, pause
        self._matchers, self._quantiles = matchers, quantiles
        self._names = field_names(quantiles)
        self._without_room = np.zeros(0, np.int32)
        self._kept: NDArray[np.int32] | None = None
        """Which series of the blocks; None: all."""
        self.samples = 0
        """That were read so far."""
        self.left_out = 0
        """Series with samples of these times that are in no tier: a label of theirs stands where `FIELD_LABEL` does."""

    def series(self) -> SeriesLabels:
        series = self._samples.series()
        if self._matchers:
            self._kept = self._samples.matching(self._matchers)
            series = take_series(series, self._kept)
        fits = has_room_for_field(series)
        if not fits.all():
            every = np.arange(fits.size, dtype=np.int32) if self._kept is None else self._kept
            self._kept, self._without_room = every[fits], every[~fits]
            series = take_series(series, np.flatnonzero(fits).astype(np.int32))
        return field_series(series, self._names)

    def chunks(self, order: NDArray[np.int32]) -> Iterator[Chunks | TimeColumns | StartRuns]:
        fields = len(self._names)
        by_series = order.reshape(-1, fields)
        rows, numbers = by_series[:, 0] // fields, by_series[:1] % fields
        if (by_series != rows[:, None] * fields + numbers).any():
            raise ValueError("the fields of a series are not neighbours: a label sorts behind theirs")
        encoder = DenseEncoder(self.mint, self.maxt)
        read = rows if self._kept is None else self._kept[rows]
        for tile in self._samples.tiles(read, self._after + 1, self._through):
            yield self._encode(encoder, tile, numbers[0].tolist())
            self._pause()
        for tile in self._samples.tiles(self._without_room, self._after + 1, self._through):
            begin, end, *_ = tile.columns
            self.left_out += int(np.count_nonzero(end > begin))
        yield encoder.columns()

    def _encode(self, encoder: DenseEncoder, tile: MergedTile, order: list[int]) -> Chunks:
        """The chunks of a tile, the fields of each series in their `order`."""
        begin, end, ts, values = tile.columns
        self.samples += int((end - begin).sum())
        room, payload = ts.size, tile.payload
        starts, stops = np.empty(begin.size, np.int64), np.empty(begin.size, np.int64)
        ends, out = np.empty(room, np.int64), np.empty((len(self._names), room))
        made = windows(begin, end, ts, values.view(np.float64), self._after, self._through, self._resolution, starts,
                       stops, ends, out)
        if payload is not None:
            payload = put_histograms(begin, end, ts, values.view(np.float64), payload, self._resolution, starts, stops,
                                     ends, out)
        if self._quantiles:
            window_quantiles(begin, end, ts, values, self._resolution, ends[:made], starts, self._quantiles,
                             out[len(FIELDS) :, :made])
        return encode_windows(encoder, starts, stops, ends[:made], out[:, :made], payload, order)


def encode_windows(encoder: DenseEncoder, begin: NDArray[np.int64], end: NDArray[np.int64], ends: NDArray[np.int64],
                   out: NDArray[np.float64], payload: NDArray[np.uint8] | None, order: Sequence[int]) -> Chunks:
    """Chunks of the fields in their `order`, series by series; windows of series i are begin[i]:end[i] (i64[n]) of
    `ends` (i64[w], ms) and of `out` (f64[fields, w]), in which boxed values lead to `payload`."""
    times, columns, first, past, at = [], [], [], [], 0
    for number in range(len(order)):
        kept = np.flatnonzero(out[number]) if len(DENSE) <= number < len(FIELDS) else None
        times.append(ends if kept is None else ends[kept])
        columns.append(out[number] if kept is None else out[number][kept])
        first.append(at + (begin if kept is None else np.searchsorted(kept, begin)))
        past.append(at + (end if kept is None else np.searchsorted(kept, end)))
        at += times[-1].size
    return encode_kinds(
        np.stack([first[number] for number in order], axis=1).ravel(),
        np.stack([past[number] for number in order], axis=1).ravel(),
        np.concatenate(times), np.concatenate(columns).view(np.uint64), payload, encoder.encode)
