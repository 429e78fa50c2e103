"""What a query did, as a tree of text: what each part read, gave and took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(node: Mapping[str, Any]) -> Iterator[str]:
    """Lines of text; `node` is the root, as the API gives it."""
    yield from _lines(node, "", "")


def _lines(node: Mapping[str, Any], first: str, rest: str) -> Iterator[str]:
    yield first + str(node["node"])
    children = node.get("children", [])
    margin = rest + ("│  " if children else "   ")
    yield margin + ", ".join(_facts(node))
    for change in node.get("optimised", ()):
        yield f"{margin}{change}"
    for number, child in enumerate(children):
        last = number == len(children) - 1
        yield from _lines(child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _facts(node: Mapping[str, Any]) -> Iterator[str]:
    for name, one, many in (("steps", "step", "steps"), ("series", "series", "series"),
                            ("samples", "sample", "samples"), ("bytes", "byte", "bytes"),
                            ("points", "point", "points")):
        number = node.get(name)
        if number is not None:
            yield f"{number:,} {one if number == 1 else many}"
    sources = node.get("sources")
    if sources is not None:
        blocks = len([source for source in sources if source not in ("head", "late")])
        parts = [source for source in sources if source in ("head", "late")]
        parts += [f"{blocks} block{'s' if blocks > 1 else ''}"] if blocks else []
        yield f"{node['tier']}: {' + '.join(parts) or 'nothing'}"
    for name, said in (("decode_seconds", "decoded in "), ("seconds", "")):
        seconds = node.get(name)
        if seconds is not None:
            yield f"{said}{seconds * 1000:.2f} ms"
