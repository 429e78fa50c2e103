"""/api/v1/search/metric_names, label_names and label_values: fuzzy searches among names, answered as lines of JSON, as
in Prometheus' newest (its proposal 74)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tsdb.model.errors import BadData
from tsdb.model.labels import METRIC_NAME
from tsdb.server.api import parameters
from tsdb.server.api.metadata import known_families
from tsdb.server.api.queries import in_query_thread, new_context
from tsdb.server.completion.fuzzy_kernels import JARO_WINKLER, SUBSEQUENCE
from tsdb.server.completion.known import metadata_of
from tsdb.server.completion.texts import Texts
from tsdb.server.http.answer import Answer, dumps
from tsdb.server.http.route import Request
from tsdb.server.services import Services

NDJSON: Final = "application/x-ndjson; charset=utf-8"
HOUR_MS: Final = 3_600_000
_LIMIT: Final = 100
_BATCH: Final = 100
_MOST_TERMS: Final = 20
_LONGEST_TERM: Final = 200
_ALGORITHMS: Final = {"subsequence": SUBSEQUENCE, "jarowinkler": JARO_WINKLER}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)

What = Literal["metric_names", "label_names", "label_values"]


@dataclass(frozen=True, slots=True)
class Search:
    """The parameters that all three have."""

    terms: tuple[str, ...]
    """Names match one of them; none: every name does."""
    threshold: float
    algorithm: int
    fold: bool
    by_score: bool
    descending: bool
    include_score: bool
    limit: int
    batch: int

    def scores(self, texts: Texts, check: Callable[[], None]) -> NDArray[np.float64]:
        """f64[n]: the best of the terms'; -1: none matches. `check` is called every few milliseconds."""
        if not self.terms:
            return np.ones(len(texts.texts))
        found = [texts.scores(term, self.algorithm, self.threshold, check, fold=self.fold)
                 for term in self.terms]
        return found[0] if len(found) == 1 else np.maximum.reduce(found)

    def places(self, texts: Texts, scores: NDArray[np.float64]) -> tuple[list[int], bool]:
        """Where the names of the answer are in `texts`, which are sorted, and whether there are more."""
        matching = np.flatnonzero(scores >= 0)
        if self.by_score:
            matching = matching[np.argsort(-scores[matching], kind="stable")]
        elif self.descending:
            matching = matching[::-1]
        return matching[: self.limit].tolist(), matching.size > self.limit


async def metric_names(services: Services, request: Request) -> Answer:
    search = _search(request, "metric_names")
    if not _boolean(request, "include_metadata", default=False):
        return await _answer(services, request, search, METRIC_NAME, lambda name: {})
    read = known_families(services)

    def about(name: str) -> dict[str, Any]:
        entry = metadata_of(name, services.known.families(read))
        parts = {} if entry is None else {"type": entry.type, "help": entry.help, "unit": entry.unit}
        return {key: value for key, value in parts.items() if value}

    return await _answer(services, request, search, METRIC_NAME, about)


async def label_names(services: Services, request: Request) -> Answer:
    return await _answer(services, request, _search(request, "label_names"), None, lambda name: {})


async def label_values(services: Services, request: Request) -> Answer:
    search = _search(request, "label_values")
    label = request.value("label")
    if not label:
        raise BadData('missing required parameter "label"')
    return await _answer(services, request, search, label, lambda name: {})


async def _answer(services: Services, request: Request, search: Search, label: str | None,
                  about: Callable[[str], dict[str, Any]]) -> Answer:
    """Values of a label; None: names of labels. `about`: what else is told of one."""
    now = time.time_ns() // 1_000_000
    mint = parameters.time_or(request, "start", now - HOUR_MS)
    maxt = parameters.time_or(request, "end", now)
    matchers = parameters.matcher_sets(request)
    storage, context = services.storage, new_context(services, request)

    def work() -> Answer:
        context.check()
        names = storage.names_at_hand(label, mint, maxt) if not matchers else None
        if names is None and label is None:
            names = storage.label_names(matchers, mint, maxt, context)
        elif names is None:
            assert label is not None
            names = storage.label_values(label, matchers, mint, maxt, context)
        texts = services.known.texts(names)
        scores = search.scores(texts, context.check)
        places, more = search.places(texts, scores)
        found = [{"name": names[place], **({"score": _number(scores[place])} if search.include_score else {}),
                  **about(names[place])} for place in places]
        batches = [found[at : at + search.batch] for at in range(0, len(found), search.batch)] or [[]]
        lines = [dumps({"results": batch}) + b"\n" for batch in batches]
        return Answer(200, [*lines, dumps({"status": "success", "has_more": more}) + b"\n"], NDJSON)

    return await in_query_thread(services, context, work)


def _number(score: float) -> float | int:
    """As Go prints it."""
    return int(score) if score == int(score) else float(score)


def _search(request: Request, what: What) -> Search:
    """Raises BadData, in Prometheus' words."""
    if request.form_error:
        raise BadData(f"error parsing form values: {request.form_error}")
    terms = request.form.get("search[]", [])
    if len(terms) > _MOST_TERMS or any(len(term) > _LONGEST_TERM for term in terms):
        raise BadData(f"search[]: at most {_MOST_TERMS} terms of at most {_LONGEST_TERM} characters")
    threshold = _integer(request, "fuzz_threshold", 0, "must be 0-100", most=100)
    algorithm = request.value("fuzz_alg") or "subsequence"
    if algorithm not in _ALGORITHMS:
        raise BadData(f"unsupported fuzz_alg {parameters.quoted(algorithm)}: must be one of [subsequence jarowinkler]")
    case_sensitive = _boolean(request, "case_sensitive", default=True)
    include_score = _boolean(request, "include_score", default=False)
    by, direction = request.value("sort_by"), request.value("sort_dir")
    if direction and not by:
        raise BadData("sort_dir is only valid when sort_by is set")
    if direction and by == "score":
        raise BadData("sort_dir is not supported for sort_by=score")
    if direction not in ("", "asc", "dsc"):
        raise BadData(f'invalid sort_dir {parameters.quoted(direction)}: must be "asc" or "dsc"')
    if by == "score" and not terms:
        raise BadData("sort_by=score requires search[] to be set")
    limit = _integer(request, "limit", _LIMIT, "must be non-negative integer") or _LIMIT
    batch = _integer(request, "batch_size", _BATCH, "must be non-negative integer") or _BATCH
    if by not in ("", "alpha", "score"):
        raise BadData(f'invalid sort_by {parameters.quoted(by)} for {what}: must be "alpha" or "score"')
    return Search(tuple(term for term in terms if term), threshold / 100, _ALGORITHMS[algorithm], not case_sensitive,
                  by == "score", direction == "dsc", include_score, limit, batch)


def _integer(request: Request, name: str, default: int, problem: str, most: int = 1 << 62) -> int:
    value = request.value(name)
    if not value:
        return default
    if not _INTEGER.fullmatch(value) or not 0 <= int(value) <= most:
        raise BadData(f"invalid {name} {parameters.quoted(value)}: {problem}")
    return int(value)


def _boolean(request: Request, name: str, *, default: bool) -> bool:
    value = request.value(name)
    if not value:
        return default
    try:
        return parameters.boolean(request, name, "")
    except BadData:
        raise BadData(f"invalid {name} {parameters.quoted(value)}: must be boolean") from None
