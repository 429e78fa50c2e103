"""A real Prometheus and a server of ours with the same samples, asked the same at the same time over connections that
stay open."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.client import Client
from tests.processes import TSDB, Process, free_port
from tests.promql.differential.answers import Answer
from tests.promql.differential.data import STALE, Samples, label_sets

FIRST_S = 1_700_000_400
"""Seconds since the epoch of the first data set: 20 minutes past the hour."""
SLOT_S = 3600
"""From one data set to the next: farther than any selector looks back."""
SEED_BEFORE_S = 1500
"""So long before a data set each series gets a stale marker, in the order of labels: Prometheus' selectors give series
in the order in which they first came, which decides what topk takes of equal values."""


@dataclass(frozen=True)
class Question:
    """An expression, and when it is asked (ms); step 0: an instant query."""

    expr: str
    start: int
    end: int
    step: int = 0

    def parameters(self) -> Mapping[str, str]:
        if self.step == 0:
            return {"query": self.expr, "time": f"{self.start / 1000:.3f}"}
        return {"query": self.expr, "start": f"{self.start / 1000:.3f}", "end": f"{self.end / 1000:.3f}",
                "step": f"{self.step / 1000:.3f}"}

    @property
    def path(self) -> str:
        return "/api/v1/query_range" if self.step else "/api/v1/query"


class Servers:
    """Use it in a ``with``. Data sets come one after the other in time, as samples must."""

    def __init__(self, prometheus: Path, *, delayed_name_removal: bool = False) -> None:
        self.delayed_name_removal = delayed_name_removal
        self._folder = Path(tempfile.mkdtemp(prefix="promql-differential-"))
        self._slot = 0
        (self._folder / "prometheus.yml").write_text("{}")
        features = "promql-experimental-functions,promql-duration-expr"
        if delayed_name_removal:
            features += ",promql-delayed-name-removal"
        ports = free_port(), free_port()
        self._theirs = Process([
            prometheus, f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/theirs",
            f"--web.listen-address=127.0.0.1:{ports[0]}", "--web.enable-remote-write-receiver", "--log.level=error",
            f"--enable-feature={features}", "--storage.tsdb.retention.time=30y",
        ], self._folder / "theirs.log", ports[0])
        self._ours = Process([
            TSDB, "serve", f"--config.file={self._folder}/prometheus.yml", f"--storage.tsdb.path={self._folder}/ours",
            f"--web.listen-address=127.0.0.1:{ports[1]}", "--log.level=error", "--storage.tsdb.retention.time=30y",
            "--web.enable-remote-write-receiver", f"--enable-feature={features}",
        ], self._folder / "ours.log", ports[1])
        self._connections: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        try:
            for process in (self._theirs, self._ours):
                process.wait_ready()
                self._connections.append(http.client.HTTPConnection("127.0.0.1", process.port, timeout=30))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for connection in self._connections:
            connection.close()
        for process in (self._theirs, self._ours):
            process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def next_begin(self) -> int:
        """Where the next data set begins (s since the epoch)."""
        begin = FIRST_S + self._slot * SLOT_S
        self._slot += 1
        seed = [(dict(labels), [((begin - SEED_BEFORE_S) * 1000, STALE)]) for labels in label_sets()]
        for process in (self._theirs, self._ours):
            answer = Client(process.port).write(seed)
            assert answer.status == 204, f"{process.name}: {answer.status} {answer.body[:300]!r}"
        return begin

    def write(self, samples: Samples) -> None:
        series = [(dict(labels), column) for labels, column in sorted(samples.items())]
        for process in (self._theirs, self._ours):
            answer = Client(process.port).write(series)
            assert answer.status == 204, f"{process.name}: {answer.status} {answer.body[:300]!r}"

    def ask(self, question: Question) -> tuple[Answer, Answer]:
        """What Prometheus says, and what we say."""
        body = urllib.parse.urlencode(question.parameters())
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for connection in self._connections:
            connection.request("POST", question.path, body, headers)
        theirs, ours = map(_answer, self._connections)
        return theirs, ours


def _answer(connection: http.client.HTTPConnection) -> Answer:
    try:
        answer: Answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException) as problem:
        connection.close()  # the next request opens it again
        return {"status": "error", "errorType": "none", "error": repr(problem)}
    return answer


def find_prometheus() -> Path | None:
    """The real program, in TSDB_PEERS, .peers/bin or PATH."""
    own = str(Path(__file__).parents[3] / ".peers" / "bin")
    where = os.pathsep.join(filter(None, (os.environ.get("TSDB_PEERS"), own, os.environ.get("PATH"))))
    found = shutil.which("prometheus", path=where)
    return None if found is None else Path(found)
