"""Samples that make PromQL's life hard: gaps, jitter, counter resets, stale markers, NaN, infinities, buckets that are
not monotonic, series that come and go. Only `random.Random` decides."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from random import Random

from tsdb.model.batch import STALE_NAN
from tsdb.testing.memory_storage import Labels, labels_of

STALE = struct.unpack("<d", STALE_NAN.to_bytes(8, "little"))[0]
STEP_S = 15
WINDOW_S = 1200
"""A data set's samples lie within so many seconds."""

JOBS = ("api", "db")
INSTANCES = ("a:80", "b:80", "c:80")
BOUNDS = ("0.1", "0.5", "1", "5", "+Inf")

METRICS: Mapping[str, tuple[frozenset[str], str]] = {
    "requests_total": (frozenset(("job", "instance", "code")), "counter"),
    "errors_total": (frozenset(("job", "instance")), "counter"),
    "temperature": (frozenset(("job", "instance")), "gauge"),
    "load": (frozenset(("job", "instance", "mode")), "gauge"),
    "queue": (frozenset(("job",)), "gauge"),
    "up": (frozenset(("job", "instance")), "gauge"),
    "latency_bucket": (frozenset(("job", "instance", "le")), "bucket"),
    "latency_count": (frozenset(("job", "instance")), "counter"),
    "latency_sum": (frozenset(("job", "instance")), "counter"),
    "build_info": (frozenset(("job", "instance", "version")), "info"),
    "target_info": (frozenset(("job", "instance", "region")), "info"),
}
"""Labels besides the name, and what kind of values there are."""

Samples = dict[Labels, list[tuple[int, float]]]
"""Times in ms."""


def label_sets() -> list[Labels]:
    """Of all series that a data set may have, sorted."""
    more = {"code": ("200", "404", "500"), "mode": ("idle", "user"), "le": BOUNDS}
    found: list[Labels] = []
    for name, (labels, _) in METRICS.items():
        rows: list[dict[str, str]] = [{"__name__": name, "job": job} for job in JOBS]
        if "instance" in labels:
            rows = [{**row, "instance": instance} for row in rows for instance in INSTANCES]
        for label in labels & more.keys():
            rows = [{**row, label: value} for row in rows for value in more[label]]
        if "version" in labels:
            rows = [{**row, "version": "2" if row["instance"] == "c:80" else "1"} for row in rows]
        if "region" in labels:
            rows = [{**row, "region": "eu" if row["job"] == "api" else "us"} for row in rows]
        found += map(labels_of, rows)
    return sorted(found)


def samples(random: Random, begin_s: int) -> Samples:
    """A data set: times from `begin_s` (s since the epoch) on. Most series have samples nearly all the time."""
    found: Samples = {}
    buckets: dict[tuple[str, str], list[list[float]]] = {}
    for labels in label_sets():
        name, kind = dict(labels)["__name__"], METRICS[dict(labels)["__name__"]][1]
        times = list(_times(random, begin_s))
        if random.random() < 0.04:
            continue
        if kind == "bucket":
            key = dict(labels)["job"], dict(labels)["instance"]
            rows = buckets.setdefault(key, _histogram(random, WINDOW_S // STEP_S + 1))
            values = rows[BOUNDS.index(dict(labels)["le"])]
        elif kind == "info":
            values = [1.0] * len(times)
        elif kind == "counter":
            values = list(_counter(random, len(times)))
        else:
            values = list(_gauge(random, name, len(times)))
        column = [(at, value) for at, value in zip(times, values, strict=False) if at >= 0]
        found[labels] = _with_gaps(random, column)
    return found


def _times(random: Random, begin_s: int) -> Iterator[int]:
    jitter = random.choice((0, 0, 5, 400, 3000))
    offset = random.choice((0, 0, 0, 1234, 7001))
    for step in range(WINDOW_S // STEP_S + 1):
        yield (begin_s + step * STEP_S) * 1000 + offset + (random.randint(0, jitter) if jitter else 0)


def _counter(random: Random, count: int) -> Iterator[float]:
    value, rate = float(random.randint(0, 50)), random.choice((0.25, 1, 3, 10, 100))
    for _ in range(count):
        if random.random() < 0.02:
            value = float(random.randint(0, 3))
        yield value
        value += rate * random.randint(0, 4)


def _gauge(random: Random, name: str, count: int) -> Iterator[float]:
    if name == "up":
        yield from (0.0 if random.random() < 0.1 else 1.0 for _ in range(count))
        return
    odd = random.random() < 0.15
    value = float(random.randint(-20, 40))
    for _ in range(count):
        value += random.randint(-8, 8) / 8
        yield random.choice((math.nan, math.inf, -math.inf, -0.0)) if odd and random.random() < 0.05 else value


def _histogram(random: Random, count: int) -> list[list[float]]:
    """Cumulative counts by bound, then by step; now and then one that is not monotonic."""
    totals, rows = [0.0] * len(BOUNDS), [list[float]() for _ in BOUNDS]
    for _ in range(count):
        if random.random() < 0.01:
            totals = [0.0] * len(BOUNDS)
        for bound in range(len(BOUNDS)):
            totals[bound] += random.randint(0, 5)
        cumulated = 0.0
        for bound, total in enumerate(totals):
            cumulated += total
            rows[bound].append(cumulated - 3 if random.random() < 0.01 and cumulated > 3 else cumulated)
    return rows


def _with_gaps(random: Random, column: list[tuple[int, float]]) -> list[tuple[int, float]]:
    first = random.randint(0, 20) if random.random() < 0.1 else 0
    last = len(column) - (random.randint(0, 20) if random.random() < 0.1 else 0)
    out, missing = [], 0
    for at, value in column[first:last]:
        if missing:
            missing -= 1
        elif random.random() < 0.015:
            missing = random.choice((1, 2, 3, 12, 24))
            if random.random() < 0.6:
                out.append((at, STALE))
        else:
            out.append((at, value))
    return out
