"""Config schemas: msgspec structs whose fields carry doc line, unit and reloadable; one table of keys comes from them.

Each part of the server owns its struct (`scraper.config`, …); `tsdb.config` composes them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from tsdb.model.document import Document, Path
from tsdb.model.durations import format_duration, parse_duration
from tsdb.model.errors import ConfigError

T = TypeVar("T")


class Duration(int):
    """Milliseconds; in a file, text such as ``15s``."""

    @classmethod
    def of(cls, text: str) -> Duration:
        return cls(parse_duration(text))

    @property
    def seconds(self) -> float:
        return self / 1000

    def __str__(self) -> str:
        return format_duration(self)


class Bytes(int):
    """A number of bytes; in a file, text such as ``32MiB``. KB and KiB are both 1024, as in Prometheus."""

    @classmethod
    def of(cls, text: str) -> Bytes:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:([KMGTPE])?i?B)?", text)
        if found is None:
            raise ValueError(f'not a valid size: "{text}" (as in 512MB, 32MiB)')
        power = " KMGTPE".index(found[2]) if found[2] else 0
        return cls(float(found[1]) * 1024**power)

    def __str__(self) -> str:
        number, power = int(self), 0
        while number >= 1024 and number % 1024 == 0 and power < 6:
            number, power = number // 1024, power + 1
        return f"{number}{' KMGTPE'[power]}iB" if power else f"{number}B"


class Secret(str):
    """Text that is never shown: its `repr` and its place in a printed config are ``<secret>``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>" if self else "''"


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of the structs of a config."""


def key(doc: str, *, unit: str = "", reloadable: bool = False) -> msgspec.Meta:
    """Annotation of a field: ``interval: Annotated[Duration, key("How often …")] = Duration.of("1m")``."""
    return msgspec.Meta(description=doc, extra={"unit": unit, "reloadable": reloadable})


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


def keys(section: type[Section], prefix: str = "") -> Iterator[Key]:
    """All keys of a schema, in the order of the file."""
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        annotated = hints[field.name]
        meta = next((part for part in get_args(annotated)[1:] if isinstance(part, msgspec.Meta)), None)
        plain = _plain(annotated)
        name = f"{prefix}{field.encode_name}"
        item = get_args(plain)[0] if get_origin(plain) is tuple else None
        extra = (meta.extra if meta else None) or {}
        yield Key(
            name=name + ("[]" if _is_section(item) else ""),
            type="section" if _is_section(plain) else _type_name(plain),
            unit=extra.get("unit", "") or ("duration" if plain is Duration else ""),
            default=_default(field),
            doc=(meta.description if meta else "") or "",
            reloadable=bool(extra.get("reloadable")),
        )
        if _is_section(plain):
            yield from keys(plain, f"{name}.")
        elif _is_section(item):
            assert item is not None
            yield from keys(item, f"{name}[].")


def build(document: Document, section: type[T]) -> T:
    """The typed form of a parsed file. Raises ConfigError with place, key and remedy."""
    value = _shape(document, {} if document.value is None else document.value, section, ())
    try:
        return msgspec.convert(value, section, dec_hook=_decode)
    except msgspec.ValidationError as problem:
        text, path = _located(str(problem))
        raise ConfigError(f"{document.place(path)}: {_dotted(path)}{text}") from None


def _is_section(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Section)


def _type_name(type_: Any) -> str:
    if get_origin(type_) is tuple:
        return f"list of {_type_name(get_args(type_)[0])}"
    if get_origin(type_) is dict:
        return "mapping of text to text"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Duration: "duration", Bytes: "size",
             Secret: "secret text"}
    if type_ in names:
        return names[type_]
    if _is_section(type_):
        return "section"
    return " or ".join(f"`{choice}`" for choice in get_args(type_))


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, Section) or value in ((), {}, None, ""):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decode(type_: type, value: Any) -> Any:
    if type_ is Duration:
        if not isinstance(value, str):
            raise ValueError(f"a duration needs a unit, as in 15s or 1h30m, not {value!r}")
        return Duration.of(value)
    if type_ is Bytes:
        return Bytes.of(str(value))
    if type_ is Secret:
        return Secret(value)
    raise NotImplementedError(type_)


def _shape(document: Document, value: Any, type_: Any, path: Path) -> Any:
    """The value without unknown keys (refused) and keys without a value (defaults); scalars as text where wanted."""
    type_ = _plain(type_)
    if value is None:
        return None
    if get_origin(type_) is Literal and document.texts.get(path, value) not in get_args(type_):
        raise ConfigError(f"{document.place(path)}: {_dotted(path)}must be {_type_name(type_).replace('`', '')}")
    if type_ in (str, Secret) or get_origin(type_) is Literal:
        return document.texts.get(path, value)
    if get_origin(type_) is tuple and isinstance(value, list):
        return [_shape(document, item, get_args(type_)[0], (*path, index)) for index, item in enumerate(value)]
    if get_origin(type_) is dict and isinstance(value, dict):
        shaped = {name: _shape(document, item, get_args(type_)[1], (*path, name)) for name, item in value.items()}
        return {name: "" if item is None else item for name, item in shaped.items()}
    if not _is_section(type_) or not isinstance(value, dict):
        return value
    hints = get_type_hints(type_, include_extras=True)
    fields = {field.encode_name: hints[field.name] for field in msgspec.structs.fields(type_)}
    made = {}
    for name, item in value.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1, 0.5)
            advice = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(sorted(fields))}"
            raise ConfigError(f'{document.place((*path, name))}: unknown key "{_dotted((*path, name), "")}": {advice}')
        if item is not None:
            made[name] = _shape(document, item, fields[name], (*path, name))
    return made


def _plain(type_: Any) -> Any:
    """The type without annotation and without ``| None``."""
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    if get_origin(type_) is UnionType:
        type_ = next(part for part in get_args(type_) if part is not type(None))
    return type_


_AT = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)
_WORDS = {"object": "a mapping", "array": "a list", "str": "text", "int": "an integer", "bool": "true or false",
          "float": "a number", "null": "nothing"}
"""msgspec's words for types, in those of a config file."""
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")


def _located(message: str) -> tuple[str, Path]:
    found = _AT.fullmatch(message)
    assert found is not None
    steps = _STEP.finditer(found[2] or "")
    path = tuple(int(step[2]) if step[2] else step[1] for step in steps if step[1] or step[2])
    text = found[1]
    for theirs, ours in _WORDS.items():
        text = text.replace(f"`{theirs}`", ours)
    return text.replace("`", '"'), path


def _dotted(path: Path, end: str = ": ") -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return f"{text}{end}" if text else ""
