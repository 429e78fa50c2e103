"""What a query did: its plan as a tree, and what each part of it gave, read and took (``explain=true``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tsdb.model.durations import format_duration
from tsdb.promql import ast
from tsdb.promql.ast import Expr
from tsdb.promql.syntax.printer import to_promql

COMPUTED_ONCE = "the same as a part before: computed once"
DIVIDED = "parts of the steps that read from different sources, side by side"
ONE_STEP = "the same at every step: computed at one"


@dataclass(slots=True)
class Node:
    """A part of the query. Threads add to the numbers of a selector under the budget's lock."""

    what: str
    """What is done, in words."""
    span: ast.Span
    """Where it stands in the query."""
    steps: int
    """At how many times it is evaluated."""
    series: int | None = None
    """Rows of its result; of a selector, series found; None: nobody has asked for them."""
    cells: int | None = None
    """Elements of its result, at all steps together. A range vector has none."""
    samples: int = 0
    """Decoded."""
    bytes: int = 0
    """Of memory, of the decoded samples and histograms."""
    seconds: float = 0.0
    """Until its result was there, with all that is below it. A range selector has no result of its own."""
    decoding: float = 0.0
    """Seconds that decoding took, added up over threads."""
    resolution_ms: int = 0
    """Of the downsampling tier that a selector reads; 0: samples."""
    sources: Sequence[str] | None = None
    """Where a selector's samples lie: ``head``, ``late``, ids of blocks; or windows: ``tier 1h`` and ids of its blocks.
    None: it reads none itself."""
    changes: list[str] = field(default_factory=list)
    """What rules of the optimiser made of it."""
    children: list[Node] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON. Of `samples`, `bytes`, `sources` and `tier`, selectors have those that they read."""
        found: dict[str, object] = {"node": self.what, "start": self.span.start, "end": self.span.end,
                                    "steps": self.steps}
        if self.series is not None:
            found["series"] = self.series
        if self.sources is not None:
            tier = format_duration(self.resolution_ms) if self.resolution_ms else "raw"
            found |= {"samples": self.samples, "bytes": self.bytes, "tier": tier, "sources": list(self.sources),
                      "decode_seconds": round(self.decoding, 6)}
        if self.cells is not None:
            found["points"] = self.cells
        if self.seconds:
            found["seconds"] = round(self.seconds, 6)
        if self.changes:
            found["optimised"] = self.changes
        if self.children:
            found["children"] = [child.as_dict() for child in self.children]
        return found


def new_node(expr: Expr, steps: int) -> Node:
    return Node(describe(expr), expr.span, steps)


def describe(expr: Expr) -> str:
    """A part of a query in a few words."""
    match expr:
        case ast.Aggregate():
            grouping = f"{' without' if expr.without else ' by'} ({', '.join(expr.grouping)})"
            return f"aggregation {expr.op}{grouping if expr.grouping or expr.without else ''}"
        case ast.Call():
            return f"function {expr.function}"
        case ast.Binary():
            matching = ""
            if expr.matching is not None and (expr.matching.on or expr.matching.labels):
                matching = f" {'on' if expr.matching.on else 'ignoring'} ({', '.join(expr.matching.labels)})"
            return f"operator {expr.op}{' bool' if expr.return_bool else ''}{matching}"
        case ast.Unary():
            return f"sign {expr.op}"
        case ast.Subquery():
            step = ":" if expr.step is None else f":{_duration(expr.step)}"
            return f"subquery [{_duration(expr.range)}{step}]"
        case ast.VectorSelector() | ast.MatrixSelector():
            return f"selector {to_promql(expr)}"
        case _:
            return to_promql(expr)


def _duration(duration: object) -> str:
    return format_duration(duration) if isinstance(duration, int) else getattr(duration, "text", "computed")


class Explanation:
    """Collects the nodes of a query while its operators are made: `enter` a part before those within it."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []

    def enter(self, expr: Expr, steps: int, what: str = "") -> Node:
        """`what`: is done with it, if not what it says."""
        node = Node(what, expr.span, steps) if what else new_node(expr, steps)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        return node

    def leave(self) -> None:
        self._open.pop()

    @property
    def complete(self) -> bool:
        """Whether all operators are made. A part that is computed anew afterwards is not noted again."""
        return self.root is not None and not self._open
