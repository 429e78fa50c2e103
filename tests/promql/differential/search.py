"""Looks for an expression that Prometheus and we answer differently, and makes it and its samples small."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.promql.differential.answers import Answer, difference, is_meaningful
from tests.promql.differential.data import Samples, samples
from tests.promql.differential.expressions import questions
from tests.promql.differential.known import Known
from tests.promql.differential.servers import Question, Servers

PER_DATA_SET = 200
"""Expressions."""
MOST_TRIES = 150
"""Data sets that are written to make one smaller."""

class Different(Exception):
    """The two answers are not the same."""


@dataclass(frozen=True)
class Found:
    """A difference, with all that is needed to see it again."""

    question: Question
    samples: Samples
    theirs: Answer
    problem: str


@dataclass
class Tally:
    """What became of the questions."""

    asked: int = 0
    meaningful: int = 0
    """Both answered without an error, and not with nothing."""
    empty: int = 0
    errors: int = 0
    """On both sides."""
    unsupported: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    unstable: int = 0
    """Prometheus itself said something else when it was asked again."""
    found: list[Found] = field(default_factory=list)
    again: int = 0
    """Differences of expressions that are among `found`."""
    instant: int = 0

    def lines(self) -> list[str]:
        share = 100 * self.meaningful / max(1, self.asked)
        lines = [
            f"{self.asked} expressions ({self.instant} instant, {self.asked - self.instant} range): "
            f"{self.meaningful} ({share:.1f} %) answered by both, not empty",
            f"  {self.empty} empty, {self.errors} errors on both sides, {self.unstable} that Prometheus answers "
            "differently each time",
        ]
        lines += [f"  {count} not supported: {reason}" for reason, count in self.unsupported.most_common()]
        lines += [f"  {count} known difference: {name}" for name, count in self.known.most_common()]
        return [*lines, f"  {len(self.found)} differences, {self.again} of them once more"]


class Search:
    """Asks `count` random questions of two servers. All follows from the seed."""

    def __init__(self, servers: Servers, seed: int, *, most: int = 10, report: Callable[[str], None] = print) -> None:
        self._servers, self._random, self._most, self._report = servers, Random(seed), most, report
        self._known = Known.read(servers.delayed_name_removal)
        self.tally = Tally()

    def run(self, count: int) -> Tally:
        while self.tally.asked < count and not self._is_enough():
            begin = self._servers.next_begin()
            data = samples(Random(self._random.randrange(1 << 32)), begin)
            self._servers.write(data)
            until = min(count, self.tally.asked + PER_DATA_SET)
            while self.tally.asked < until and not self._is_enough():
                before = self.tally.asked
                found = self._hunt(begin, data, until - self.tally.asked)
                if found is not None:
                    self._report(f"{found.question}\n  {found.problem}")
                    known = found.question.expr in {other.question.expr for other in self.tally.found}
                    self.tally.again += known
                    if not known:
                        self.tally.found.append(self._smaller(found))
                if self.tally.asked == before:
                    break
        return self.tally

    def _is_enough(self) -> bool:
        return len(self.tally.found) + self.tally.again // 4 >= self._most

    def _hunt(self, begin: int, data: Samples, count: int) -> Found | None:
        """Asks `count` questions about one data set, or fewer: the smallest expression like the first with a
        difference."""
        found: list[Found] = []

        @hypothesis.seed(self._random.randrange(1 << 32))
        @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck),
                  phases=(Phase.generate, Phase.shrink), print_blob=False, report_multiple_bugs=False)
        @given(questions(begin))
        def check(question: Question) -> None:
            theirs, ours = self._servers.ask(question)
            problem = self._judge(question, theirs, ours, counted=not found)
            if problem is not None:
                found.append(Found(question, data, theirs, problem))
                raise Different

        try:
            check()
        except Different:
            return found[-1]
        return None

    def _judge(self, question: Question, theirs: Answer, ours: Answer, *, counted: bool) -> str | None:
        tally = self.tally if counted else Tally()
        tally.asked += 1
        tally.instant += question.step == 0
        if is_meaningful(theirs) and is_meaningful(ours):
            tally.meaningful += 1
        elif theirs["status"] == "success":
            tally.empty += theirs["data"]["result"] in ([], None)
        elif ours["status"] == "error":
            tally.errors += 1
        if ours["status"] == "error" and "not supported" in ours["error"]:
            tally.unsupported[ours["error"]] += 1
            return None
        problem = difference(theirs, ours, question.expr)
        if problem is None:
            return None
        name = self._known.name_of(question, theirs, ours)
        if name is not None:
            tally.known[name] += 1
            return None
        if any(difference(theirs, self._servers.ask(question)[0], question.expr) for _ in range(3)):
            tally.unstable += 1
            self._report(f"unstable: {question.expr}: {problem}")
            return None
        return problem

    def _smaller(self, found: Found) -> Found:
        """The same difference with fewer series and samples."""
        tries = 0
        current = found
        pieces = 2
        while tries < MOST_TRIES:
            rows = [(labels, at, value) for labels, column in current.samples.items() for at, value in column]
            size = max(1, len(rows) // pieces)
            for first in range(0, len(rows), size):
                if tries >= MOST_TRIES:
                    break
                tries += 1
                kept: Samples = {}
                for labels, at, value in rows[:first] + rows[first + size :]:
                    kept.setdefault(labels, []).append((at, value))
                smaller = self._again(current, kept) if kept else None
                if smaller is not None:
                    current = smaller
                    break
            else:
                if size == 1:
                    break
                pieces *= 2
        return current

    def _again(self, found: Found, data: Samples) -> Found | None:
        """The difference with other samples, in the next slot of time; None where there is none."""
        shift = (self._servers.next_begin() - _begin_of(found)) * 1000
        moved = {labels: [(at + shift, value) for at, value in column] for labels, column in data.items()}
        question = moved_question(found.question, shift)
        self._servers.write(moved)
        theirs, ours = self._servers.ask(question)
        problem = self._judge(question, theirs, ours, counted=False)
        return None if problem is None else Found(question, moved, theirs, problem)


def _begin_of(found: Found) -> int:
    """The slot of time (s) that a question belongs to: data sets begin at the same minute of each hour."""
    from tests.promql.differential.servers import FIRST_S, SLOT_S

    return FIRST_S + (found.question.end // 1000 - FIRST_S) // SLOT_S * SLOT_S


def moved_question(question: Question, shift: int) -> Question:
    """The same some ms later, times after @ as well."""
    expr = re.sub(r"(?<=@ )\d{9,}", lambda number: str(int(number[0]) + shift // 1000), question.expr)
    return replace(question, expr=expr, start=question.start + shift, end=question.end + shift)
