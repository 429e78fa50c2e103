"""Answers of queries as text: tables, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tsdb.commands.query_sources import Document
from tsdb.commands.tables import table

Labels = Mapping[str, str]
Points = list[tuple[int, str]]
"""ms and the value as the API prints it."""


def rows_of(data: Mapping[str, Any]) -> list[tuple[Labels, Points]]:
    """Series of a vector or matrix, and a scalar or string as one without labels. Histograms are their JSON."""
    kind, result = data["resultType"], data["result"]
    if kind in ("scalar", "string"):
        return [({}, [_point(result)])]
    rows = []
    for row in result:
        points = [_point(cell) for cell in row.get("values", [row["value"]] if "value" in row else [])]
        points += [_point(cell) for cell in row.get("histograms", [row["histogram"]] if "histogram" in row else [])]
        rows.append((row["metric"], sorted(points, key=lambda point: point[0])))
    return rows


def _point(cell: tuple[float, Any]) -> tuple[int, str]:
    at, value = cell
    return round(at * 1000), value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def series_text(labels: Labels) -> str:
    """As a selector would have it; ``{}`` where there are none."""
    from tsdb.promql.literals import quote

    name = labels.get("__name__", "")
    pairs = ", ".join(f"{label}={quote(value)}" for label, value in labels.items() if label != "__name__")
    return name + (f"{{{pairs}}}" if pairs or not name else "")


def as_json(answer: Document) -> str:
    """The API's document."""
    return json.dumps({"status": "success", **answer}, ensure_ascii=False)


def as_csv(answer: Document) -> str:
    """A column for each label, then time and value; of names or label sets just these."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    data = answer["data"]
    if isinstance(data, list):
        if data and isinstance(data[0], Mapping):
            names = sorted({name for labels in data for name in labels})
            writer.writerows([names, *([labels.get(name, "") for name in names] for labels in data)])
        else:
            writer.writerows([["name"], *([text] for text in data)])
        return out.getvalue().rstrip("\n")
    from tsdb.model.times import time_text

    rows = rows_of(data)
    names = sorted({name for labels, _ in rows for name in labels})
    writer.writerow([*names, "time", "value"])
    for labels, points in rows:
        before = [labels.get(name, "") for name in names]
        writer.writerows([*before, time_text(at), value] for at, value in points)
    return out.getvalue().rstrip("\n")


def as_table(answer: Document, width: int) -> Iterator[str]:
    """For people. A matrix has a row for each time and a column for each series where these fit into `width`."""
    data = answer["data"]
    if isinstance(data, list):
        yield from (series_text(item) if isinstance(item, Mapping) else str(item) for item in data)
        return
    from tsdb.model.times import time_text

    rows = rows_of(data)
    if data["resultType"] in ("scalar", "string"):
        yield rows[0][1][0][1]
    elif not rows:
        yield "nothing: no series has a sample there"
    elif data["resultType"] == "vector":
        cells = [[series_text(labels), *(value for _, value in points)] for labels, points in rows]
        yield table(["SERIES", "VALUE"], cells, "lr")
        yield f"at {time_text(rows[0][1][0][0])}"
    else:
        heads = [series_text(labels) for labels, _ in rows]
        if sum(max(len(head), 12) + 2 for head in heads) + 24 <= width:
            columns = [dict(points) for _, points in rows]
            times = sorted({at for column in columns for at in column})
            cells = [[time_text(at), *(column.get(at, "") for column in columns)] for at in times]
            yield table(["TIME", *heads], cells, "l" + "r" * len(heads))
            return
        for head, (_, points) in zip(heads, rows, strict=True):
            yield head
            yield table(["  TIME", "VALUE"], [[f"  {time_text(at)}", value] for at, value in points], "lr")
