"""How well names match: Prometheus' examples, and slow twins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsdb.server.completion.fuzzy_kernels import JARO_WINKLER, SUBSEQUENCE
from tsdb.server.completion.texts import Texts


def score(pattern: str, text: str, algorithm: int = SUBSEQUENCE, threshold: float = 0.0, *, fold: bool = False,
          ) -> float:
    return float(Texts([text]).scores(pattern, algorithm, threshold, lambda: None, fold=fold)[0])


@pytest.mark.parametrize(("pattern", "text", "expected"), [
    ("abc", "", -1.0),
    ("", "anything", 1.0),
    ("my awesome text", "my awesome text", 1.0),
    ("my", "my awesome text", 1.0),
    ("tex", "my awesome text", 247 / 270),
    ("met", "my awesome text", 43 / 90),
    ("bac", "babac", 43 / 45),
    ("abcd", "abc", -1.0),
    ("xyz", "abc", -1.0),
    ("é", "ã", -1.0),
    ("üé", "éàü", -1.0),
    ("oa", "goat", 29 / 32),
    ("abaa", "abbaa", 39 / 80),
])
def test_subsequences_of_upstream(pattern: str, text: str, expected: float) -> None:
    assert score(pattern, text) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("pattern", "text", "threshold", "fold", "expected"), [
    ("MARTHA", "MARHTA", 0.5, False, 0.9611111),
    ("DIXON", "DICKSONX", 0.5, False, 0.8133333),
    ("DWAYNE", "DUANE", 0.5, False, 0.84),
    ("meth", "prometheus", 0.0, False, 0.9),
    ("prometheus", "promethus", 0.8, False, 0.98),
    ("prometheus", "promethus", 0.0, False, -1.0),
    ("prometheus", "grafana", 0.8, False, -1.0),
    ("prometheus", "PROMETHEUS", 0.8, False, -1.0),
    ("Prometheus", "PROMETHEUS_x", 0.8, True, 1.0),
])
def test_jaro_winkler(pattern: str, text: str, threshold: float, fold: bool, expected: float) -> None:
    assert score(pattern, text, JARO_WINKLER, threshold, fold=fold) == pytest.approx(expected, abs=1e-6)


def subsequence_twin(pattern: str, text: str) -> float:
    if text.startswith(pattern):
        return 1.0
    best = -1.0
    for first in [at for at, char in enumerate(text) if char == pattern[0]]:
        runs: list[tuple[int, int]] = []
        at, matched = first, 0
        while at < len(text) and matched < len(pattern):
            run = at
            while at < len(text) and matched < len(pattern) and text[at] == pattern[matched]:
                at, matched = at + 1, matched + 1
            if at > run:
                runs.append((run, at))
            else:
                at += 1
        if matched == len(pattern):
            befores = [0, *(end for _, end in runs)]
            gaps = sum(start - before for (start, _), before in zip(runs, befores, strict=False))
            raw = sum((end - start) ** 2 for start, end in runs) - gaps / len(text)
            best = max(best, raw - (len(text) - runs[-1][1]) / (2 * len(text)))
    return best / len(pattern) ** 2 if best > 0 else -1.0


def jaro_winkler_twin(a: str, b: str) -> float:
    if b.startswith(a):
        return 1.0
    if a in b:
        return 0.9
    one, other = (a, b) if len(a) <= len(b) else (b, a)
    near = max(len(other) // 2 - 1, 0)
    taken: dict[int, int] = {}
    for i, char in enumerate(one):
        for j in range(max(i - near, 0), min(i + near + 1, len(other))):
            if j not in taken.values() and other[j] == char:
                taken[i] = j
                break
    if not taken:
        return -1.0
    moved = sum(one[i] != other[j] for i, j in zip(sorted(taken), sorted(taken.values()), strict=True))
    n = len(taken)
    jaro = (n / len(one) + n / len(other) + (n - moved / 2) / n) / 3
    same = next((at for at in range(min(4, len(one))) if a[at] != b[at]), min(4, len(one)))
    found = jaro + same * 0.1 * (1 - jaro)
    return found if found >= 0.3 else -1.0


WORDS = st.text("abcé_", max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.text("abcé_", min_size=1, max_size=6), st.lists(WORDS, max_size=20))
def test_the_kernel_scores_as_its_twins(pattern: str, words: list[str]) -> None:
    texts = Texts(words)
    found = texts.scores(pattern, SUBSEQUENCE, 0.0, lambda: None, fold=False)
    assert all(math.isclose(a, subsequence_twin(pattern, word), abs_tol=1e-9)
               for a, word in zip(found, words, strict=True))
    found = texts.scores(pattern, JARO_WINKLER, 0.3, lambda: None, fold=False)
    assert all(math.isclose(a, jaro_winkler_twin(pattern, word), abs_tol=1e-9)
               for a, word in zip(found, words, strict=True))
