"""What Grafana's Prometheus data source sends, as its sources (pkg/promlib, packages/grafana-prometheus) have it, and
what it reads in the answers."""

from __future__ import annotations

import gzip
import json
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import pytest

from tests.client import Answer, Client
from tests.server.conftest import Running

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "gzip", "User-Agent": "Grafana/12.2.0"}

Form = Mapping[str, str | list[str]]


@pytest.fixture
def client(running: Running) -> Client:
    now = int(time.time() * 1000)
    times = [now - 600_000 + step * 15_000 for step in range(41)]
    assert running.client.write([
        ({"__name__": "http_requests_total", "job": "api", "code": code}, [(at, float(at % 1000)) for at in times])
        for code in ("200", "500")
    ] + [({"__name__": "up", "job": "api"}, [(at, 1.0) for at in times])]).status == 204
    return running.client


def resource(client: Client, path: str, form: Form | None = None) -> Answer:
    """As the backend calls a resource: POST; where that is not allowed or wrong, GET with the form in the URL."""
    encoded = urllib.parse.urlencode(form or {}, doseq=True)
    answer = client.request("POST", path, encoded.encode(), FORM)
    if answer.status in (405, 400):
        answer = client.request("GET", f"{path}?{encoded}" if encoded else path, headers={"Accept-Encoding": "gzip"})
    return answer


def data(answer: Answer) -> Any:
    assert answer.status == 200, answer
    assert answer.headers["content-type"].startswith("application/json")
    body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
    loaded = json.loads(body)
    assert loaded["status"] == "success"
    return loaded["data"]


def post(client: Client, path: str, form: Form) -> Any:
    return data(client.request("POST", path, urllib.parse.urlencode(form, doseq=True).encode(), FORM))


def test_health_check(client: Client) -> None:
    """"Save & test": 1+1 at the fourth second of 1970."""
    assert post(client, "/api/v1/query", {"query": "1+1", "time": "4"}) == {"resultType": "scalar", "result": [4, "2"]}


def test_heuristics_take_it_for_a_prometheus(client: Client) -> None:
    """Mimir would have `features` in its build information; the version decides what else is asked."""
    assert client.request("POST", "/api/v1/status/buildinfo", b"", FORM).status == 405
    found = data(resource(client, "/api/v1/status/buildinfo"))
    assert "features" not in found
    assert all(isinstance(value, str) for value in found.values())
    major, minor, _ = map(int, found["version"].split("."))
    assert (major, minor) >= (2, 37), "label values with match[] are asked only from 2.24, in forms from 2.37"


def test_queries_of_a_panel(client: Client) -> None:
    now = time.time()
    times = {"start": f"{now - 300:.3f}", "end": f"{now:.3f}"}
    query = 'sum by (code) (rate(http_requests_total{job="api"}[1m]))'
    ranged = post(client, "/api/v1/query_range", {"query": query, "step": "15", **times})
    assert ranged["resultType"] == "matrix"
    assert {row["metric"]["code"] for row in ranged["result"]} == {"200", "500"}
    limited = {"query": query, "step": "15", "timeout": "60s", **times}
    assert post(client, "/api/v1/query_range", limited)["result"] == ranged["result"]
    instant = post(client, "/api/v1/query", {"query": "up", "time": f"{now:.3f}"})
    assert [row["value"][1] for row in instant["result"]] == ["1"]
    assert post(client, "/api/v1/query_exemplars", {"query": query, **times}) == []


def test_the_query_editor(client: Client) -> None:
    """Names, labels and values for the builder and for completion."""
    now = int(time.time())
    times = {"start": str(now - 3600), "end": str(now + 60)}
    metrics = data(resource(client, "/api/v1/label/__name__/values", {**times, "limit": "40000"}))
    assert metrics == ["http_requests_total", "up"]
    of_job = {**times, "match[]": '{job="api",__name__=~".*requests.*"}'}
    assert data(resource(client, "/api/v1/label/__name__/values", of_job)) == ["http_requests_total"]
    assert data(resource(client, "/api/v1/label/code/values", {**times, "match[]": '{__name__="up"}'})) == []
    names = data(resource(client, "/api/v1/labels", {**times, "match[]": '{__name__="http_requests_total"}'}))
    assert names == ["__name__", "code", "job"]
    assert data(resource(client, "/api/v1/labels", {**times, "limit": "40000"})) == ["__name__", "code", "job"]
    series = data(resource(client, "/api/v1/series", {**times, "match[]": ["up", 'http_requests_total{code="200"}']}))
    assert sorted(row["__name__"] for row in series) == ["http_requests_total", "up"]
    assert data(resource(client, "/api/v1/series", {**times, "match[]": '{job=~".+"}'}))


def test_truncated_names_warn(client: Client) -> None:
    answer = resource(client, "/api/v1/labels", {"limit": "1"})
    assert answer.json()["warnings"] == ["results truncated due to limit"]


@pytest.mark.parametrize(
    ("path", "form", "expected"),
    [
        ("/api/v1/metadata", {"limit": "40000"}, {}),
        ("/api/v1/metadata", {"metric": "up"}, {}),
        ("/api/v1/rules", {}, {"groups": []}),
        ("/api/v1/alerts", {}, {"alerts": []}),
        ("/api/v1/alertmanagers", {}, {"activeAlertmanagers": [], "droppedAlertmanagers": []}),
        ("/api/v1/query_exemplars", {"query": "up", "start": "1", "end": "2"}, []),
        ("/api/v1/format_query", {"query": "sum(up)by(job)"}, "sum by (job) (up)"),
    ],
)
def test_what_it_reads_beside(client: Client, path: str, form: Form, expected: object) -> None:
    assert data(resource(client, path, form)) == expected


def test_wrong_queries_say_why(client: Client) -> None:
    body = urllib.parse.urlencode({"query": "rate(up", "time": "4"}).encode()
    answer = client.request("POST", "/api/v1/query", body, FORM)
    assert answer.status == 400
    assert answer.json() == {
        "status": "error", "errorType": "bad_data",
        "error": 'invalid parameter "query": 1:8: parse error: unclosed left parenthesis',
    }
