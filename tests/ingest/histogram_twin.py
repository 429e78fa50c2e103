"""Slow and obvious: from Histogram messages to histograms, and Prometheus' judgement of them."""

from __future__ import annotations

import math
import struct
from typing import Any

from tests.ingest.wire import WireError, expect, read_fields, read_varint, signed
from tsdb.model.native_histograms import NativeHistogram, ResetHint

VARINT, FIXED64, LENGTH = 0, 1, 2
KINDS = {1: VARINT, 2: FIXED64, 3: FIXED64, 4: VARINT, 5: FIXED64, 6: VARINT, 7: FIXED64, 8: LENGTH, 9: VARINT,
         10: FIXED64, 11: LENGTH, 12: VARINT, 13: FIXED64, 14: VARINT, 15: VARINT, 16: FIXED64, 17: VARINT}
REPEATED = (9, 10, 12, 13, 16)


def unzigzag(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def read_histogram(data: bytes) -> tuple[int, NativeHistogram | str, int]:
    """(ms, the histogram or what is wrong with it, ms of its start). Raises WireError."""
    once: dict[int, Any] = {}
    lists: dict[int, list[Any]] = {number: [] for number in (8, 11, *REPEATED)}
    count_field = zero_field = 0
    for number, wire_type, _, content, value in read_fields(data):
        if number not in KINDS:
            continue
        if not (number in REPEATED and wire_type == LENGTH):
            expect(wire_type, KINDS[number])
        if number in (8, 11):
            span = {1: 0, 2: 0}
            for inner, inner_type, _, _, inner_value in read_fields(content):
                if inner in span:
                    expect(inner_type, VARINT)
                    span[inner] = inner_value & 0xFFFFFFFF
            lists[number].append((unzigzag(span[1]), span[2]))
        elif number in REPEATED:
            if KINDS[number] == FIXED64:
                lists[number] += list_of_floats(content)
            else:
                lists[number].append(content)
        else:
            once[number] = content if KINDS[number] == FIXED64 else value
            count_field = number if number in (1, 2) else count_field
            zero_field = number if number in (6, 7) else zero_field
    floats = count_field == 2
    deltas = {} if floats else {number: list_of_varints(lists[number]) for number in (9, 12)}
    number = once.get(14, 0)
    sums = float_of(once.get(3, bytes(8)))
    if floats:
        counts = {"count": float_of(once[2]), "zero_count": float_of(once[7]) if zero_field == 7 else 0.0}
        positive, negative = lists[13], lists[10]
    else:
        counts = {"count": once.get(1, 0), "zero_count": once.get(6, 0) if zero_field == 6 else 0}
        positive, negative = absolute(deltas[12]), absolute(deltas[9])
    found = NativeHistogram(
        unzigzag(once.get(4, 0) & 0xFFFFFFFF), sums, zero_threshold=float_of(once.get(5, bytes(8))),
        positive_spans=tuple(lists[11]), negative_spans=tuple(lists[8]), positive=tuple(positive),
        negative=tuple(negative), custom_values=tuple(lists[16]), floats=floats,
        hint=ResetHint(number if number <= 3 else 0), **counts)
    return signed(once.get(15, 0)), problem(found) or found, signed(once.get(17, 0))


def float_of(data: bytes) -> float:
    return float(struct.unpack("<d", data)[0])


def list_of_floats(data: bytes) -> list[float]:
    if len(data) % 8:
        raise WireError("truncated")
    return [value for [value] in struct.iter_unpack("<d", data)]


def list_of_varints(packs: list[bytes]) -> list[int]:
    found = []
    for pack in packs:
        at = 0
        while at < len(pack):
            value, at = read_varint(pack, at)
            found.append(unzigzag(value))
    return found


def absolute(deltas: list[int]) -> list[int]:
    """As Go adds i64, which may overflow."""
    found, last = [], 0
    for delta in deltas:
        last = signed(last + delta)
        found.append(last)
    return found


def problem(one: NativeHistogram) -> str:
    """The first thing wrong, as model/histogram's Validate says it; empty if nothing."""
    custom = one.schema == -53
    if not custom and not -4 <= one.schema <= 8:
        return (f"schema {one.schema}: histogram has an invalid schema, which must be between -4 and 8 for exponential "
                "buckets, or -53 for custom buckets")
    if custom:
        for before, bound in zip((-math.inf, *one.custom_values), one.custom_values, strict=False):
            if math.isnan(bound):
                return "custom buckets: histogram custom bounds must not be NaN"
            if bound <= before and before != -math.inf:
                return (f"custom buckets: previous bound is {before:f} and current is {bound:f}: histogram custom "
                        "bounds must be in strictly increasing order")
        if one.custom_values and one.custom_values[-1] == math.inf:
            return ("custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be "
                    "finite")
    sides = [("positive side", one.positive_spans, one.positive), ("negative side", one.negative_spans, one.negative)]
    for side, spans, buckets in sides[:1] if custom else sides:
        side = "custom buckets" if custom else side
        for number, (offset, _) in enumerate(spans, 1):
            if offset < 0 and (number > 1 or custom):
                return (f"{side}: span number {number} with offset {offset}: histogram has a span whose offset is "
                        "negative")
        needed = sum(length for _, length in spans)
        if needed != len(buckets):
            return (f"{side}: spans need {needed} buckets, have {len(buckets)} buckets: histogram spans specify "
                    "different number of buckets than provided")
        total = sum(offset + length for offset, length in spans)
        if custom and len(one.custom_values) + 1 < total:
            return (f"custom buckets: only {len(one.custom_values)} custom bounds defined which is insufficient to "
                    f"cover total span length of {total}: histogram custom bounds are too few")
    if custom and one.zero_count != 0:
        return "custom buckets: must have zero count of 0"
    if custom and one.zero_threshold != 0:
        return "custom buckets: must have zero threshold of 0"
    if custom and one.negative_spans:
        return "custom buckets: must not have negative spans"
    if custom and one.negative:
        return "custom buckets: must not have negative buckets"
    for side, _, buckets in reversed(sides):
        for number, count in enumerate(buckets, 1):
            if count < 0:
                text = f"{count:g}" if one.floats else count
                return (f"{side}: bucket number {number} has observation count of {text}: histogram has a bucket whose "
                        "observation count is negative")
        if side == "negative side" and one.custom_values and not custom:
            return "histogram with exponential schema must not have custom bounds"
    if one.floats:
        if one.count < 0:
            return f"observation count is {one.count:g}: histogram's observation count is negative"
        if one.zero_count < 0:
            return (f"zero bucket has observation count of {one.zero_count:g}: histogram has a bucket whose "
                    "observation count is negative")
        return ""
    found = sum(map(int, (*one.positive, *one.negative, one.zero_count))) & (1 << 64) - 1
    fits = found <= one.count if math.isnan(one.sum) else found == one.count
    should = "be at least" if math.isnan(one.sum) else "equal"
    absent = "" if math.isnan(one.sum) else " (in absence of NaN)"
    return "" if fits else (
        f"{found} observations found in buckets, but the Count field is {one.count}: histogram's observation count "
        f"should {should} the number of observations found in the buckets{absent}")
