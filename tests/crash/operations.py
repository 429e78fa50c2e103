"""What is asked of a server beside the load: compaction, deletes, snapshots, and readings that must be right."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.client import Answer
from tests.crash.checks import Wrong, by_opening, by_query, compare
from tests.crash.model import FOREVER, NEVER, Delete, Model
from tests.crash.phases import Watch
from tests.crash.traffic import HOUR, Clock
from tests.processes import Process

ADMIN = "/api/v1/admin/tsdb/"


class Operations:
    """One after the other, at random. What the server does not have (404, 501) is counted and not asked again."""

    def __init__(self, model: Model, clock: Clock, data: Path, chance: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._model = model
        self._clock = clock
        self._data = data
        self._chance = chance
        self._missing: set[str] = set()

    def run(self, server: Process, watch: Watch, stop: threading.Event, wanted: str | None) -> None:
        """Until the server is gone or `stop` is set; `wanted` is done most often."""
        kinds: dict[str, Callable[[Process, Watch], bool]] = {
            "compact": self._compact, "delete": self._delete, "clean": self._clean, "snapshot": self._snapshot,
        }
        try:
            while not stop.wait(self._chance.uniform(0.05, 0.6)):
                kind = wanted if wanted in kinds and self._chance.random() < 0.7 else self._chance.choice(list(kinds))
                if kind in self._missing:
                    self.skipped[kind] += 1
                elif kinds[kind](server, watch):
                    self.done[kind] += 1
                else:
                    self._missing.add(kind)
                    self.skipped[kind] += 1
        except (OSError, http.client.HTTPException):
            pass  # the server is gone
        except Wrong as problem:
            self.wrong.append(str(problem))

    def read(self, server: Process, stop: threading.Event) -> None:
        """Readings of single series under load: each has what was acknowledged before it began."""
        try:
            while not stop.wait(0.02):
                every = [series for series in list(self._model.series.values()) if series.sure]
                if not every:
                    continue
                series = self._chance.choice(every)
                before = self._model.state_of(series)
                until = max(before[series], default=0) + 1
                since = until - self._chance.choice((HOUR, 5 * HOUR, 100 * HOUR))
                matchers = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in series.labels)
                found = by_query(server, f"{{{matchers}}}", since, until)
                compare(self._model, before, found, shown_as_text=True, since=since, until=until)
                self.done["reading"] += 1
        except (OSError, http.client.HTTPException):
            pass
        except Wrong as problem:
            if not stop.is_set() and server.running:
                self.wrong.append(f"under load: {problem}")

    def _compact(self, server: Process, watch: Watch) -> bool:
        self._model.early_cuts.append(self._model.newest)
        with watch.during("compact"):
            answer = server.client.request("POST", ADMIN + "compact", timeout=120)
        self._model.early_cuts.append(self._model.newest)
        return self._answered(answer, "compact")

    def _delete(self, server: Process, watch: Watch) -> bool:
        now = self._clock.latest()
        job = self._chance.choice(("steady", "hostile", "churn", "churn", "late", "backlog"))
        names = sorted({series.name for series in list(self._model.series.values()) if series.job == job})
        name = self._chance.choice(names) if names and self._chance.random() < 0.7 else None
        mint, maxt = self._chance.choice((
            (now - 3 * HOUR, now - 2 * HOUR), (now - 40 * HOUR, now - 10 * HOUR), (now - HOUR // 4, now + HOUR),
            (now - HOUR, now - HOUR // 2), (NEVER, FOREVER) if job == "churn" and name else (now - 30 * HOUR, now),
        ))
        delete = Delete(job, name, mint, maxt)
        matcher = f'{{job="{job}"' + (f', __name__="{name}"}}' if name else "}")
        parameters: dict[str, str] = {"match[]": matcher}
        if mint != NEVER:
            parameters |= {"start": f"{mint / 1000:.3f}", "end": f"{maxt / 1000:.3f}"}
        self._model.deleting(delete)
        with watch.during("delete"):
            answer = _post(server, "delete_series", parameters)
        if not self._answered(answer, "delete_series"):
            self._model.restarted()  # nothing happened: what it covers is there, and a reading will say so
            return False
        self._model.deleted(delete)
        if name and mint == NEVER:
            self._check_vanished(server, name)
        return True

    def _check_vanished(self, server: Process, name: str) -> None:
        listed = server.client.get("/api/v1/label/__name__/values", {"match[]": f'{{__name__="{name}"}}'})
        left = [series for series in list(self._model.series.values()) if series.name == name
                and (series.sure or series.possible)]
        if listed.status == 200 and listed.json()["data"] and not left:
            raise Wrong(f"{name} is listed though all its samples are deleted")

    def _clean(self, server: Process, watch: Watch) -> bool:
        with watch.during("clean"):
            return self._answered(_post(server, "clean_tombstones", {}), "clean_tombstones")

    def _snapshot(self, server: Process, watch: Watch) -> bool:
        before = self._model.state()
        with watch.during("snapshot"):
            answer = _post(server, "snapshot", {})
        if not self._answered(answer, "snapshot"):
            return False
        folder = self._data / "snapshots" / answer.json()["data"]["name"]
        try:
            compare(self._model, before, by_opening(folder), shown_as_text=False)
        except Wrong as problem:
            raise Wrong(f"snapshot {folder}: {problem}") from problem
        shutil.rmtree(folder)
        return True

    def _answered(self, answer: Answer, what: str) -> bool:
        """False: the server does not have it."""
        if answer.status in (404, 405, 501):
            return False
        if answer.status // 100 != 2 and answer.status != 503:
            raise Wrong(f"{what}: {answer.status} {answer.body[:500]!r}")
        if answer.status == 503:
            raise ConnectionError(f"{what}: the server is stopping")
        return True


def _post(server: Process, what: str, parameters: dict[str, str]) -> Answer:
    query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
    return server.client.request("POST", ADMIN + what + query, timeout=120)
