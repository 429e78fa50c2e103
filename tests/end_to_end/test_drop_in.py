"""One prometheus.yml in the real server and in ours: same series, labels, staleness, reports, errors, requests."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours import Request
from tests.end_to_end.drop_in import INTERVAL, STEP, Record, Side, run
from tests.end_to_end.timelines import Labels, Timeline, difference, timelines
from tests.processes import TSDB

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]

FOLLOWS_DISCOVERY = {"files", "born", "removed", "rules-change", "interval-changes"}
"""Jobs that change when discovery or a reload gets through to the scraper, which takes Prometheus up to 5 s."""

REPORTS = ("scrape_samples_scraped", "scrape_samples_post_metric_relabeling", "scrape_series_added",
           "scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")


DIFFERENT = [
    ("breaks", {"job": "moving"}, "a failed scrape ends all of a target's series; Prometheus leaves out those that it "
                                  "read before what made the scrape fail, a line or the sample over the limit"),
    ("grows", {"job": "limit-samples"}, "the same"),
    ("", {"job": "interval-changes"}, "a target with a new interval is a new one: whether the markers of the old one "
                                      "come before the first scrape of the new one is chance, in Prometheus too"),
    ("scrape_series_added", {"case": "old-times"}, "series whose only sample is refused count once as added"),
    ("scrape_series_added", {"case": "future-times"}, "the same"),
    ("scrape_series_added", {"case": "going-back"}, "the same"),
]
"""Series that may differ: name (or all), some labels, why."""


def argv_of(program: str | Path, config: Path) -> Callable[[int, Path], list[str | Path]]:
    return lambda port, data: [
        program, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle", "--enable-feature=extra-scrape-metrics", "--log.level=warn",
    ]


@pytest.fixture(scope="module")
def record(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Record:
    """On a busy machine a scrape takes longer than its timeout now and then, on one side: it is all done again, three
    times at most. What is really different is so each time."""
    for _ in range(3):
        folder = tmp_path_factory.mktemp("drop-in")
        file = folder / "prometheus.yml"
        theirs, ours = (Side(name, argv_of(program, file), folder)
                        for name, program in (("prometheus", peer("prometheus")), ("tsdb", TSDB)))
        found = run(theirs, ours, folder)
        if not series_differences(found, lambda name: True) and not gaps(found):
            break
    return found


def series_differences(record: Record, names: Callable[[str], bool]) -> list[str]:
    """Where the timelines of series whose name passes differ."""

    def constant(labels: Labels) -> bool:
        return dict(labels)["__name__"] != "scrape_duration_seconds"

    # A scrape that is on its way when Prometheus stops counts as failed there: by chance, and no example to follow.
    stopped = record.moments["stop"] - INTERVAL, record.theirs.started
    theirs = timelines(record.theirs.rows, record.begin, record.end, STEP, constant, stopped)
    ours = timelines(record.ours.rows, record.begin, record.end, STEP, constant)
    out = []
    for labels in sorted(theirs.keys() & ours.keys(), key=sorted):
        name, job = dict(labels)["__name__"], dict(labels)["job"]
        meant = any(other in (name, "") and some.items() <= labels for other, some, _ in DIFFERENT)
        if names(name) and not meant:
            mine, timeline = ours[labels], theirs[labels]
            if name in REPORTS and failed_at_the_end(timeline, mine, record.moments["stop"]):
                timeline = timeline[:-1]
            found = difference(timeline, mine, tolerance_of(record, job))
            out += [f"{text(labels)}: {found}"] if found else []
    return out


def failed_at_the_end(theirs: Timeline, ours: Timeline, stop: float) -> bool:
    """Whether Prometheus, just begun again on a busy machine, missed the last scrape: by chance, too."""
    return (len(theirs) == len(ours) + 1 and theirs[-1].value == "0" and theirs[-1].begin >= stop
            and [run.value for run in theirs[:-1]] == [run.value for run in ours])


def tolerance_of(record: Record, job: str) -> Callable[[float], float]:
    """A change is seen at the next scrape, which each server has at another time."""
    usual = INTERVAL + 3 * STEP

    def at(time: float) -> float:
        if time >= record.moments["stop"]:
            return record.end - record.moments["stop"]
        return 6 + usual if job in FOLLOWS_DISCOVERY else usual

    return at


def text(labels: Iterable[tuple[str, str]]) -> str:
    named = dict(labels)
    return named.pop("__name__", "") + json.dumps(named, sort_keys=True, ensure_ascii=False)


def assert_none(differences: list[str]) -> None:
    assert not differences, f"{len(differences)} differences:\n" + "\n".join(differences[:40])


def test_same_series(record: Record) -> None:
    """By /api/v1/series, but for series that Prometheus made for a scrape which then failed: they have no samples."""
    filled = {text(row["metric"].items()) for row in record.theirs.samples}
    theirs, ours = (Counter(text(labels.items()) for labels in side.series) for side in record.both)
    theirs = Counter({one: count for one, count in theirs.items() if one in filled})
    assert len(theirs) > 300
    assert_none([f"only Prometheus has {one}" for one in theirs - ours]
                + [f"only we have {one}" for one in ours - theirs])


def test_same_series_over_time(record: Record) -> None:
    theirs, ours = ({frozenset(row["metric"].items()) for row in side.rows} for side in record.both)
    assert_none([f"only Prometheus answers {text(one)}" for one in theirs - ours]
                + [f"only we answer {text(one)}" for one in ours - theirs])


def test_up(record: Record) -> None:
    assert_none(series_differences(record, lambda name: name == "up"))


def test_reports_of_scrapes(record: Record) -> None:
    assert_none(series_differences(record, lambda name: name in REPORTS or name == "scrape_duration_seconds"))


def test_values_and_staleness(record: Record) -> None:
    assert_none(series_differences(record, lambda name: name != "up" and not name.startswith("scrape_")))


def gaps(record: Record) -> list[str]:
    """Series of ours that were there when the servers stopped, and are at the end, but not always meanwhile."""
    rows = timelines(record.ours.rows, record.begin, record.end, STEP, lambda labels: False)
    stop = record.moments["stop"]

    def gap(timeline: Timeline) -> bool:
        before = [run for run in timeline if run.begin < stop]
        after = [run for run in timeline if run.begin >= stop]
        return bool(before) and before[-1].value is not None and len(after) > 1

    return [text(labels) for labels, timeline in rows.items() if gap(timeline)]


def test_a_restart_leaves_no_gap(record: Record) -> None:
    assert_none(gaps(record))


@pytest.mark.parametrize("moment", ["steady", "end"])
def test_targets(record: Record, moment: str) -> None:
    """/api/v1/targets: which, under which labels, from where, and how they are."""
    theirs, ours = (described(side, moment) for side in record.both)
    out = [f"only Prometheus has {one}" for one in theirs.keys() - ours.keys()]
    out += [f"only we have {one}" for one in ours.keys() - theirs.keys()]
    out += [f"{one}: Prometheus {theirs[one]}, we {ours[one]}" for one in theirs if theirs[one] != ours.get(one)]
    assert_none(out)


def described(side: Side, moment: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for target in side.targets[moment]["activeTargets"]:
        keys = ("labels", "discoveredLabels", "scrapeUrl", "globalUrl", "health", "scrapeInterval", "scrapeTimeout")
        what = {key: target[key] for key in keys}
        found[key_of(target)] = {**what, "lastError": bool(target["lastError"])}
    dropped = side.targets[moment]["droppedTargets"]
    labels = sorted(json.dumps(target["discoveredLabels"], sort_keys=True) for target in dropped)
    return {**found, "dropped": labels, "counts": side.targets[moment]["droppedTargetCounts"]}


def key_of(target: dict[str, Any]) -> str:
    return f"{target['scrapePool']} {json.dumps(target['labels'], sort_keys=True)}"


GO_NETWORK = ("Get \"", "gzip: ", "flate: ", "unexpected EOF", "context deadline exceeded")
"""How errors begin that Go's own HTTP client and decompressor word."""
PARSER = re.compile(r"while parsing|invalid UTF-8")


