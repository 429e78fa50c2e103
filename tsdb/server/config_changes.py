"""What a new config changes in a running server, and what has to wait for a restart."""

from __future__ import annotations

from typing import Annotated, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from tsdb.model.settings import Section

S = TypeVar("S", bound=Section)


def taken_over(running: S, wanted: S) -> tuple[S, list[str]]:
    """(the config in effect after a reload, names of the keys that have changed and need a restart).

    A key is taken over if it, or a section or list that it is in, is marked ``reloadable``; others keep their running
    value. Names are dotted, as in the table of keys.
    """
    pending: list[str] = []
    return _merged(running, wanted, "", pending), pending


def _merged(running: S, wanted: S, prefix: str, pending: list[str]) -> S:
    if running == wanted:
        return running
    hints = get_type_hints(type(wanted), include_extras=True)
    kept = {}
    for field in msgspec.structs.fields(type(wanted)):
        old, new = getattr(running, field.name), getattr(wanted, field.name)
        if old == new or _reloadable(hints[field.name]):
            continue
        name = f"{prefix}{field.encode_name}"
        if isinstance(old, Section) and type(old) is type(new):
            kept[field.name] = _merged(old, new, f"{name}.", pending)
        else:
            kept[field.name] = old
            pending.append(name)
    return msgspec.structs.replace(wanted, **kept) if kept else wanted


def _reloadable(hint: object) -> bool:
    if get_origin(hint) is not Annotated:
        return False
    marks = [part.extra or {} for part in get_args(hint)[1:] if isinstance(part, msgspec.Meta)]
    return any(mark.get("reloadable") for mark in marks)
