"""Differences that were found, kept with their samples and Prometheus' answer, and asked of our engine ever after."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.promql.differential.answers import Answer, answer_of, answer_of_error
from tests.promql.differential.data import STALE, Samples
from tests.promql.differential.known import Known
from tests.promql.differential.search import Found
from tests.promql.differential.servers import Question
from tsdb.model.batch import STALE_NAN
from tsdb.model.errors import QueryError
from tsdb.promql import Engine, EngineOptions
from tsdb.testing.memory_storage import MemoryStorage
from tsdb.testing.notation import parse_labels

KEPT = Path(__file__).parent / "cases.toml"


@dataclass(frozen=True)
class Kept:
    """A case of the file."""

    name: str
    question: Question
    delayed_name_removal: bool
    samples: Samples
    expected: Answer


def kept_cases() -> list[Kept]:
    rows = tomllib.loads(KEPT.read_text()) if KEPT.exists() else {}
    return [Kept(name, Question(row["expr"], *row["times"]), row.get("delayed_name_removal", False),
                 _samples(row["samples"]), json.loads(row["expected"])) for name, row in rows.items()]


def problem_of(case: Kept) -> str | None:
    """What our engine answers differently."""
    memory = MemoryStorage()
    for labels, column in case.samples.items():
        bits = np.array([value for _, value in column], np.float64).view(np.uint64)
        bits[[_is_stale(value) for _, value in column]] = STALE_NAN
        memory.add(dict(labels), [at for at, _ in column], bits)
    question = case.question
    options = EngineOptions(threads=1, delayed_name_removal=case.delayed_name_removal)
    with Engine(memory, options) as engine:
        try:
            if question.step:
                result = engine.query_range(question.expr, question.start, question.end, question.step)
            else:
                result = engine.query(question.expr, question.start)
            ours = answer_of(result)
        except QueryError as problem:
            ours = answer_of_error(problem)
    return Known.read(case.delayed_name_removal).difference(question, case.expected, ours)


def as_toml(name: str, found: Found, delayed_name_removal: bool) -> str:
    """A case as text, to be put at the end of the file."""
    question = found.question
    lines = [f"[{name}]", f"expr = {json.dumps(question.expr)}",
             f"times = [{question.start}, {question.end}, {question.step}]"]
    if delayed_name_removal:
        lines.append("delayed_name_removal = true")
    lines.append("samples = '''")
    for labels, column in found.samples.items():
        pairs = ", ".join(f"{label}={json.dumps(value)}" for label, value in labels)
        lines.append(f"{{{pairs}}} " + " ".join(f"{at}:{'stale' if _is_stale(v) else repr(v)}" for at, v in column))
    expected = {key: value for key, value in found.theirs.items() if key != "error"}
    return "\n".join([*lines, "'''", f"expected = '''{json.dumps(expected)}'''", ""])


def keep(found: list[Found], seed: int, delayed_name_removal: bool) -> None:
    with KEPT.open("a") as out:
        for number, each in enumerate(found):
            name = f"seed-{seed}{'-delayed' if delayed_name_removal else ''}-{number}"
            out.write("\n" + as_toml(name, each, delayed_name_removal))


def _samples(text: str) -> Samples:
    found: Samples = {}
    for line in text.strip().splitlines():
        labels, rest = parse_labels(line)
        pairs = (word.split(":") for word in rest.split())
        found[labels] = [(int(at), STALE if value == "stale" else float(value)) for at, value in pairs]
    return found


def _is_stale(value: float) -> bool:
    return bool(np.float64(value).view(np.uint64) == STALE_NAN)
