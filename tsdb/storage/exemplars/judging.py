"""Which exemplars of a commit are taken, by the rules of Prometheus' CircularExemplarStorage (tsdb/exemplar.go)."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tsdb.model.batch import (
    ACCEPTED,
    EXEMPLAR_CHARACTERS,
    EXEMPLAR_OUT_OF_ORDER,
    EXEMPLAR_TOO_LONG,
    EXEMPLAR_TOO_NEW,
    EXEMPLAR_UNKNOWN,
    Exemplar,
)
from tsdb.model.labels import canonical_key
from tsdb.storage.exemplars.circular import CircularExemplars, Place, follows
from tsdb.wal import ExemplarColumns

_FLOAT = struct.Struct("<d")
_BITS = struct.Struct("<Q")


def judge(store: CircularExemplars, offered: Iterable[tuple[bytes | None, Exemplar]], latest: int,
          ) -> tuple[NDArray[np.uint8], ExemplarColumns | None]:
    """Codes of all (`tsdb.model.batch.EXEMPLAR_REASONS`), and those to be stored, which is not done here: a repeated
    one is accepted and not stored. Each comes with its series' canonical key, or None where there is no such series;
    they see each other. Of labels with one name the last counts. `latest`: what is later (ms) is refused, since nothing
    could follow it; Prometheus does so only where it comes by remote_write."""
    codes: list[int] = []
    numbers: dict[bytes, int] = {}
    newest: list[Place | None] = []  # of each series in `numbers`
    rows: list[tuple[int, int, int, bytes]] = []
    for key, exemplar in offered:
        if store.most == 0:
            codes.append(ACCEPTED)
            continue
        if key is None:
            codes.append(EXEMPLAR_UNKNOWN)
            continue
        if exemplar.ts > latest:
            codes.append(EXEMPLAR_TOO_NEW)
            continue
        labels = {name: value for name, value in exemplar.labels if value}
        if sum(len(name) + len(value) for name, value in labels.items()) > EXEMPLAR_CHARACTERS:
            codes.append(EXEMPLAR_TOO_LONG)
            continue
        number = numbers.get(key)
        if number is None:
            number = numbers[key] = len(newest)
            newest.append(store.newest(key))
        place = exemplar.ts, _BITS.unpack(_FLOAT.pack(exemplar.value))[0], canonical_key(labels)
        before = newest[number]
        if place == before:
            codes.append(ACCEPTED)
        elif follows(place, before):
            codes.append(ACCEPTED)
            newest[number] = place
            rows.append((number, *place))
        else:
            codes.append(EXEMPLAR_OUT_OF_ORDER)
    columns = None
    if rows:
        series, ts, bits, encoded = zip(*rows, strict=True)
        columns = ExemplarColumns(list(numbers), np.array(series, np.uint32), np.array(ts, np.int64),
                                  np.array(bits, np.uint64), list(encoded))
    return np.array(codes, np.uint8), columns
