"""Differences that are meant to be: where the scripts are newer than the installed Prometheus, the scripts win."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.promql.differential.answers import Answer, difference
from tests.promql.differential.servers import Question

_FILE = Path(__file__).parent / "differences.toml"


@dataclass(frozen=True)
class Known:
    """What differences.toml says."""

    rows: dict[str, dict[str, Any]]
    delayed: bool
    """Whether both sides have delayed name removal."""

    @classmethod
    def read(cls, delayed: bool) -> Known:
        return cls(tomllib.loads(_FILE.read_text()), delayed)

    def difference(self, question: Question, theirs: Answer, ours: Answer) -> str | None:
        """What is different, and is not known."""
        problem = difference(theirs, ours, question.expr)
        return None if problem is None or self.name_of(question, theirs, ours) is not None else problem

    def name_of(self, question: Question, theirs: Answer, ours: Answer) -> str | None:
        """The known difference that explains all of it; None where nothing does."""
        name = None
        for other, row in self.rows.items():
            if "annotation" in row and re.search(row.get("expr", ""), question.expr):
                cut = _without(theirs, row["annotation"]), _without(ours, row["annotation"])
                name = other if cut != (theirs, ours) else name
                theirs, ours = cut
        problem = difference(theirs, ours, question.expr)
        if problem is None:
            return name
        for other, row in self.rows.items():
            if row.get("range", False) > (question.step > 0) or row.get("delayed", False) > self.delayed:
                continue
            if "problem" not in row:
                continue
            if re.search(row["problem"], problem) and re.search(row["expr"], question.expr):
                return other
        return None


def _without(answer: Answer, pattern: str) -> Answer:
    texts = {kind: sorted({re.sub(pattern, "", text) for text in answer[kind]})
             for kind in ("warnings", "infos") if answer.get(kind)}
    return {**answer, **texts}
