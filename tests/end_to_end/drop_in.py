"""One prometheus.yml, two servers, the same targets: what happens, and what is remembered of it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.behaviours import Answer, Request, closes_silently
from tests.client import Client
from tests.processes import Process, free_port, wait_until
from tests.targets import Listener, TargetServer

INTERVAL = 1.0
"""Seconds between two scrapes of a target."""

GOOD = ("text", "openmetrics", "protobuf", "gzip", "chunked", "closes", "closes-silently", "empty", "no-newline",
        "own-times", "old-times", "future-times", "going-back", "duplicates", "redirect")
BAD = ("hang", "hang-in-body", "drip", "cut", "cut-chunked", "reset", "no-http", "404", "500", "wrong-type", "odd-type",
       "no-type", "100-mb", "gzip-bomb", "broken-gzip", "no-gzip", "redirect-loop", "redirect-nowhere", "invalid-utf8",
       "broken-line", "broken-value", "no-eof")
APP = """\
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{path="/a",code="200",tmp_build="7"} 10
http_requests_total{path="/b",code="500"} 3
# TYPE go_goroutines gauge
go_goroutines 5
internal_secret 1
Shouting{Env="Prod",zone="EU"} 1
sharded{id="17"} 1
sharded{id="18"} 1
equal{a="x",b="x"} 1
equal{a="x",b="y"} 1
"""
NAMED = """\
claims{job="other",instance="elsewhere:1"} 1
claims{job="other",exported_job="third"} 2
claims{job=""} 3
up{instance="fake"} 7
"""
MOVING = "stays 1\ncomes_and_goes 1\nvalue 1\n"
MOVED = "stays 1\nis_new 1\nvalue 2\n"


def own_time(text: str) -> Callable[[], str]:
    """The body, where @ stands for a moment ago."""
    return lambda: text.replace("@", str(round(time.time() * 1000) - 100))


BEFORE = {
    "/app": Answer(APP),
    "/named": Answer(NAMED),
    "/moving": Answer(MOVING),
    "/sometimes": Answer("sometimes 1\n"),
    "/breaks": Answer("breaks 1\nwhole 1\n"),
    "/becomes-openmetrics": Answer("stays 1\n"),
    "/timed": Answer(own_time("timed 1 @\nuntimed 1\n")),
    "/grows": Answer("grows{i=\"1\"} 1\n"),
    "/kept": closes_silently,
}
"""What the paths of the story answer at its beginning."""

DURING = {
    "/moving": Answer(MOVED),
    "/sometimes": Answer("no\n", status=500),
    "/breaks": Answer("breaks 1\nwhole 1 1 1 1\n"),
    "/becomes-openmetrics": Answer("# TYPE stays gauge\nstays 1\n# EOF\n", "application/openmetrics-text"),
    "/timed": Answer("stays 1\n"),
    "/grows": Answer("".join(f'grows{{i="{i}"}} 1\n' for i in range(9))),
}
"""What changes in its middle."""


def config(targets: TargetServer, lossy: Listener, refused: Listener, authority: Path, later: bool) -> dict[str, Any]:
    """The prometheus.yml; `later`: after the reload."""
    here = targets.address

    def at(*names: str, address: str = here) -> list[dict[str, Any]]:
        return [{"targets": [address], "labels": {"case": n, "__metrics_path__": f"/{n}"}} for n in names]

    def job(name: str, *names: str, address: str = here, **more: Any) -> dict[str, Any]:
        return {"job_name": name, "static_configs": at(*names, address=address), **more}

    jobs = [
        job("good", *GOOD),
        {**job("bad", *BAD, scrape_timeout="500ms", body_size_limit="1MB")},
        job("refused", "text", address=refused.address),
        job("tls-untrusted", "text", address=targets.tls_address, scheme="https"),
        job("tls", "text", address=targets.tls_address, scheme="https", tls_config={"ca_file": str(authority)}),
        job("tls-any", "text", address=targets.tls_address, scheme="https", tls_config={"insecure_skip_verify": True}),
        job("relabeled", "app", relabel_configs=TARGET_RULES, metric_relabel_configs=SERIES_RULES),
        {"job_name": "dropped", "relabel_configs": [
            {"source_labels": ["case"], "regex": "a.*", "action": "drop"},
            {"source_labels": ["__address__", "case"], "separator": "@", "regex": ".*@(k.*)", "action": "keep"},
        ], "static_configs": at("app", "kept", "named")},
        job("honor", "named", honor_labels=True),
        job("no-honor", "named"),
        job("no-timestamps", "timed", "old-times", "future-times", honor_timestamps=False),
        job("timestamps", "timed"),
        job("tracked", "timed", track_timestamps_staleness=True),
        job("limit-samples", "app", "moving", "grows", sample_limit=4),
        job("limit-samples-relabeled", "app", sample_limit=4,
            metric_relabel_configs=[{"source_labels": ["__name__"], "regex": "http.*", "action": "keep"}]),
        job("limit-labels", "app", "moving", label_limit=4),
        job("limit-names", "app", "moving", label_name_length_limit=8),
        job("limit-values", "app", "moving", label_value_length_limit=20),
        job("limit-targets", "app", "moving", "text", target_limit=2),
        job("fallback", "no-type", "wrong-type", "odd-type", fallback_scrape_protocol="PrometheusText0.0.4"),
        job("no-redirects", "redirect", follow_redirects=False),
        job("asks-protobuf", "protobuf", scrape_protocols=["PrometheusProto", "PrometheusText0.0.4"]),
        job("plain", "gzip", enable_compression=False, scrape_protocols=["PrometheusText0.0.4"]),
        job("basic", "basic", basic_auth={"username": "me", "password": "p:ss wörd"}),
        job("bearer", "bearer", authorization={"credentials": "t0ken"}),
        job("scheme", "scheme", authorization={"type": "Digest", "credentials": "abc"}),
        job("headers", "headers", http_headers={"X-Scope-OrgID": {"values": ["a", "b"]}}),
        job("params", "params", params={"match[]": ["up", "a b&c"], "z": ["ü"]}, scrape_interval="1s",
            scrape_timeout="750ms"),
        job("moving", "moving", "sometimes", "breaks", "becomes-openmetrics", "grows"),
        job("lossy", "text", address=lossy.address),
        {"job_name": "files", "file_sd_configs": [{"files": ["files/*.json", "files/*.yml"]}], "relabel_configs": [
            {"action": "labelmap", "regex": "__meta_(.+)"},
            {"source_labels": ["__meta_filepath"], "target_label": "file", "regex": ".*/([^/]+)"},
            {"action": "labeldrop", "regex": "filepath"},
        ]},
        job("kept", "kept"),
        job("rules-change", "app", metric_relabel_configs=SERIES_RULES[: 2 if later else 1]),
        job("interval-changes", "text", scrape_interval="2s" if later else "1s"),
        job("born", "app") if later else job("removed", "app"),
    ]
    return {"global": {"scrape_interval": "1s", "scrape_timeout": "1s",
                       "external_labels": {"replica": "a"}}, "scrape_configs": jobs,
            "storage": {"tsdb": {"out_of_order_time_window": "0s"}}}


TARGET_RULES: list[dict[str, Any]] = [
    {"source_labels": ["__address__"], "regex": "(.+):(.+)", "target_label": "host", "replacement": "h-${1}-x"},
    {"source_labels": ["__scheme__", "__metrics_path__"], "separator": "", "target_label": "where"},
    {"source_labels": ["case"], "target_label": "upper", "action": "uppercase"},
    {"source_labels": ["host"], "target_label": "shard", "modulus": 7, "action": "hashmod"},
    {"target_label": "always", "replacement": "yes"},
    {"target_label": "__param_module", "replacement": "http_2xx"},
    {"source_labels": ["__scrape_interval__"], "target_label": "every"},
    {"source_labels": ["case"], "target_label": "instance", "replacement": "renamed-$1"},
    {"regex": "always", "action": "labeldrop"},
]
SERIES_RULES: list[dict[str, Any]] = [
    {"source_labels": ["__name__"], "regex": "internal_.*", "action": "drop"},
    {"source_labels": ["__name__"], "regex": "go_(.*)", "target_label": "__name__", "replacement": "golang_$1"},
    {"action": "labelmap", "regex": "tmp_(.*)"},
    {"action": "labeldrop", "regex": "tmp_.*"},
    {"source_labels": ["Env"], "target_label": "env", "action": "lowercase"},
    {"source_labels": ["id"], "target_label": "bucket", "modulus": 4, "action": "hashmod"},
    {"source_labels": ["a"], "target_label": "b", "action": "dropequal"},
    {"source_labels": ["code"], "regex": "5..", "target_label": "error", "replacement": "true"},
]


def discovered(targets: TargetServer, later: bool) -> dict[str, str]:
    """Files of target groups."""
    here = targets.address
    stays = {"targets": [here], "labels": {"__metrics_path__": "/text", "__meta_zone": "a", "case": "stays"}}
    goes = {"targets": [here], "labels": {"__metrics_path__": "/app", "case": "goes"}}
    comes = {"targets": [here], "labels": {"__metrics_path__": "/app", "case": "comes"}}
    changes = {"targets": [here], "labels": {"__metrics_path__": "/text", "case": "changes",
                                             "version": "2" if later else "1"}}
    first = [stays, comes] if later else [stays, goes]
    return {"first.json": json.dumps(first), "second.yml": yaml.safe_dump([changes])}


@dataclass
class Side:
    """One of the two servers, and what was seen of it."""

    name: str
    argv: Callable[[int, Path], Sequence[str | Path]]
    """Of the port and the data folder."""
    folder: Path
    port: int = field(default_factory=free_port)
    process: Process | None = None
    started: float = 0.0
    targets: dict[str, Any] = field(default_factory=dict)
    """/api/v1/targets by moment."""
    series: list[dict[str, str]] = field(default_factory=list)
    """/api/v1/series at the end."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Range query over everything."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """The samples of everything."""
    requests: list[Request] = field(default_factory=list)
    """What it asked the targets while the other one was away."""

    @property
    def client(self) -> Client:
        return Client(self.port)

    def start(self) -> None:
        self.started = time.time()
        argv = self.argv(self.port, self.folder / self.name)
        self.process = Process(argv, self.folder / f"{self.name}.log", self.port)

    def stop(self) -> None:
        assert self.process is not None
        assert self.process.stop() == 0, self.process.tail()

    def scraped_all(self, targets: int) -> bool:
        """Whether it has that many targets, each scraped since it was started."""
        active = self.client.data("targets")["activeTargets"]
        return len(active) == targets and all(target["health"] != "unknown" for target in active)

    def wait_scraped(self, targets: int, timeout: float) -> None:
        """Until it is ready and `scraped_all`."""
        assert self.process is not None
        self.process.wait_ready()
        try:
            wait_until(lambda: self.scraped_all(targets), "scraped all", timeout, 0.1)
        except AssertionError:
            active = self.client.data("targets")["activeTargets"]
            jobs = Counter(target["scrapePool"] for target in active)
            idle = [target["scrapeUrl"] for target in active if target["health"] == "unknown"]
            raise AssertionError(
                f"{self.name} has {len(active)} of {targets} targets, {dict(jobs)}; never scraped: {idle}\n"
                f"{self.process.tail()}"
            ) from None

    def cases(self, pool: str) -> dict[str, str]:
        """Of a pool's targets, the label `case` with its health."""
        active = self.client.data("targets")["activeTargets"]
        return {t["labels"]["case"] + t["labels"].get("version", ""): t["health"]
                for t in active if t["scrapePool"] == pool}


