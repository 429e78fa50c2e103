"""From discovered labels to a target: Prometheus' rules and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scraper.config import GlobalConfig, ScrapeConfig
from scraper.settings import JobSettings, accept_header
from scraper.target import NoTarget, Target, make_target
from tsdb.ingest.exposition.metric_families import HistogramOptions
from tsdb.model.settings import Bytes, Duration
from tsdb.relabel.config import RelabelConfig
from tsdb.relabel.rules import Relabeling


def settings(base: GlobalConfig | None = None, features: tuple[str, ...] = (), **keys: Any) -> JobSettings:
    made = ScrapeConfig(**{"job_name": "job", "scheme": "https", "scrape_interval": Duration(1000),
                           "scrape_timeout": Duration(1000), **keys})
    return JobSettings.of(base or GlobalConfig(), made, Path("/etc"), frozenset(features))


def made_of(own: dict[str, str], group: dict[str, str] | None = None, **keys: Any) -> Target | dict[str, str]:
    job = settings(**keys)
    return make_target(job, Relabeling(job.config.relabel_configs), own, group or {})


DISCOVERED = {"job": "job", "__scheme__": "https", "__metrics_path__": "/metrics", "__scrape_interval__": "1s",
              "__scrape_timeout__": "1s"}
A = {"__address__": "1.2.3.4:1000"}


@pytest.mark.parametrize(
    ("own", "group", "keys", "discovered", "labels", "url"),
    [
        (A, {}, {}, A, {"instance": "1.2.3.4:1000", "job": "job"}, "https://1.2.3.4:1000/metrics"),
        # a target's own labels win over its group's, both over the job's
        ({**A, "a": "own"}, {"a": "group", "b": "group", "job": "mine"}, {},
         {**A, "a": "own", "b": "group", "job": "mine"},
         {"instance": "1.2.3.4:1000", "a": "own", "b": "group", "job": "mine"}, "https://1.2.3.4:1000/metrics"),
        # an empty own label takes the group's away
        ({**A, "a": ""}, {"a": "group"}, {}, A, {"instance": "1.2.3.4:1000", "job": "job"}, "https://1.2.3.4:1000/metrics"),
        # no default port is added, and none is taken away
        ({"__address__": "host"}, {}, {"scheme": "http"}, {"__address__": "host", "__scheme__": "http"},
         {"instance": "host", "job": "job"}, "http://host/metrics"),
        ({"__address__": "[::1]:443"}, {}, {}, {"__address__": "[::1]:443"}, {"instance": "[::1]:443", "job": "job"},
         "https://[::1]:443/metrics"),
        # labels steer the scrape; hidden ones and those of discovery are not given to series
        ({**A, "__scheme__": "http", "__metrics_path__": "custom", "__meta_x": "y", "__tmp": "z", "instance": "i"},
         {}, {},
         {**A, "__scheme__": "http", "__metrics_path__": "custom", "__meta_x": "y", "__tmp": "z", "instance": "i"},
         {"instance": "i", "job": "job"}, "http://1.2.3.4:1000/custom"),
        # parameters: sorted, a label replaces the first value
        ({**A, "__param_q": "w", "__param_n": "v"}, {}, {"params": {"q": ("a", "b"), "z": ("x y",), "none": ()}},
         {**A, "__param_q": "w", "__param_n": "v", "__param_z": "x y"},
         {"instance": "1.2.3.4:1000", "job": "job"}, "https://1.2.3.4:1000/metrics?n=v&q=w&q=b&z=x+y"),
        (A, {}, {"metrics_path": "/metrics?x=1 ü~"}, {**A, "__metrics_path__": "/metrics?x=1 ü~"},
         {"instance": "1.2.3.4:1000", "job": "job"}, "https://1.2.3.4:1000/metrics%3Fx=1%20%C3%BC~"),
        # relabeling may make the address
        ({"custom": "host:1234"}, {},
         {"relabel_configs": (RelabelConfig(source_labels=("custom",), target_label="__address__"),)},
         {"custom": "host:1234"}, {"custom": "host:1234", "instance": "host:1234", "job": "job"},
         "https://host:1234/metrics"),
    ],
)
def test_targets(own: dict[str, str], group: dict[str, str], keys: dict[str, Any], discovered: dict[str, str],
                 labels: dict[str, str], url: str) -> None:
    target = made_of(own, group, **keys)
    assert isinstance(target, Target)
    assert target.discovered == {**DISCOVERED, **discovered}
    assert (target.labels, target.url) == (labels, url)


def test_interval_and_timeout_come_from_labels() -> None:
    target = made_of({**A, "__scrape_interval__": "1m30s", "__scrape_timeout__": "2500ms"})
    assert isinstance(target, Target)
    assert (target.interval_ms, target.timeout_ms) == (90_000, 2500)


@pytest.mark.parametrize(
    ("own", "error"),
    [
        ({"custom": "value"}, "no address"),
        ({"__address__": "http://host:1/metrics"}, '"http://host:1/metrics" is not a valid hostname'),
        ({**A, "custom": "\udcbd"}, 'invalid label value for "custom": '),
        ({**A, "__scrape_interval__": "2notseconds"}, "error parsing scrape interval: not a valid duration string: "),
        ({**A, "__scrape_timeout__": "2notseconds"}, "error parsing scrape timeout: not a valid duration string: "),
        ({**A, "__scrape_interval__": "0s"}, "scrape interval cannot be 0"),
        ({**A, "__scrape_timeout__": "0s"}, "scrape timeout cannot be 0"),
        ({**A, "__scrape_timeout__": "2s"}, 'scrape timeout cannot be greater than scrape interval ("2s" > "1s")'),
    ],
)
def test_labels_that_make_no_target(own: dict[str, str], error: str) -> None:
    with pytest.raises(NoTarget) as caught:
        made_of(own)
    assert str(caught.value).startswith(error)


def test_interval_that_relabeling_took_away() -> None:
    with pytest.raises(NoTarget, match="error parsing scrape interval: empty duration string"):
        made_of(A, relabel_configs=(RelabelConfig(action="labeldrop", regex="__scrape_interval__"),))


def test_a_target_that_relabeling_drops_is_its_discovered_labels() -> None:
    rule = RelabelConfig(source_labels=("a",), regex="x", action="drop")
    assert made_of({**A, "a": "x"}, relabel_configs=(rule,)) == {**DISCOVERED, **A, "a": "x"}


def test_identity_is_url_and_labels() -> None:
    def identity(**changes: Any) -> bytes:
        target = made_of({**A, **changes.pop("own", {})}, **changes)
        assert isinstance(target, Target)
        return target.identity

    first = identity()
    assert first == identity() == identity(own={"__meta_found": "at another time"})
    others = [identity(own={"a": "b"}), identity(own={"__tmp": "b"}), identity(scheme="http"),
              identity(scrape_interval=Duration(2000)), identity(params={"a": ("b", "c")})]
    assert len({first, *others}) == 6


def test_offsets_are_spread_and_stay() -> None:
    def offsets(seed: bytes) -> list[int]:
        targets = [made_of({"__address__": f"host{number}"}) for number in range(400)]
        return [target.offset_ms(seed) for target in targets if isinstance(target, Target)]

    first = offsets(b"one server")
    assert first == offsets(b"one server") != offsets(b"another")
    assert all(0 <= offset < 1000 for offset in first)
    assert all(20 <= sum(low <= offset < low + 100 for offset in first) <= 65 for low in range(0, 1000, 100))
    assert all(offset % 20 == 0 for offset in first), "scrapes share moments"


def test_accept_header() -> None:
    """What the real Prometheus sent."""
    assert settings().accept == (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )
    protocols = "PrometheusProto", "PrometheusText1.0.0"
    proto = settings(scrape_protocols=protocols, metric_name_validation_scheme="legacy")
    assert proto.accept == (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
        "text/plain;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.4"
    )
    assert accept_header((), "dots") == "*/*;q=0.6"


@pytest.mark.parametrize(("base", "job", "features", "native", "first"), [
    ({}, {}, (), False, "application/openmetrics-text"),
    ({}, {"scrape_native_histograms": True}, (), True, "application/vnd.google.protobuf"),
    ({"scrape_native_histograms": True}, {}, (), True, "application/vnd.google.protobuf"),
    ({"scrape_native_histograms": True}, {"scrape_native_histograms": False}, (), False,
     "application/openmetrics-text"),
    ({}, {}, ("native-histograms",), True, "application/vnd.google.protobuf"),
    ({}, {"scrape_native_histograms": False}, ("native-histograms",), False, "application/openmetrics-text"),
    ({}, {"scrape_native_histograms": True, "scrape_protocols": ("PrometheusText0.0.4",)}, (), True, "text/plain"),
    ({"scrape_protocols": ("PrometheusText0.0.4",)}, {}, ("native-histograms",), True, "text/plain"),
])
def test_native_histograms_are_asked_for(base: dict[str, Any], job: dict[str, Any], features: tuple[str, ...],
                                         native: bool, first: str) -> None:
    made = settings(GlobalConfig(**base), **job, features=features)
    assert made.histograms.native == native
    assert made.accept.partition(";")[0] == first


def test_limits_of_native_histograms() -> None:
    made = settings(native_histogram_bucket_limit=7, native_histogram_min_bucket_factor=1.5,
                    always_scrape_classic_histograms=True).histograms
    assert made == HistogramOptions(classic=True, bucket_limit=7, min_bucket_factor=1.5)


def test_where_a_job_is_silent_the_global_section_speaks() -> None:
    base = GlobalConfig(body_size_limit=Bytes(10), sample_limit=11, scrape_protocols=("PrometheusText0.0.4",),
                        metric_name_escaping_scheme="dots", scrape_failure_log_file="f.log", extra_scrape_metrics=True)
    job = settings(base)
    assert (job.body_size_limit, job.sample_limit, job.accept) == (10, 11, "text/plain;version=0.0.4;q=0.6,*/*;q=0.5")
    assert (job.extra_metrics, job.failure_log) == (True, Path("/etc/f.log"))
    own = settings(base, body_size_limit=Bytes(1), sample_limit=0, extra_scrape_metrics=False,
                   scrape_failure_log_file="/a")
    assert (own.body_size_limit, own.sample_limit, own.extra_metrics, own.failure_log) == (1, 11, False, Path("/a"))
    assert settings(features=("extra-scrape-metrics",)).extra_metrics
