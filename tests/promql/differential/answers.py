"""Answers of the HTTP API, compared: result type, label sets, times, values, errorType and the texts of annotations."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tsdb.model.errors import QueryError
from tsdb.promql import QueryResult
from tsdb.promql.ast import ValueType
from tsdb.testing.memory_storage import Labels, labels_of

TOLERANCE = 1e-9
ORDERED = ("sort(", "sort_desc(", "sort_by_label(", "sort_by_label_desc(")

Answer = Mapping[str, Any]
"""The JSON document."""


def is_meaningful(answer: Answer) -> bool:
    """No error, and not empty."""
    return bool(answer["status"] == "success" and answer["data"]["result"])


def difference(theirs: Answer, ours: Answer, expr: str) -> str | None:
    """What is different, in a few words."""
    if theirs["status"] != ours["status"]:
        return f"status: {_status(theirs)}, ours {_status(ours)}"
    if theirs["status"] == "error":
        same = theirs["errorType"] == ours["errorType"]
        return None if same else f"errorType: {_status(theirs)}, ours {_status(ours)}"
    if theirs["data"]["resultType"] != ours["data"]["resultType"]:
        return f"resultType: {theirs['data']['resultType']}, ours {ours['data']['resultType']}"
    for kind in ("warnings", "infos"):
        left, right = (sorted(map(_rounded, answer.get(kind) or ())) for answer in (theirs, ours))
        if left != right:
            return f"{kind}: {left}, ours {right}"
    return _values(theirs["data"], ours["data"], expr)


def _rounded(text: str) -> str:
    """An annotation whose value is no more exact than values are."""
    return re.sub(r"(?<=, got )-?\d[-+.\de]*", lambda number: f"{float(number[0]):.9g}", text)


def _status(answer: Answer) -> str:
    return "success" if answer["status"] == "success" else f"{answer['errorType']}: {answer['error']}"


def _values(theirs: Answer, ours: Answer, expr: str) -> str | None:
    kind = theirs["resultType"]
    if kind == "string":
        return None if theirs["result"] == ours["result"] else f"{theirs['result']}, ours {ours['result']}"
    if kind == "scalar":
        return _cells("the scalar", [theirs["result"]], [ours["result"]])
    left, right = _rows(theirs), _rows(ours)
    if left.keys() != right.keys():
        missing = [dict(labels) for labels in left.keys() - right.keys()]
        return f"series: ours lacks {missing}, has besides {[dict(labels) for labels in right.keys() - left.keys()]}"
    if len(right) < len(ours["result"]):
        return "ours has two rows of the same labels"
    for labels in left:
        problem = _cells(str(dict(labels)), left[labels], right[labels])
        if problem is not None:
            return problem
    if kind == "vector" and expr.startswith(ORDERED):
        return _cells("in order", [row["value"] for row in theirs["result"]], [row["value"] for row in ours["result"]])
    return None


def _rows(data: Answer) -> dict[Labels, list[Any]]:
    return {labels_of(row["metric"]): row["values"] if "values" in row else [row.get("value")]
            for row in data["result"]}


def _cells(where: str, theirs: list[Any], ours: list[Any]) -> str | None:
    left, right = [round(at * 1000) for at, _ in theirs], [round(at * 1000) for at, _ in ours]
    if left != right:
        return f"{where}: times {_short(left, right)}"
    for (at, a), (_, b) in zip(theirs, ours, strict=True):
        if not same(float(a), float(b)):
            return f"{where} at {at}: {a}, ours {b}"
    return None


def _short(left: list[int], right: list[int]) -> str:
    return f"ours lacks {sorted(set(left) - set(right))[:5]}, has besides {sorted(set(right) - set(left))[:5]}"


def same(a: float, b: float) -> bool:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b)) if math.isfinite(a) and math.isfinite(b) else False


def answer_of(result: QueryResult) -> Answer:
    """What the HTTP API would say, in plain Python."""
    times = (result.times / 1000).tolist()
    data: dict[str, Any] = {"resultType": str(result.type)}
    if result.type == ValueType.STRING:
        data["result"] = [times[0], result.text]
    elif result.type == ValueType.SCALAR:
        data["result"] = [times[0], str(result.scalar)]
    else:
        assert result.series is not None
        metrics = [result.series.labels(row) for row in range(len(result.series))]
        if result.samples is not None:
            cells = [[[at / 1000, str(v)] for at, v in zip(ts.tolist(), vs.tolist(), strict=True)]
                     for ts, vs in result.samples]
        else:
            cells = [[[times[i], str(float(values[i]))] for i in np.flatnonzero(present)]
                     for values, present in zip(result.values, result.present, strict=True)]
        if result.type == ValueType.VECTOR:
            data["result"] = [{"metric": m, "value": row[0]} for m, row in zip(metrics, cells, strict=True)]
        else:
            data["result"] = [{"metric": m, "values": row} for m, row in zip(metrics, cells, strict=True)]
    return {"status": "success", "data": data, "warnings": list(result.warnings), "infos": list(result.infos)}


def answer_of_error(problem: QueryError) -> Answer:
    return {"status": "error", "errorType": problem.kind, "error": str(problem)}
