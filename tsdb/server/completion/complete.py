"""Candidates for the place of a cursor, ranked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tsdb.model.labels import METRIC_NAME
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql.literals import quote
from tsdb.promql.syntax.cursor import Expected, Place, at_cursor
from tsdb.server.completion.candidates import MATCHING, OF_PLACES, OPERANDS, Word, durations
from tsdb.server.completion.fuzzy_kernels import SUBSEQUENCE
from tsdb.server.completion.known import Families, metadata_of
from tsdb.server.completion.texts import Texts

_PLAIN_LABEL: Final = re.compile("[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_PLAIN_METRIC: Final = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_SPECIAL: Final = re.compile(r"([\\.+*?()|\[\]{}^$])")

Names = Callable[[Sequence[Sequence[Matcher]]], list[str]]
"""Of labels, of series that satisfy one of the sets; of all series, where there is none."""


@dataclass(frozen=True, slots=True)
class Index:
    """What is asked of storage."""

    metrics: Callable[[], Texts]
    label_names: Names
    label_values: Callable[[str, Sequence[Sequence[Matcher]]], list[str]]
    families: Callable[[], Families]
    queries: Callable[[], Mapping[str, int]]
    """How often metrics were queried: those that were most often."""
    check: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Completion:
    """`candidates` take the place of the characters start..end of the text."""

    expected: Expected
    start: int
    end: int
    candidates: list[dict[str, Any]]
    more: bool


def complete(text: str, cursor: int, most: int, index: Index) -> Completion:
    """At most `most` candidates; the best first: what begins with the word, then what has its characters in their
    order, upper case being no difference. Of metrics that match as well, the most queried ones, then the shortest."""
    place = at_cursor(text, cursor)
    candidates, more = _candidates(place, most, index)
    start = place.start
    if place.regex and place.expected is Expected.LABEL_VALUE:
        start += place.word.rfind("|") + 1
    return Completion(place.expected, start, place.end, candidates, more)


def _candidates(place: Place, most: int, index: Index) -> tuple[list[dict[str, Any]], bool]:
    match place.expected:
        case Expected.OPERAND:
            return _operands(place, most, index)
        case Expected.LABEL_NAME:
            return _ranked(index.label_names(_sets(place)), place.word, most, index, lambda name: {
                "label": name, "insert": _label_text(name, place.quote), "kind": "label_name"})
        case Expected.LABEL_VALUE:
            word = place.word[place.word.rfind("|") + 1 :] if place.regex else place.word
            return _ranked(index.label_values(place.label, _sets(place)), word, most, index, lambda value: {
                "label": value, "insert": _value_text(value, place), "kind": "label_value"})
        case Expected.DURATION:
            return [each.shown() for each in durations(place.word)], False
        case expected:
            return _words(OF_PLACES.get(expected, ()), place.word, most, index)


def _operands(place: Place, most: int, index: Index) -> tuple[list[dict[str, Any]], bool]:
    families, words = index.families(), OPERANDS + (MATCHING if place.matching else ())

    def shown(name: str) -> dict[str, Any]:
        entry = metadata_of(name, families)
        about = {} if entry is None else {"type": entry.type, "help": entry.help, "unit": entry.unit}
        plain = _PLAIN_METRIC.fullmatch(name)
        return {"label": name, "insert": name if plain else f"{{{quote(name)}}}", "kind": "metric",
                **{key: value for key, value in about.items() if value}}

    metrics, more = _ranked(index.metrics(), place.word, most, index, shown, index.queries())
    language, more_words = _words(words, place.word, most, index)
    if not place.word:  # everything matches as well
        kept = metrics[: max(most - len(language), most // 2)] + language
        return kept[:most], more or more_words or len(kept) > most or len(metrics) + len(language) > len(kept)
    both = sorted([*language, *metrics], key=lambda each: -each["score"])
    return both[:most], more or more_words or len(both) > most


def _words(words: Sequence[Word], word: str, most: int, index: Index) -> tuple[list[dict[str, Any]], bool]:
    by_text = {each.text: each for each in words}
    return _ranked(Texts(list(by_text)), word, most, index, lambda text: by_text[text].shown())


def _ranked(found: Texts | list[str], word: str, most: int, index: Index, shown: Callable[[str], dict[str, Any]],
            queries: Mapping[str, int] | None = None) -> tuple[list[dict[str, Any]], bool]:
    """The best, with their scores, and whether others match, too."""
    texts = Texts(found) if isinstance(found, list) else found
    scores = texts.scores(word, SUBSEQUENCE, 0.0, index.check, fold=True)
    names = texts.texts
    places = np.flatnonzero(scores >= 0)
    total = places.size
    queries = queries or {}
    asked = [at for at in map(texts.place, queries) if at is not None and scores[at] >= 0]
    if total > most and not word:
        places = places[:most]
    elif total > most:
        rank = np.round(scores[places] * 1e6) * -1e6 + texts.lengths[places]
        places = places[np.argpartition(rank, most - 1)[:most]]
    rows = sorted({(-float(scores[at]), -queries.get(names[at], 0), len(names[at]) if word else 0, at)
                   for at in (*places.tolist(), *asked)})[:most]
    return [{**shown(names[at]), "score": round(-score, 4)} for score, _, _, at in rows], total > most


def _sets(place: Place) -> list[tuple[Matcher, ...]]:
    """Matchers of the series that are meant, one set for each metric."""
    others = tuple(each for each in place.matchers if each.value or each.type is not MatchType.EQUAL)
    if place.metrics:
        return [(Matcher(MatchType.EQUAL, METRIC_NAME, metric), *others) for metric in place.metrics]
    return [others] if any(each.value and not each.negative for each in others) else []


def _label_text(name: str, quoted: str) -> str:
    if quoted:
        return _escaped(name, quoted)
    return name if _PLAIN_LABEL.fullmatch(name) else quote(name)


def _value_text(value: str, place: Place) -> str:
    if place.regex:
        value = _SPECIAL.sub(r"\\\1", value)
    return _escaped(value, place.quote) if place.quote else quote(value)


def _escaped(text: str, quoted: str) -> str:
    """As it stands between such quotes."""
    if quoted == "`":
        return text
    inner = quote(text)[1:-1]
    return inner if quoted == '"' else inner.replace('\\"', '"').replace("'", "\\'")
