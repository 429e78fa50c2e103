"""Series that a scrape sees first: their labels with the target's, relabeled and within limits, as canonical keys."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdb.ingest import canonical_kernels as canonical
from tsdb.ingest.decoded import LABEL_REASONS, IngestLimits
from tsdb.ingest.exposition import label_kernels as kernels
from tsdb.ingest.exposition.bounds import format_bound, rewritten_bound
from tsdb.ingest.exposition.series_cache import resized
from tsdb.kernels.hash_kernels import hash_rows
from tsdb.model.labels import (
    METRIC_NAME,
    canonical_key,
    is_legacy_label_name,
    is_legacy_metric_name,
    labels_of_key,
)

Relabel = Callable[[dict[str, str]], dict[str, str] | None]

_FIX_BYTES = 32
"""Room for a rewritten bound."""
_SCRATCH = 1 << 16

_REASONS = {
    kernels.NO_LABEL_NAME: "expected label name",
    kernels.NO_EQUALS: "expected equal after a label name",
    kernels.NO_LABEL_VALUE: "expected label value in quotes",
    kernels.OPEN_QUOTE: "expected the end of a quoted text",
    kernels.TWO_NAMES: "metric name already set",
    kernels.NO_COMMA: "expected comma or brace close",
    kernels.NO_METRIC_NAME: "metric name not set",
    kernels.BEHIND_BRACE: "expected comma or brace close",
    kernels.TOO_MANY: LABEL_REASONS[canonical.TOO_MANY_LABELS],
    kernels.NOT_UTF8: "invalid UTF-8 label value",
}


@dataclass(slots=True)
class SeriesLimits:
    """Limits of scrape_config on one scrape; 0: none."""

    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    sample_limit: int = 0
    legacy_names: bool = False
    """Only names without UTF-8: metric_name_validation_scheme legacy."""


class WrongSeries(Exception):
    """A series cannot be taken. `row` is which; `parsed`: it is an exposition, but against the limits."""

    def __init__(self, row: int, reason: str, parsed: bool) -> None:
        super().__init__(reason)
        self.row = row
        self.parsed = parsed


@dataclass(slots=True)
class KeyedRows:
    """Keyed rows of a `Batch`; those that relabeling dropped have length 0."""

    keys: NDArray[np.uint8]
    row_hash: NDArray[np.uint64]
    row_offset: NDArray[np.uint32]
    row_length: NDArray[np.uint32]

    def some(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> KeyedRows:
        """Only some of the rows, bool[rows] or their numbers."""
        return KeyedRows(self.keys, self.row_hash[rows], self.row_offset[rows], self.row_length[rows])

    def compacted(self) -> KeyedRows:
        """With the bytes of its own keys only."""
        ends = np.cumsum(self.row_length, dtype=np.int64)
        begins = ends - self.row_length
        if not ends.size or ends[-1] == self.keys.size:
            return self
        at = np.arange(ends[-1]) + np.repeat(self.row_offset - begins, self.row_length)
        return KeyedRows(self.keys[at], self.row_hash, begins.astype(np.uint32), self.row_length)


def joined(parts: Sequence[KeyedRows]) -> KeyedRows:
    """Rows of all parts."""
    sizes = np.cumsum([0, *(each.keys.size for each in parts[:-1])])
    return KeyedRows(
        np.concatenate([each.keys for each in parts]), np.concatenate([each.row_hash for each in parts]),
        np.concatenate([each.row_offset + np.uint32(at) for each, at in zip(parts, sizes, strict=True)]),
        np.concatenate([each.row_length for each in parts]),
    )


def keyed_rows(secret: NDArray[np.uint64], keys: Sequence[bytes]) -> KeyedRows:
    """Rows of canonical keys."""
    joined = np.frombuffer(b"".join(keys), np.uint8)
    row_length = np.array([len(key) for key in keys], np.uint32)
    row_offset = (np.cumsum(row_length) - row_length).astype(np.uint32)
    row_hash = np.empty(row_length.size, np.uint64)
    hash_rows(secret, joined, row_offset, row_length, row_hash)
    return KeyedRows(joined, row_hash, row_offset, row_length)


class SeriesKeys:
    """Makes keys for the series of one target."""

    def __init__(self, secret: NDArray[np.uint64], labels: Mapping[str, str], honor_labels: bool, limits: SeriesLimits,
                 relabel: Relabel | None) -> None:
        self._secret = secret
        self._honor = honor_labels
        self._limits = limits
        self._relabel = relabel
        texts = [METRIC_NAME.encode()]
        pairs = sorted((name.encode(), value.encode()) for name, value in labels.items() if value)
        self._target = np.empty((len(pairs), 4), np.int64)
        at = len(texts[0])
        for row, pair in enumerate(pairs):
            for column, text in zip((0, 2), pair, strict=True):
                self._target[row, column : column + 2] = at, len(text)
                texts.append(text)
                at += len(text)
        self._texts = b"".join(texts)

    def read(self, source: NDArray[np.uint8], begins: NDArray[np.int64], lengths: NDArray[np.int64],
             types: NDArray[np.uint8], grammar: int) -> KeyedRows:
        """Keys of the series with the texts source[begin : begin + length] in a grammar of `label_kernels`; types as
        for `read_series`. Raises WrongSeries for the first that is wrong."""
        limits = np.zeros(kernels.LIMITS, np.int64)
        limits[kernels.MAX_KEY] = IngestLimits().max_key_bytes
        if self._relabel is None:
            limits[kernels.LABEL_LIMIT] = self._limits.label_limit
            limits[kernels.NAME_LIMIT] = self._limits.label_name_length_limit
            limits[kernels.VALUE_LIMIT] = self._limits.label_value_length_limit
            limits[kernels.LEGACY_NAMES] = self._limits.legacy_names
        spare = len(self._texts) + kernels.MAX_FIXES * _FIX_BYTES
        work = np.empty(spare + 3 * int(lengths.max(initial=0)) + _SCRATCH, np.uint8)
        work[: len(self._texts)] = np.frombuffer(self._texts, np.uint8)
        rows = begins.size
        exemplars = grammar == kernels.EXEMPLAR
        keys = np.empty(0 if exemplars else int(lengths.sum()) + rows * (len(self._texts) + 64) + 1024, np.uint8)
        row_hash = np.empty(rows, np.uint64)
        row_offset = np.empty(rows, np.uint32)
        row_length = np.empty(rows, np.uint32)
        fixes = np.zeros((kernels.MAX_FIXES, 3), np.int64)
        labels = np.empty((canonical.MAX_LABELS, 4), np.int64)
        state = np.zeros(kernels.STATE, np.int64)
        while True:
            code = int(kernels.read_series(source, begins, lengths, types, grammar, work, spare, self._target,
                                           self._honor, limits, self._secret, fixes, keys, row_hash, row_offset,
                                           row_length, labels, state))
            if code == kernels.MORE_KEYS:
                keys = resized(keys, 2 * keys.size + (1 << 16))
            elif code == kernels.REWRITE_BOUND:
                self._rewrite(work, fixes, state)
            else:
                break
        if code != kernels.READ:
            row = int(state[kernels.ROW])
            if code in _REASONS:
                raise WrongSeries(row, _REASONS[code], parsed=False)
            if code <= kernels.LABELS_WRONG:
                wrong = kernels.LABELS_WRONG - code
                raise WrongSeries(row, LABEL_REASONS[wrong], parsed=wrong != canonical.INVALID_UTF8)
            read = _labels(work, labels[: state[kernels.LENGTH]])
            raise WrongSeries(row, self._against_limits(read), parsed=True)
        made = KeyedRows(keys[: state[kernels.KEYS]], row_hash, row_offset, row_length)
        return made if self._relabel is None or exemplars else self._relabeled(made, self._relabel)

    def _rewrite(self, work: NDArray[np.uint8], fixes: NDArray[np.int64], state: NDArray[np.int64]) -> None:
        at, length, row = int(state[kernels.AT]), int(state[kernels.LENGTH]), int(state[kernels.FIXES])
        text = work[at : at + length].tobytes()
        if text[:1] == bytes([kernels.RAW_BOUND]):
            bound = format_bound(struct.unpack(">d", bytes.fromhex(text[1:].decode()))[0])
        else:
            bound = rewritten_bound(text)
        if len(bound) > _FIX_BYTES:  # no number: it stays where it is
            fixes[row] = at, at, length
        else:
            place = len(self._texts) + row * _FIX_BYTES
            work[place : place + len(bound)] = np.frombuffer(bound, np.uint8)
            fixes[row] = at, place, len(bound)
        state[kernels.FIXES] = row + 1

    def _relabeled(self, made: KeyedRows, relabel: Relabel) -> KeyedRows:
        keys = []
        raw = made.keys.tobytes()
        begins, lengths = made.row_offset.tolist(), made.row_length.tolist()
        for row, (begin, length) in enumerate(zip(begins, lengths, strict=True)):
            labels = relabel(labels_of_key(raw[begin : begin + length]))
            if labels:
                labels = {name: value for name, value in labels.items() if value}
            if not labels:
                keys.append(b"")
                continue
            wrong = self._against_limits(labels)
            if wrong:
                raise WrongSeries(row, wrong, parsed=True)
            keys.append(canonical_key(labels))
        return keyed_rows(self._secret, keys)

    def _against_limits(self, labels: Mapping[str, str]) -> str:
        """Why labels (without empty values) cannot be taken, in Prometheus' words; empty: they can."""
        limits = self._limits
        if METRIC_NAME not in labels:
            return "missing metric name (__name__ label)"
        legacy = limits.legacy_names
        if any(not name or (legacy and not is_legacy_label_name(name)) for name in labels) \
                or (legacy and not is_legacy_metric_name(labels[METRIC_NAME])):
            return f"invalid metric name or label names: {_shown(labels)}"
        metric = labels[METRIC_NAME][:50]
        if limits.label_limit and len(labels) > limits.label_limit:
            return (f"label_limit exceeded (metric: {metric}, number of labels: {len(labels)}, "
                    f"limit: {limits.label_limit})")
        for name, value in sorted(labels.items()):
            length, limit = len(name.encode()), limits.label_name_length_limit
            if limit and length > limit:
                return (f"label_name_length_limit exceeded (metric: {metric}, label name: {name[:50]}, "
                        f"length: {length}, limit: {limit})")
            length, limit = len(value.encode()), limits.label_value_length_limit
            if limit and length > limit:
                return (f"label_value_length_limit exceeded (metric: {metric}, label name: {name[:50]}, "
                        f'value: "{value[:50]}", length: {length}, limit: {limit})')
        return ""


def _labels(work: NDArray[np.uint8], rows: NDArray[np.int64]) -> dict[str, str]:
    def text(at: int, length: int) -> str:
        return work[at : at + length].tobytes().decode()

    return {text(name, n): text(value, v) for name, n, value, v in rows.tolist() if v}


def _shown(labels: Mapping[str, str]) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    pairs = (f"{name if is_legacy_label_name(name) else quoted(name)}={quoted(value)}"
             for name, value in sorted(labels.items()))
    return "{" + ", ".join(pairs) + "}"
