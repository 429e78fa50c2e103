"""Exemplars in a running server: metrics, a reload that changes how many are kept, a stop and a start."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.client import REMOTE_WRITE_HEADERS, Client
from tests.conftest import StartTsdb
from tests.ingest.messages import V1
from tests.ingest.sender import compress
from tests.server.test_series_limits import metrics


def write(client: Client, now: int, exemplars: list[tuple[str, int]]) -> int:
    """Exemplars are (trace id, ms)."""
    series = {
        "labels": [{"name": "__name__", "value": "hits_total"}],
        "samples": [{"value": 1.0, "timestamp": now}],
        "exemplars": [{"labels": [{"name": "trace_id", "value": trace}], "value": 1.0, "timestamp": ts}
                      for trace, ts in exemplars],
    }
    body = compress(V1["WriteRequest"](timeseries=[series]).SerializeToString())
    return client.request("POST", "/api/v1/write", body, REMOTE_WRITE_HEADERS).status


def traces(client: Client) -> list[str]:
    found = client.data("query_exemplars", {"query": "rate(hits_total[5m])"})
    return [exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]]


def counts(client: Client) -> dict[str, Any]:
    return {name: metrics(client, f"prometheus_tsdb_exemplar_{name}").get("") for name in (
        "exemplars_in_storage", "series_with_exemplars_in_storage", "last_exemplars_timestamp_seconds",
        "max_exemplars", "exemplars_appended_total", "out_of_order_exemplars_total")}


def test_a_server(start_tsdb: StartTsdb, tmp_path: Path) -> None:
    file = tmp_path / "tsdb.yml"
    file.write_text("{}")
    arguments = ["--config.file", str(file), "--web.enable-lifecycle"]
    server = start_tsdb(*arguments)
    client, now = server.client, int(time.time()) * 1000
    assert list(counts(client).values()) == [0, 0, 0, 100_000, 0, 0]
    assert write(client, now, [("a", now - 3000), ("b", now - 2000), ("old", now - 4000), ("c", now)]) == 204
    assert list(counts(client).values()) == [3, 1, now / 1000 - 3, 100_000, 3, 1]
    file.write_text("storage: {exemplars: {max_exemplars: 2}}")
    assert client.request("POST", "/-/reload").status == 200
    assert traces(client) == ["b", "c"] and counts(client)["max_exemplars"] == 2
    assert client.data("features")["tsdb"]["exemplar_storage"]
    assert write(client, now + 1, [("d", now + 1)]) == 204 and traces(client) == ["c", "d"]
    server.stop()
    server = start_tsdb(*arguments)
    assert traces(server.client) == ["c", "d"]
    file.write_text("storage: {exemplars: {max_exemplars: 0}}")
    assert server.client.request("POST", "/-/reload").status == 200
    assert traces(server.client) == [] and not server.client.data("features")["tsdb"]["exemplar_storage"]
    assert write(server.client, now + 2, [("e", now + 2)]) == 204 and traces(server.client) == []