def test_last_errors(record: Record) -> None:
    """In Prometheus' words, after the number of the line, where these are no Go library's. Of a line that cannot be
    parsed, number and text."""
    theirs, ours = ({key_of(target): target["lastError"] for target in side.targets["steady"]["activeTargets"]}
                    for side in record.both)
    out = []
    for key, error in theirs.items():
        own = ours.get(key, "")
        if error.startswith(GO_NETWORK):
            right = bool(own)
        elif PARSER.search(error):
            right = bool(re.match(r"line \d+: .+ while parsing: '.+'$", own))
        else:
            right = error in own and bool(error) == bool(own)
        out += [] if right else [f"{key}:\n    Prometheus {error}\n    we         {own}"]
    assert_none(out)


def test_requests(record: Record) -> None:
    """What targets see: paths and parameters, Accept, Accept-Encoding, the timeout, credentials. All but User-Agent,
    and the Referer that Go's client adds where it is redirected."""
    theirs, ours = ({asked(request): request for request in side.requests} for side in record.both)
    assert len(theirs) > 50
    out = [f"only Prometheus asks {one}" for one in sorted(theirs.keys() - ours.keys())]
    out += [f"only we ask {one}" for one in sorted(ours.keys() - theirs.keys())]
    assert_none(out)


def asked(request: Request) -> str:
    headers = {name: value for name, value in request.headers.items() if name not in ("user-agent", "referer")}
    return f"{request.method} {request.target} {json.dumps(headers, sort_keys=True, ensure_ascii=False)}"
