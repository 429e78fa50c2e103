"""/api/v1/metadata: of targets that say different things, and of what no target says any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from scraper.scraper import Scraper
from scraper.status import PoolStatus, TargetStatus
from tests.client import REMOTE_WRITE_HEADERS
from tests.ingest.sender import encode
from tests.server.conftest import Running
from tsdb.model.batch import Metadata
from tsdb.storage import family_metadata
from tsdb.storage.family_metadata import FamilyMetadata


def saying(job: str, *entries: Metadata) -> PoolStatus:
    target = TargetStatus(job, "http://a/metrics", {"job": job}, {}, 1000, 1000,
                          read_metadata=lambda _: {entry.family: entry for entry in entries})
    return PoolStatus(job, [target], [], 0)


async def nothing() -> None:
    pass


def test_targets_first(running: Running) -> None:
    hits = Metadata("hits", "counter", "Hits.", "")
    other = Metadata("hits", "unknown", "All hits.", "")
    size = Metadata("size", "gauge", "", "bytes")
    pools = [saying("b", hits), saying("a", other, size), saying("c", hits)]
    running.server.services.scraper = cast(Scraper, SimpleNamespace(pools=lambda: pools, stop=nothing))
    written = [Metadata("hits", "gauge", "From elsewhere.", ""), Metadata("gone", "gauge", "Written.", "")]
    assert running.client.request("POST", "/api/v1/write", encode([({"__name__": "x"}, [(1, 1.0)])], written),
                                  REMOTE_WRITE_HEADERS).status in (204, 400)

    def shape(entry: Metadata) -> dict[str, Any]:
        return {"type": entry.type, "unit": entry.unit, "help": entry.help}

    assert running.client.data("metadata") == {
        "gone": [shape(written[1])], "hits": [shape(other), shape(hits)], "size": [shape(size)]}
    assert running.client.data("metadata", {"limit_per_metric": 1, "metric": "hits"}) == {"hits": [shape(other)]}
    assert list(running.client.data("metadata", {"limit": 2})) == ["gone", "hits"]
    assert running.client.data("metadata", {"metric": "gone"}) == {"gone": [shape(written[1])]}


def test_bounds(monkeypatch: Any) -> None:
    monkeypatch.setattr(family_metadata, "MOST", 3)
    monkeypatch.setattr(family_metadata, "MOST_CHARACTERS", 20)
    families = FamilyMetadata()

    def add(name: str, text: str) -> list[str]:
        families[name] = Metadata(name, "gauge", text, "")
        assert families.characters == sum(len(each.family) + len(each.help) for each in families.values())
        return list(families)

    assert [add(name, "x") for name in "abc"][-1] == ["a", "b", "c"]
    assert add("a", "y") == ["b", "c", "a"]
    assert add("d", "z") == ["c", "a", "d"]
    assert add("e", "x" * 16) == ["d", "e"]
    assert add("f", "x" * 30) == ["f"]
