"""Tiles whose native histograms know whether their counter was reset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsdb.model.context import RequestContext
from tsdb.model.tiles import Tile
from tsdb.promql.histograms.decoding import Decoding
from tsdb.promql.histograms.reset_hint_kernels import set_reset_hints


def with_reset_hints(context: RequestContext, tile: Tile) -> Tile:
    """The tile, in which histograms without a hint have one by comparison with those before, as where Prometheus reads
    no more of histograms than their counts and sums (HistogramStatsIterator of its promql)."""
    if tile.payload is None:
        return tile
    payload, none = tile.payload.copy(), np.zeros(0, np.int64)
    with Decoding(context, tile) as decoding:
        decoding.run(lambda: set_reset_hints(
            tile.begin, tile.end, tile.ts, tile.values, none, payload, decoding.limit, decoding.facts, decoding.slots,
            decoding.tags, decoding.scratch, decoding.state))
    return replace(tile, payload=payload)
