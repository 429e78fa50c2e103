"""Config schemas: structs whose fields carry doc line, unit and whether they are built; files are read into them.

Each part of the server owns its structs (`scraper.config`, …); `tsdb.config` composes them. `tsdb.model.key_table`
makes the table of all keys of them, `tsdb.model.shown` makes YAML of them.
"""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from tsdb.model.document import Document, Path, Place
from tsdb.model.durations import format_duration, parse_duration
from tsdb.model.environment import Expanded
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
        for part in (r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]iB|B)", r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]?B)"):
            if re.fullmatch(f"(?:{part})+", text):
                return cls(sum(float(number) * 1024 ** " KMGTPE".index(unit[0].replace("B", " "))
                               for number, unit in re.findall(part, text)))
        if text == "0":
            return cls(0)
        raise ValueError(f'not a valid size: "{text}" (as in 512MB, 32MiB)')

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


class Url(str):
    """A URL; shown without its password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redacted(self))


def redacted(url: str) -> str:
    """The URL with ``xxxxx`` instead of a password."""
    return re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*://[^/?#@:]*):[^/?#]*@", r"\1:xxxxx@", url)


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base of the structs of a config."""

    def checked(self, place: Place) -> Self:
        """What its types do not say is checked here, and what is a short form completed. Raises ConfigError."""
        return self

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        """Names of its keys in the order in which Prometheus shows them."""
        return tuple(fields(cls))

    def shown_form(self, made: Mapping[str, Any]) -> Mapping[str, Any]:
        """What Prometheus shows of it where that is not its plain form `made`."""
        return made


def key(
    doc: str,
    *,
    unit: str = "",
    reloadable: bool = False,
    built: bool = True,
    protects: bool = False,
    without: str = "ignored",
    least: int | None = 0,
    most: int = 2**63 - 1,
    fold: bool = False,
    file: bool = False,
    empty: Any = None,
    filled: bool = False,
    always: bool = False,
    flow: bool = False,
    words: Mapping[str, Any] = MappingProxyType({}),
) -> msgspec.Meta:
    """Annotation of a field: ``interval: Annotated[Duration, key("How often …")] = Duration.of("1m")``.

    `built`: False warns where the key is used, and says what is so `without` it; where it `protects` or selects, its
    use is an error instead. `least` and `most`: of an integer. `fold`: a choice in any case. `file`: the name of a
    file, relative to the folder of the config. `empty`: what the key without a value means, where that is not its
    default. `filled`: the list may be left out, but not be empty. `always`: shown even where it is zero, `flow`: shown
    on one line, both as in Prometheus. `words`: texts that stand for a value of another type.
    """
    extra = {"unit": unit, "reloadable": reloadable, "built": built, "protects": protects, "without": without,
             "least": least, "most": most, "fold": fold,
             "file": file, "empty": empty, "filled": filled, "always": always, "flow": flow, "words": words}
    return msgspec.Meta(description=doc, extra=extra)


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a section, as `key()` describes it."""

    name: str
    """In the file."""
    attribute: str
    type: Any
    """Without annotation and without ``| None``."""
    optional: bool
    """May be None."""
    required: bool
    default: Any
    doc: str
    more: Mapping[str, Any]
    """What else `key()` was given."""


@functools.cache
def fields(section: type[Section]) -> Mapping[str, Field]:
    """The keys of a section by their names in the file: its fields that `key()` describes."""
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(section):
        annotated = hints[field.name]
        meta = next((part for part in get_args(annotated)[1:] if isinstance(part, msgspec.Meta)), None)
        if meta is None:
            continue
        type_ = get_args(annotated)[0]
        optional = get_origin(type_) in (UnionType, Union)
        default = None if field.required else field.default
        if default is msgspec.NODEFAULT:
            default = field.default_factory()
        found[field.encode_name] = Field(field.encode_name, field.name, plain_type(type_), optional, field.required,
                                         default, meta.description or "", meta.extra or {})
    return found


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A key of a file that does nothing yet."""

    name: str
    places: tuple[str, ...]
    without: str

    def __str__(self) -> str:
        more = f" and {len(self.places) - 1} more" if len(self.places) > 1 else ""
        return f"{self.places[0]}{more}: {self.name}: not built yet: {self.without}"


def build(document: Document, section: type[T], folder: str = "") -> T:
    """The typed form of a parsed file. File names in it are joined to `folder`. Raises ConfigError with place, key
    and remedy."""
    return read(document, section, folder)[0]


