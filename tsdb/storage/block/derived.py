"""Sections of an index that follow from others: what a damaged one should hold is computed anew.

Texts, values of pairs and what is said of chunks stand there once. Of the others each follows from some other: names
from pairs and the other way round, postings from the labels of series and the other way round, fingerprints from these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsdb.storage.block.layout import FINGERPRINT_BYTES
from tsdb.storage.block.text_kernels import fingerprints

if TYPE_CHECKING:
    from tsdb.storage.block.sections import Index


def derive(index: Index, name: str) -> NDArray[Any] | None:
    """What a section should hold, of any integer type; None where it does not follow from others. Raises Corruption
    where one of these is damaged, too; ValueError where they say what cannot be."""
    way = _WAYS.get(name)
    return None if way is None else way(index)


def fingerprints_of(index: Index) -> NDArray[np.uint8]:
    """Of all series, by their labels: u8[16 n]. Raises Corruption; ValueError where labels are not those of series."""
    out = np.empty(index.series * FINGERPRINT_BYTES, np.uint8)
    if index.series:
        offset = index["symbol_offset"].all().astype(np.int64)
        data, labels = index["symbol_bytes"].all(), index["label_offset"].all()
        names, values = index["pair_name"].all(), index["pair_value"].all()
        pair = _below(index["label_pair"].all(), names.size).astype(np.uint32)
        sizes = _counts(offset, data.size)
        largest = sizes[_below(names, sizes.size)] + sizes[_below(values, sizes.size)] + 32
        total = np.concatenate(([0], np.cumsum(largest[pair])))
        _counts(labels, pair.size)
        ends = labels.astype(np.int64)
        key = np.empty(int((total[ends[1:]] - total[ends[:-1]]).max()) + 256, np.uint8)
        symbols = np.concatenate((data, np.zeros(8, np.uint8)))
        symbols.flags.writeable = False
        fingerprints(symbols, offset, names.copy(), values.copy(), labels.copy(), pair.copy(), key,
                     np.empty(8, np.uint64), out)
    return out


def _name_symbol(index: Index) -> NDArray[Any]:
    return np.unique(index["pair_name"].all())


def _name_pair(index: Index) -> NDArray[Any]:
    names = index["pair_name"].all()
    return np.append(np.unique(names, return_index=True)[1], names.size)


def _pair_name(index: Index) -> NDArray[Any]:
    counts = _counts(index["name_pair"].all(), index["pair_name"].size)
    return np.repeat(index["name_symbol"].all(), counts)


def _posting_offset(index: Index) -> NDArray[Any]:
    return _borders(index["label_pair"].all(), index["pair_name"].size)


def _posting(index: Index) -> NDArray[Any]:
    return _owners(index["label_offset"].all(), index["label_pair"].all())


def _label_offset(index: Index) -> NDArray[Any]:
    return _borders(index["posting"].all(), index.series)


def _label_pair(index: Index) -> NDArray[Any]:
    return _owners(index["posting_offset"].all(), index["posting"].all())


_WAYS: dict[str, Callable[[Index], NDArray[Any]]] = {
    "name_symbol": _name_symbol, "name_pair": _name_pair, "pair_name": _pair_name,
    "posting_offset": _posting_offset, "posting": _posting,
    "label_offset": _label_offset, "label_pair": _label_pair, "fingerprint": fingerprints_of,
}


def _borders(items: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Where the lists of items 0 … size - 1 begin, and the last one ends."""
    return np.concatenate(([0], np.cumsum(np.bincount(_below(items, size), minlength=size)))).astype(np.int64)


def _owners(offsets: NDArray[Any], items: NDArray[Any]) -> NDArray[np.int64]:
    """For each item in turn, which lists it is on: those of list i are at offsets[i]:offsets[i + 1]."""
    lists = np.repeat(np.arange(offsets.size - 1), _counts(offsets, items.size))
    return lists[np.argsort(items, kind="stable")]


def _counts(offsets: NDArray[Any], end: int) -> NDArray[np.int64]:
    borders = offsets.astype(np.int64)
    counts: NDArray[np.int64] = borders[1:] - borders[:-1]
    if int(offsets[0]) != 0 or int(offsets[-1]) != end or (counts < 0).any():
        raise ValueError("lists lie over each other, or beyond their end")
    return counts


def _below(items: NDArray[Any], size: int) -> NDArray[Any]:
    if items.size and int(items.max()) >= size:
        raise ValueError("something is named that there is not")
    return items
