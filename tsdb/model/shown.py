"""A config as YAML for people and for Prometheus' clients: as its yaml.v2 prints it, and without secrets.

What is zero in Go is left out unless the key says otherwise; defaults that are not zero are there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from tsdb.model.document import plain
from tsdb.model.environment import Expanded
from tsdb.model.settings import Bytes, Duration, Secret, Section, Url, fields, is_section, item_type, redacted

SECRET = "<secret>"
_WIDTH = 80
_NOT_TEXT = re.compile(
    r"[yYnN]|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # sixties, of YAML 1.1
    r"|[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|[0-9][0-9_]*)"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"
)
"""Plain scalars that some YAML reader takes for something else than text: Go quotes them."""
_SECRET_KEY = re.compile(r"pass|secret|token|credential|private|api_key|\bkey$|_key$", re.IGNORECASE)


class Flow(list[Any]):
    """A list that is printed on one line."""


def tree(section: Section) -> dict[str, Any]:
    """The section as mappings, lists and scalars, in Prometheus' order, secrets replaced."""
    known = fields(type(section))
    made = {}
    for name in section.shown_order():
        field = known[name]
        value = getattr(section, field.attribute)
        pointer = field.optional and (field.type is bool or is_section(field.type))  # Go has no other ones here
        if value is None or (not field.more["always"] and not pointer and _is_zero(value)):
            continue
        shown = censored(value) if item_type(field.type) is Any else _value(value)
        made[name] = Flow(shown) if field.more["flow"] else shown
    return dict(section.shown_form(made))


def yaml_text(value: Any) -> str:
    """A tree as YAML text, as Go's yaml.v2 prints it."""
    import yaml  # not needed by who shows no config

    dumper = getattr(yaml, "CDumper", yaml.Dumper)
    events = [yaml.StreamStartEvent(), yaml.DocumentStartEvent(explicit=False), *_events(value),
              yaml.DocumentEndEvent(explicit=False), yaml.StreamEndEvent()]
    text: str = yaml.emit(events, Dumper=dumper, width=_WIDTH, allow_unicode=True)
    return text


def _value(value: Any) -> Any:
    if isinstance(value, Section):
        return tree(value)
    if isinstance(value, (tuple, list)):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {name: _value(value[name]) for name in sorted(value)}
    if isinstance(value, Secret):
        return SECRET if value else None
    if isinstance(value, Expanded):
        return redacted(value.written)
    if isinstance(value, Url):
        return redacted(value)
    if isinstance(value, Bytes):
        return go_bytes(value)
    return str(value) if isinstance(value, Duration) else value


def go_bytes(value: int) -> str:
    """As Go's units.Base2Bytes prints it: each power that is there."""
    if not value:
        return "0B"
    text = ""
    for power in range(6, -1, -1):
        count, value = divmod(value, 1024**power)
        if count:
            text += f"{count}{' KMGTPE'[power].strip()}{'iB' if power else 'B'}"
    return text


def censored(value: Any, name: str = "") -> Any:
    """Content whose keys are not known, without what looks like a secret."""
    if isinstance(value, dict):
        return {key: censored(item, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [censored(item, name) for item in value]
    if _SECRET_KEY.search(name) and not name.endswith("_file") and value not in ("", None):
        return SECRET
    return redacted(value.written if isinstance(value, Expanded) else value) if isinstance(value, str) else value


def _is_zero(value: Any) -> bool:
    """Zero in the sense of Go: what yaml.v2 leaves out."""
    if isinstance(value, Section):
        return all(_is_zero(getattr(value, field.attribute)) for field in fields(type(value)).values())
    return value is None or value == 0 or value in ("", (), {})


def _events(value: Any) -> Iterator[Any]:
    import yaml

    if isinstance(value, dict):
        yield yaml.MappingStartEvent(None, None, True, flow_style=not value)
        for name, item in value.items():
            yield _scalar(name)
            yield from _events(item)
        yield yaml.MappingEndEvent()
    elif isinstance(value, list):
        yield yaml.SequenceStartEvent(None, None, True, flow_style=isinstance(value, Flow) or not value)
        for item in value:
            yield from _events(item)
        yield yaml.SequenceEndEvent()
    else:
        yield _scalar(value)


def _scalar(value: Any) -> Any:
    import yaml

    if not isinstance(value, str):
        text = "null" if value is None else str(value).lower() if isinstance(value, bool) else _number(value)
        return yaml.ScalarEvent(None, None, (True, True), text)
    style = None
    if "\n" in value:
        style = "|"
    elif not isinstance(plain(value), str) or _NOT_TEXT.fullmatch(value):
        style = '"'
    return yaml.ScalarEvent(None, None, (True, True), value, style=style)


def _number(value: float) -> str:
    """As Go prints it."""
    if isinstance(value, int) or not math.isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(str(value), str(value))
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if not exponent and abs(value) >= 1e21:
        return f"{value:e}"
    return f"{mantissa.removesuffix('.0')}e{exponent}" if exponent else text.removesuffix(".0")
