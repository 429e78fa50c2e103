# mypy: disable-error-code="operator,call-overload,assignment,return-value,arg-type,index,no-any-return,no-untyped-def"
"""Whether there may be a series more. The rules are rows i64[r, 3] of (limit, 0: none; begin and end of a label's name
in a buffer of names): for all series; for those of one metric, of one job; for values of any label that has no rule of
its own; then one rule for each label that has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsdb.kernels.byte_kernels import equal_bytes
from tsdb.kernels.hash_kernels import hash_bytes, hash_pair
from tsdb.kernels.registry import device
from tsdb.storage.head.table_kernels import find_bytes, find_pair, read_varint

ALL, METRIC, JOB, ANY_LABEL, LABELS = range(5)
"""Numbers of rules; those of labels begin at LABELS."""
MOST, BEGIN, END = range(3)


@device
def has_name(keys: NDArray[np.uint8], at: int, size: int, rules: NDArray[np.int64], rule: int,
             names: NDArray[np.uint8]) -> bool:
    return size == rules[rule, END] - rules[rule, BEGIN] and equal_bytes(names, rules[rule, BEGIN], keys, at, size)


@device
def refused_by(keys: NDArray[np.uint8], begin: int, end: int, series: int, rules: NDArray[np.int64],
               names: NDArray[np.uint8], name_values: NDArray[np.uint32], secret: NDArray[np.uint64],
               symbol_table: NDArray[np.uint64], symbol_bytes: NDArray[np.uint8], symbol_offset: NDArray[np.uint64],
               symbol_length: NDArray[np.uint32], pair_table: NDArray[np.uint64], pair_name: NDArray[np.uint32],
               pair_value: NDArray[np.uint32], pair_uses: NDArray[np.uint32]) -> int:
    """The first rule that a series which is not there, with the key keys[begin:end], would break; -1: none.

    `series` is how many there are, `name_values` u32[symbols] how many values each label name has; the other arrays
    are those of the series table. A key that is not canonical breaks none.
    """
    if rules[ALL, MOST] > 0 and series >= rules[ALL, MOST]:
        return ALL
    at = begin
    while at < end:
        _, at = read_varint(keys, at + 1, end)
        size, name_at = read_varint(keys, at + 1, end)
        if size < 0 or name_at + size >= end:
            return np.int64(-1)
        value_size, value_at = read_varint(keys, name_at + size + 1, end)
        if value_size < 0 or value_at + value_size > end:
            return np.int64(-1)
        at = value_at + value_size
        per_value = np.int64(METRIC) if has_name(keys, name_at, size, rules, METRIC, names) else (
            np.int64(JOB) if has_name(keys, name_at, size, rules, JOB, names) else np.int64(-1))
        values = np.int64(ANY_LABEL)
        for rule in range(LABELS, rules.shape[0]):
            if has_name(keys, name_at, size, rules, rule, names):
                values = np.int64(rule)
        of_value = rules[per_value, MOST] if per_value >= 0 else np.int64(0)
        if of_value == 0 and rules[values, MOST] == 0:
            continue
        name = find_bytes(symbol_table, hash_bytes(secret[0], secret[1], keys, name_at, name_at + size), symbol_bytes,
                          symbol_offset, symbol_length, keys, name_at, size)
        if name < 0:
            continue  # the first of its name
        uses = np.int64(0)
        value = find_bytes(symbol_table, hash_bytes(secret[0], secret[1], keys, value_at, value_at + value_size),
                           symbol_bytes, symbol_offset, symbol_length, keys, value_at, value_size)
        if value >= 0:
            pair = find_pair(pair_table, hash_pair(secret[0], secret[1], np.uint64(name), np.uint64(value)), pair_name,
                             pair_value, name, value)
            if pair >= 0:
                uses = np.int64(pair_uses[pair])
        if of_value > 0 and uses >= of_value:
            return per_value
        if rules[values, MOST] > 0 and uses == 0 and np.int64(name_values[name]) >= rules[values, MOST]:
            return values
    return np.int64(-1)
