"""Windows of plain Python values, and all that a storage has of a tier."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tests.storage.batches import FOREVER, everything
from tsdb.model.batch import STALE_NAN
from tsdb.model.context import RequestContext
from tsdb.model.matchers import Matcher
from tsdb.model.tiers import Field, TierRead
from tsdb.model.tiles import Queryable, Selection

Labels = tuple[tuple[str, str], ...]
Samples = Sequence[tuple[int, int]]
"""(ms, bits)"""
Windows = dict[int, tuple[float, ...]]
"""Fields, by the windows' ends."""
ALL = tuple(Field)


def number(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def windows(samples: Samples, resolution: int, fields: Sequence[str] = ALL) -> Windows:
    """Of one series of floats that are no NaN."""
    by_end: dict[int, list[tuple[int, int]]] = {}
    for ts, bits in samples:
        by_end.setdefault(-(-ts // resolution) * resolution, []).append((ts, bits))
    return {end: _window(end - resolution, own, fields) for end, own in by_end.items()}


def _window(start: int, samples: Samples, fields: Sequence[str]) -> tuple[float, ...]:
    live = [(ts, number(bits)) for ts, bits in samples if bits != STALE_NAN]
    found: dict[str, float] = {**dict.fromkeys(ALL, 0.0), Field.STALE: float(samples[-1][1] == STALE_NAN)}
    if live:
        values = [value for _, value in live]
        drops = [before for before, after in pairwise(values) if after < before]
        found |= {Field.COUNT: len(live), Field.SUM: math.fsum(values), Field.MIN: min(values), Field.MAX: max(values),
                  Field.FIRST: values[0], Field.FIRST_TS: live[0][0] - start, Field.LAST: values[-1],
                  Field.LAST_TS: live[-1][0] - start, Field.RESETS: len(drops), Field.LOST: math.fsum(drops)}
    return tuple(_quantile(values, float(field.split()[1])) if field.startswith("quantile") and live else
                 float(found.get(field, 0.0)) for field in fields)


def _quantile(values: Sequence[float], quantile: float) -> float:
    ordered = sorted(values)
    rank = quantile * (len(ordered) - 1)
    lower = math.floor(rank)
    upper = min(len(ordered) - 1, lower + 1)
    return ordered[lower] * (1 - (rank - lower)) + ordered[upper] * (rank - lower)


def read_tier(storage: Queryable, resolution: int, fields: Sequence[str] = ALL, mint: int = -FOREVER,
              maxt: int = FOREVER, matchers: Sequence[Matcher] | None = None) -> dict[Labels, Windows]:
    """By sorted labels; series without windows are left out."""
    selection = Selection(tuple(matchers) if matchers is not None else everything(), mint, maxt,
                          tier=TierRead(resolution, tuple(fields)))
    found: dict[Labels, Windows] = {}
    with storage.capture([selection], RequestContext()) as capture:
        selected = capture.selected[0]
        assert all(name.startswith("tier ") for name in selected.sources)
        for index in range(len(selected.tile_rows) - 1):
            tile = selected.tile(index)
            assert tile.fields is not None and tile.fields.shape == (len(fields), tile.ts.size)
            assert (tile.values.view("u8") == tile.fields[0].view("u8")).all()
            for row in range(tile.rows):
                part = slice(int(tile.begin[row]), int(tile.end[row]))
                if part.start < part.stop:
                    labels = tuple(sorted(selected.series.labels(tile.first_row + row).items()))
                    assert labels not in found
                    found[labels] = dict(zip(tile.ts[part].tolist(), map(tuple, tile.fields[:, part].T.tolist()),
                                             strict=True))
    return found


def expected(samples: Mapping[Labels, Samples], resolution: int, through: int, fields: Sequence[str] = ALL,
             ) -> dict[Labels, Windows]:
    """What `read_tier` gives where all windows up to `through` (ms) are built."""
    found = {labels: {end: window for end, window in windows(own, resolution, fields).items() if end <= through}
             for labels, own in samples.items()}
    return {labels: own for labels, own in found.items() if own}
