"""The table of all keys of a config schema: the reference page comes from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_origin

from tsdb.model.settings import Duration, Field, Section, fields, is_section, item_type, type_name


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the table of keys."""

    name: str
    """Dotted; ``[]`` after a list's."""
    type: str
    unit: str
    default: str
    doc: str
    reloadable: bool
    built: bool


def keys(section: type[Section], prefix: str = "", reloadable: bool = False) -> Iterator[Key]:
    """All keys of a schema, in the order of the file. In a section or list that is reloadable all keys are."""
    for field in fields(section).values():
        inner = item_type(field.type)
        mark = {tuple: "[]", dict: ".*"}.get(get_origin(field.type), "") if is_section(inner) else ""
        name = f"{prefix}{field.name}{mark}"
        reloads = reloadable or field.more["reloadable"]
        yield Key(
            name=name,
            type=type_name(field.type),
            unit=field.more.get("unit", "") or ("duration" if field.type is Duration else ""),
            default=_default(field),
            doc=field.doc,
            reloadable=reloads,
            built=field.more["built"],
        )
        if is_section(inner):
            yield from keys(inner, f"{name}.", reloads)


def _default(field: Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if isinstance(value, Section) or value in ((), {}, None, ""):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