def read(document: Document, section: type[T], folder: str = "") -> tuple[T, list[Unbuilt]]:
    """As `build`, with the keys that are not built yet."""
    reader = _Reader(document, section, folder)
    made: T = reader.value({} if document.value is None else document.value, section, (), None)
    return made, [Unbuilt(name, tuple(places), without) for (name, without), places in reader.unbuilt.items()]


class _Reader:
    def __init__(self, document: Document, root: type, folder: str) -> None:
        self._document = document
        self._root = root
        self._folder = folder
        self._skipped = 0
        self.unbuilt: dict[tuple[str, str], list[str]] = {}

    def value(self, value: Any, type_: Any, path: Path, field: Field | None) -> Any:
        """`value` as a `type_`. Raises ConfigError."""
        origin = get_origin(type_)
        if is_section(type_):
            return self._section(value, type_, path)
        if origin is tuple:
            if not isinstance(value, list):
                raise self._expected("a list", value, path)
            if not value and field is not None and field.more["filled"]:
                raise self._error("cannot be empty", path)
            return tuple(self._item(item, get_args(type_)[0], (*path, i), field) for i, item in enumerate(value))
        if origin is dict:
            if not isinstance(value, dict):
                raise self._expected("a mapping", value, path)
            return {name: self._item(item, get_args(type_)[1], (*path, name), field) for name, item in value.items()}
        return value if type_ is Any else self._scalar(value, type_, path, field)

    def _item(self, item: Any, type_: Any, path: Path, field: Field | None) -> Any:
        if item is None and path not in self._document.texts:
            if type_ in (str, Secret, Url):
                return type_("")
            what = f"empty or null item: {'give it keys' if is_section(type_) else 'give it a value'}, or remove it"
            raise self._error(what, path)
        return self.value(item, type_, path, field)

    def _section(self, value: Any, type_: type[Section], path: Path) -> Section:
        if not isinstance(value, dict):
            raise self._expected("a mapping", value, path)
        known = fields(type_)
        made = {}
        for name, item in value.items():
            field = known.get(name)
            if field is None:
                raise self._unknown(name, type_, path)
            at = (*path, name)
            if item is None and at not in self._document.texts:
                if field.more["empty"] is not None:
                    made[field.attribute] = field.more["empty"]
                continue
            if isinstance(item, str) and item in field.more["words"]:
                made[field.attribute] = field.more["words"][item]
                continue
            self._skipped += not field.more["built"]
            made[field.attribute] = self.value(item, field.type, at, field)
            self._skipped -= not field.more["built"]
            if not field.more["built"] and made[field.attribute] not in (field.default, False, 0, (), {}, ""):
                self._note_unbuilt(field, at)
        for field in known.values():
            if field.required and field.attribute not in made:
                raise self._error(f'the key "{field.name}" is missing', path)
        return type_(**made).checked(Place(self._document, path))

    def _note_unbuilt(self, field: Field, path: Path) -> None:
        if self._skipped:
            return  # what is around it does nothing either
        if field.more["protects"]:
            raise self._error("not built yet, and ignoring it would not be safe: remove it", path)
        name = "".join("[]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        self.unbuilt.setdefault((name, field.more["without"]), []).append(self._document.place(path))

    def _scalar(self, value: Any, type_: Any, path: Path, field: Field | None) -> Any:
        text = self._document.texts.get(path, value)
        if get_origin(type_) is Literal:
            if field is not None and field.more["fold"] and isinstance(text, str):
                text = text.lower()
            if text not in get_args(type_):
                raise self._error(f"must be {type_name(type_).replace('`', '')}", path)
            return text
        if type_ in (str, Secret, Url):
            if not isinstance(text, str):
                raise self._expected("text", value, path)
            if field is not None and field.more["file"]:
                text = joined(self._folder, text)
            return text if type_ is str or (type_ is Url and isinstance(text, Expanded)) else type_(text)
        if type_ in (Duration, Bytes):
            if not isinstance(text, str):
                raise self._expected(f"a {type_name(type_)}", value, path)
            try:
                return type_.of(text)
            except ValueError as problem:
                hidden = f'"{text.written}" is no {type_name(type_)}' if isinstance(text, Expanded) else str(problem)
                raise self._error(hidden, path) from None
        return self._number(value, type_, path, field)

    def _number(self, value: Any, type_: Any, path: Path, field: Field | None) -> Any:
        if isinstance(value, str) and path in self._document.texts:  # not in quotes
            value = _BOOLEANS.get(value, value) if type_ is bool else int(value) if _INTEGER.fullmatch(value) else value
        if type_ is bool:
            if not isinstance(value, bool):
                raise self._expected("true or false", value, path)
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._expected("an integer" if type_ is int else "a number", value, path)
        if type_ is float:
            return float(value)
        least = field.more["least"] if field is not None and field.more["least"] is not None else -(2**63)
        most = field.more["most"] if field is not None else 2**63 - 1
        if not least <= value <= most or value != int(value):
            raise self._error(f"must be an integer from {least} to {most}", path)
        return int(value)

    def _unknown(self, name: str, type_: type[Section], path: Path) -> ConfigError:
        known = fields(type_)
        near = difflib.get_close_matches(name, known, 1, 0.6)
        root = item_type(self._root)
        here = re.sub(r"\[\d+\]", "[]", _dotted(path, ""))
        found = list(_places_of(root, name)) if is_section(root) else []
        elsewhere = sorted(found, key=lambda place: not place.startswith(here))
        if near and (not elsewhere or difflib.SequenceMatcher(None, name, near[0]).ratio() > 0.8):
            advice = f'did you mean "{near[0]}"?'
        elif elsewhere:
            advice = f"it belongs into {' or '.join(elsewhere[:3])}"
        else:
            advice = f"known here: {', '.join(sorted(known)[:20])}{', …' if len(known) > 20 else ''}"
        place = self._document.place((*path, name))
        return ConfigError(f'{place}: unknown key "{_dotted((*path, name), "")}": {advice}')

    def _expected(self, wanted: str, value: Any, path: Path) -> ConfigError:
        found = next(word for kind, word in _WORDS.items() if isinstance(value, kind))
        return self._error(f"expected {wanted}, got {found}", path)

    def _error(self, message: str, path: Path) -> ConfigError:
        return ConfigError(f"{self._document.place(path)}: {_dotted(path)}{message}")


def joined(folder: str, file: str) -> str:
    """The name of a file that a config in `folder` names: as it is if it is absolute or empty."""
    return file if not file or os.path.isabs(file) else os.path.normpath(os.path.join(folder, file))  # noqa: PTH117, PTH118


def item_type(type_: Any) -> Any:
    """The type of the items of a list or mapping; that of anything else is itself."""
    if get_origin(type_) is tuple:
        return get_args(type_)[0]
    return get_args(type_)[1] if get_origin(type_) is dict else type_


def is_section(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Section)


def plain_type(type_: Any) -> Any:
    """The type without ``| None``."""
    if get_origin(type_) in (UnionType, Union):
        return next(part for part in get_args(type_) if part is not type(None))
    return type_


def type_name(type_: Any) -> str:
    """In words of a user."""
    if get_origin(type_) is tuple:
        return f"list of {type_name(get_args(type_)[0])}"
    if get_origin(type_) is dict:
        inner = get_args(type_)[1]
        return "mapping of text to text" if inner is str else f"mapping of text to {type_name(inner)}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Duration: "duration", Bytes: "size",
             Secret: "secret text", Url: "URL", Any: "anything"}
    if type_ in names:
        return names[type_]
    if is_section(type_):
        return "section"
    return " or ".join(f"`{choice}`" for choice in get_args(type_) if choice)


_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,64}", re.ASCII)
"""With `_` between digits, as YAML 1.1 has it and Prometheus takes it."""
_BOOLEANS = {form: value
             for words, value in (("y yes true on", True), ("n no false off", False))
             for word in words.split()
             for form in (word, word.capitalize(), word.upper())}
"""What Prometheus takes for true and false where a key wants that; elsewhere they are text."""
_WORDS: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list",
                           dict: "a mapping", type(None): "nothing"}


def _places_of(section: type[Section], name: str, prefix: str = "", around: tuple[type, ...] = ()) -> Iterator[str]:
    """The sections under `section` that know a key, outer ones first."""
    known = fields(section)
    if name in known and prefix:
        yield prefix
    for field in known.values():
        inner = item_type(field.type)
        if is_section(inner) and inner not in around:
            mark = "[]" if get_origin(field.type) is tuple else ""
            yield from _places_of(inner, name, f"{prefix}.{field.name}{mark}".lstrip("."), (*around, inner))


def _dotted(path: Path, end: str = ": ") -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return f"{text}{end}" if text else ""
