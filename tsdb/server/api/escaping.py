"""Names that are not plain in the text format: Prometheus' escaping schemes, and which one a scraper asks for."""

from __future__ import annotations

import re

ALLOW_UTF8 = "allow-utf-8"
UNDERSCORES = "underscores"
DOTS = "dots"
VALUES = "values"
SCHEMES = (ALLOW_UTF8, UNDERSCORES, DOTS, VALUES)

_PLAIN = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)


def negotiated(accept: str) -> str:
    """The scheme that an Accept header asks for; by default underscores. Formats other than text are passed over."""
    scheme = UNDERSCORES
    clauses = []
    for clause in accept.split(","):
        kind, *parameters = (part.strip() for part in clause.split(";"))
        named = {name.strip(): value.strip().strip('"') for name, _, value in (p.partition("=") for p in parameters)}
        try:
            quality = float(named.get("q", "1"))
        except ValueError:
            quality = 1.0
        clauses.append((quality, kind.lower(), named))
    clauses.sort(key=lambda clause: -clause[0])
    for _, kind, named in clauses:
        if named.get("escaping") in SCHEMES:
            scheme = named["escaping"]
        if kind == "text/plain" and named.get("version", "0.0.4") == "0.0.4":
            break
    return scheme


def escaped(name: str, scheme: str) -> str:
    """The name in a scheme. Plain names stay as they are, in all of them."""
    if scheme == ALLOW_UTF8 or not name or _PLAIN.fullmatch(name):
        return name
    if scheme == UNDERSCORES:
        return "".join(char if _fits(char, at) else "_" for at, char in enumerate(name))
    if scheme == DOTS:
        special = {"_": "__", ".": "_dot_"}
        return "".join(special.get(char) or (char if _fits(char, at) else "__") for at, char in enumerate(name))
    return "U__" + "".join(
        "__" if char == "_" else char if _fits(char, at) else f"_{ord(char):x}_" for at, char in enumerate(name)
    )


def _fits(char: str, at: int) -> bool:
    return bool(_PLAIN.fullmatch(char)) or (at > 0 and char.isascii() and char.isdigit())


def written(name: str, scheme: str) -> str:
    """The name as the text format has it: quoted where it is not plain after escaping."""
    name = escaped(name, scheme)
    return name if _PLAIN.fullmatch(name) else quoted(name)


def quoted(value: str) -> str:
    """A label value, or a name that is not plain."""
    if "\\" in value or "\n" in value or '"' in value:
        value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r'\"')
    return f'"{value}"'
