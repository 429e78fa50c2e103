"""The table of all keys of a config schema: the reference page comes from it.

A section that stands at several places is listed where it comes first; other places refer to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_origin

from tsdb.model.settings import Duration, Field, Section, fields, is_section, item_type, type_name


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the table of keys."""

    name: str
    """Dotted; ``[]`` after a list's, ``.*`` after a mapping's."""
    type: str
    unit: str
    default: str
    doc: str
    reloadable: bool
    built: bool


def keys(section: type[Section], first: Sequence[str] = ()) -> Iterator[Key]:
    """All keys of a schema, in the order in which they are shown, those that `first` names before the others."""
    yield from _keys(section, "", {}, False, True, first)


def _keys(
    section: type[Section], prefix: str, seen: dict[type, str], reloadable: bool, built: bool, first: Sequence[str] = ()
) -> Iterator[Key]:
    seen[section] = prefix
    inherited: dict[type, list[str]] = {}
    here: set[type] = set()
    order = sorted(section.shown_order(), key=lambda name: first.index(name) if name in first else len(first))
    for field in (fields(section)[name] for name in order):
        owner = _owner(section, field)
        if owner is not section and owner in seen and owner not in here:
            inherited.setdefault(owner, []).append(field.name)
            continue
        if owner not in seen:
            seen[owner] = prefix
            here.add(owner)
        yield from _field_keys(field, prefix, seen, reloadable, built)
    for owner, names in inherited.items():
        yield Key(f"{prefix}{names[0]}, …", "", "", "", f"{_list(names)}: as in `{seen[owner].rstrip('.')}`.",
                  reloadable, built)


def _field_keys(field: Field, prefix: str, seen: dict[type, str], reloadable: bool, built: bool) -> Iterator[Key]:
    inner = item_type(field.type)
    origin = get_origin(field.type)
    mark = ("[]" if origin is tuple else ".*" if origin is dict else "") if is_section(inner) else ""
    name = f"{prefix}{field.name}{mark}"
    reloadable = reloadable or field.more["reloadable"]
    built = built and field.more["built"]
    doc = field.doc
    if is_section(inner) and inner in seen:
        doc += f" Its keys: as in `{seen[inner].rstrip('.')}`."
    yield Key(
        name=name,
        type=type_name(field.type),
        unit=field.more["unit"] or ("duration" if field.type is Duration else ""),
        default=_default(field),
        doc=doc,
        reloadable=reloadable,
        built=built,
    )
    if is_section(inner) and inner not in seen:
        yield from _keys(inner, f"{name}.", seen, reloadable, built)


def _owner(section: type[Section], field: Field) -> type:
    """The class that says what the field is."""
    return next(base for base in section.__mro__ if field.attribute in inspect.get_annotations(base))


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(field: Field) -> str:
    if field.required:
        return "required"
    value = field.default
    if isinstance(value, Section) or value in ((), {}, None, ""):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