@dataclass
class Record:
    """What two servers made of the same hour. Times in Unix seconds."""

    theirs: Side
    ours: Side
    begin: float = 0.0
    end: float = 0.0
    moments: dict[str, float] = field(default_factory=dict)


    @property
    def both(self) -> tuple[Side, Side]:
        return self.theirs, self.ours


STEP = 0.25
"""Seconds between the points of the range query that is compared."""


def run(theirs: Side, ours: Side, folder: Path) -> Record:
    """The story: steady, targets change, they change back and the config is reloaded, restart."""
    record = Record(theirs, ours)
    with TargetServer() as targets, ExitStack() as stack:
        lossy, refused = targets.listener(), targets.listener()
        refused.refuse()
        authority = folder / "authority.pem"
        targets.write_authority(authority)
        for name in ("basic", "bearer", "scheme", "headers", "params"):
            targets.behave(f"/{name}", Answer("asked 1\n"))
        behave(targets, BEFORE)

        def configure(later: bool) -> int:
            """Writes the config; the number of targets."""
            document = config(targets, lossy, refused, authority, later)
            (folder / "prometheus.yml").write_text(yaml.safe_dump(document, allow_unicode=True))
            found = [len(job.get("static_configs", ())) for job in document["scrape_configs"]]
            return sum(found) - 2 + 3  # two are dropped, three come from files

        count = configure(later=False)
        write_files(folder, discovered(targets, later=False))
        for side in record.both:
            side.start()
            assert side.process is not None
            stack.callback(side.process.kill)
        for side in record.both:
            side.wait_scraped(count, timeout=30)
        record.begin = time.time() + 1.5 * INTERVAL
        hold(record, "steady", 4)

        behave(targets, DURING)
        lossy.refuse()
        write_files(folder, discovered(targets, later=True))
        hold(record, "changed", 4)
        files = {"stays": "up", "comes": "up", "changes2": "up"}
        for side in record.both:
            wait_until(lambda s=side: s.cases("files") == files, f"{side.name} follows the files", 20, 0.1)  # type: ignore[misc]
        hold(record, "files changed", 3)

        behave(targets, BEFORE)
        lossy.accept()
        configure(later=True)
        for side in record.both:
            answer = side.client.request("POST", "/-/reload")
            assert answer.status == 200, f"{side.name}: {answer.status} {answer.body!r}"
        hold(record, "reloaded", 3)
        for side in record.both:
            wait_until(lambda s=side: s.cases("born") == {"app": "up"}, f"{side.name} follows the reload", 20, 0.1)  # type: ignore[misc]
        hold(record, "reload seen", 3)
        for side in record.both:
            side.targets["steady"] = side.client.data("targets")

        hold(record, "stop", 0)
        theirs.stop()
        ours.requests = listen(targets)
        ours.stop()
        hold(record, "down", 1)
        for side in record.both:
            side.start()
            assert side.process is not None
            stack.callback(side.process.kill)
        for side in record.both:
            side.wait_scraped(count, timeout=30)
        hold(record, "restarted", 3)
        record.end = time.time() - INTERVAL
        for side in record.both:  # before the large answers, whose reading holds up the targets in this process
            side.targets["end"] = side.client.data("targets")
        for side in record.both:
            everything = {"match[]": '{job=~".+"}', "start": record.begin - 60, "end": record.end}
            side.series = side.client.data("series", everything)
            side.rows = side.client.query_range('{job=~".+"}', record.begin, record.end, STEP)
            side.samples = side.client.query(f'{{job=~".+"}}[{math.ceil(record.end - record.begin) + 60}s]', record.end)
        ours.stop()
        theirs.requests = listen(targets)
        theirs.stop()
    return record


def behave(targets: TargetServer, behaviours: Mapping[str, Any]) -> None:
    for path, behaviour in behaviours.items():
        targets.behave(path, behaviour)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Each appears whole, as careful tools do it."""
    (folder / "files").mkdir(exist_ok=True)
    for name, text in files.items():
        new = folder / f".{name}.new"
        new.write_text(text)
        new.rename(folder / "files" / name)


def hold(record: Record, moment: str, intervals: float) -> None:
    record.moments[moment] = time.time()
    time.sleep(intervals * INTERVAL)


def listen(targets: TargetServer) -> list[Request]:
    """What is asked within a bit more than two intervals."""
    began = time.time() + 0.1
    time.sleep(2.3 * INTERVAL)
    return [request for request in targets.requests() if request.at >= began]
