"""Compares what a server answers, or a directory holds, with the model."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.crash.model import FOREVER, NEVER, STALE, Found, Model, Series, State
from tests.processes import Process
from tests.storage.batches import read
from tsdb.storage.storage import Storage

BLOCK_MS = 7_200_000
NAN = 0x7FF8000000000001
"""Stands for all NaN where an answer is text."""
_pack = struct.Struct("<d").pack
_unpack = struct.Struct("<Q").unpack


class Wrong(AssertionError):
    """The server lost, changed or invented something."""


def is_nan(bits: int) -> bool:
    return bits & 0x7FFFFFFFFFFFFFFF > 0x7FF0000000000000


def as_text(bits: int) -> int:
    """What is left of a value in JSON."""
    return NAN if is_nan(bits) else bits


def by_query(server: Process, selector: str, mint: int, maxt: int) -> Found:
    """Samples with mint < ts <= maxt (ms), by one range selector: without stale markers, NaN as `NAN`."""
    answer = server.client.get("/api/v1/query", {"query": f"{selector}[{maxt - mint}ms]", "time": f"{maxt / 1000:.3f}"})
    if answer.status != 200:
        raise Wrong(f"{selector}: {answer.status} {answer.body[:500]!r}")
    body = orjson.loads(answer.body)
    if body.get("warnings"):
        raise Wrong(f"{selector}: warnings {body['warnings']}")
    found = {}
    for row in body["data"]["result"]:
        labels = frozenset(row["metric"].items())
        if labels in found:
            raise Wrong(f"{selector}: {row['metric']} stands twice in the answer")
        times = [round(ts * 1000) for ts, _ in row["values"]]
        if any(after <= before for before, after in itertools.pairwise(times)):
            raise Wrong(f"{selector}: times of {row['metric']} do not increase")
        values = [NAN if text == "NaN" else _unpack(_pack(float(text)))[0] for _, text in row["values"]]
        found[labels] = dict(zip(times, values, strict=True))
    return found


def by_opening(folder: Path) -> Found:
    """All samples of a directory, bit for bit, stale markers too. The directory is not changed."""
    storage = Storage.open(folder, read_only=True)
    try:
        return {frozenset(labels): dict(samples) for labels, samples in read(storage).items()}
    finally:
        storage.close()


def compare(model: Model, before: State, found: Found, *, shown_as_text: bool, since: int = NEVER,
            until: int = FOREVER, partial: bool = False) -> Mapping[Series, Collection[int]]:
    """Raises Wrong unless `found` has all that was sure `before`, and nothing that was never sent or is gone; samples
    with since < ts <= until (ms) are looked at. What is missing by retention is returned. `partial`: anything may be
    missing."""
    problems: list[str] = []
    missing: dict[Series, list[int]] = {}
    for labels, samples in found.items():
        series = model.series.get(labels)
        if series is None:
            problems.append(f"{sorted(labels)}: never sent")
            continue
        sure = before.get(series, {})
        for ts, value in samples.items():
            expected = sure.get(ts)
            if expected is None:
                expected = model.known(series, ts)
            if expected is None:
                problems.append(f"{series} at {ts}: {value:#x} came back, or was never sent")
            elif value != (as_text(expected) if shown_as_text else expected):
                problems.append(f"{series} at {ts}: {value:#x} instead of {expected:#x}")
    for series, sure in before.items():
        samples = found.get(series.labels, {})
        gone = [
            ts for ts, value in sure.items()
            if ts not in samples and since < ts <= until and not (shown_as_text and value == STALE)
        ]
        if gone and not partial:
            missing[series] = gone
    for series, gone in list(missing.items()):
        bound = max(model.expired, model.newest - series.keep)
        lost = sorted(ts for ts in gone if ts >= bound and series.sure.get(ts) is not None)
        if lost:
            count = len(before[series])
            problems.append(f"{series}: lost {len(lost)} of {count} acknowledged: {lost[:3]} … {lost[-1]} "
                            f"({', '.join(hex(before[series][ts]) for ts in lost[:3])}); the newest sent is "
                            f"{model.newest}, retention up to {bound}")
    problems += _half_ranges(model, before, missing, since)
    if problems:
        raise Wrong(f"{len(problems)} series or samples are wrong:\n  " + "\n  ".join(problems[:20]))
    return missing


def _half_ranges(model: Model, before: State, missing: Mapping[Series, Collection[int]], since: int,
                 ) -> list[str]:
    """Retention drops whole ranges: of what came in order, the oldest up to some time, the same for all series."""
    plain = {series: gone for series, gone in missing.items() if not series.late and series.keep == FOREVER}
    cut = max((max(gone) for gone in plain.values()), default=NEVER)
    if cut == NEVER:
        return []

    def early(ts: int) -> bool:
        return any(border - 1_800_000 <= ts <= border + 600_000 for border in model.early_cuts)

    cut = max((ts for gone in plain.values() for ts in gone if not early(ts)), default=NEVER)
    problems = []
    for series, sure in before.items():
        if series.late or series.keep != FOREVER:
            continue
        gone = set(plain.get(series, ()))
        left = [ts for ts, value in sure.items()
                if since < ts <= cut and ts not in gone and value != STALE and not early(ts)]
        if left:
            problems.append(f"{series}: half of a range is gone: up to {cut} of other series, and here "
                            f"{len(left)} are left, such as {min(left)}")
    return problems


def check_everything(server: Process, model: Model) -> int:
    """After a start, with nothing under way. Returns how many samples were compared. Raises Wrong."""
    model.restarted()
    before = model.state()
    if not before:
        return 0
    until = model.newest + 1000
    since = min(min(sure) for sure in before.values()) - BLOCK_MS
    since = min(since, min((min(s.possible) for s in model.series.values() if s.possible), default=since) - 1)
    found = by_query(server, '{__name__=~"crash_.*"}', since, until)
    missing = compare(model, before, found, shown_as_text=True, since=since, until=until)
    check_labels(server, model, found)
    for series in model.series.values():
        model.settled(series, found.get(series.labels, {}))
        model.dropped(series, list(missing.get(series, ())))
    return sum(len(sure) for sure in before.values())


def check_labels(server: Process, model: Model, found: Found) -> None:
    """The label APIs know every series that has a sample, and no other."""
    listed = {frozenset(each.items()) for each in _data(server, "series", {"match[]": '{__name__=~"crash_.*"}'})}
    problems = [f"{sorted(labels)} has samples and is not listed" for labels in found if labels not in listed]
    problems += [f"{sorted(labels)} is listed, never sent" for labels in listed if labels not in model.series]
    maybe = {series.labels for series in model.series.values() if series.sure or series.possible}
    problems += [f"{sorted(labels)} is listed without a sample" for labels in listed
                 if labels not in found and labels not in maybe]
    names = set(_data(server, "label/__name__/values", {}))
    wanted = {dict(labels)["__name__"] for labels in listed}
    if names != wanted:
        problems.append(f"names of label values and of series differ: {sorted(names ^ wanted)}")
    jobs = set(_data(server, "label/job/values", {"match[]": '{__name__=~"crash_.*"}'}))
    if jobs != {dict(labels)["job"] for labels in listed}:
        problems.append(f"jobs of label values and of series differ: {sorted(jobs)}")
    if problems:
        raise Wrong(f"label APIs: {len(problems)} differences:\n  " + "\n  ".join(problems[:20]))


def _data(server: Process, path: str, parameters: Mapping[str, Any]) -> Any:
    answer = server.client.get("/api/v1/" + path, {"start": "-9000000000", "end": "9000000000", **parameters})
    if answer.status != 200:
        raise Wrong(f"{path}: {answer.status} {answer.body[:500]!r}")
    return orjson.loads(answer.body)["data"]
