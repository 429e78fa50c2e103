"""Config of one relabeling rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from tsdb.model.document import Place
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Section, key

Action = Literal["replace", "lowercase", "uppercase", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap",
                 "labeldrop", "labelkeep"]


class _Unsaid(str):
    """A text that the file does not give."""

    __slots__ = ()


class RelabelConfig(Section, frozen=True):
    """A rule that rewrites labels, or drops what has them. Rules are applied in order."""

    source_labels: Annotated[
        tuple[str, ...], key("Labels whose values, joined, the rule looks at.", flow=True)
    ] = ()
    separator: Annotated[str, key("What joins the values.", empty="")] = ";"
    regex: Annotated[
        str, key("RE2 expression. It must match the whole text; `.` matches line ends too.", empty="")
    ] = _Unsaid("(.*)")
    modulus: Annotated[int, key("For `hashmod`: the hash modulo this.", most=2**64 - 1)] = 0
    target_label: Annotated[
        str, key("Label that gets the result; for `replace` it may hold groups of the expression, `${1}`.")
    ] = ""
    replacement: Annotated[
        str,
        key("What the label gets; may hold groups of the expression, `${1}`. Empty removes the label.", empty=""),
    ] = "$1"
    action: Annotated[
        Action,
        key(
            "`replace`, `lowercase`, `uppercase`, `hashmod` set `target_label`; `keep`, `drop` look at the expression, "
            "`keepequal`, `dropequal` at whether `target_label` has the joined values; `labelmap`, `labeldrop`, "
            "`labelkeep` look at the names of labels.",
            fold=True,
        ),
    ] = "replace"

    def shown_form(self, made: Mapping[str, Any]) -> Mapping[str, Any]:
        """The expression is left out where the file does not give it, and null where it is empty."""
        shown = {name: made.get(name) for name in self.shown_order() if name in made or (name == "regex")}
        if isinstance(self.regex, _Unsaid):
            del shown["regex"]
        return shown

    def checked(self, place: Place) -> RelabelConfig:
        from tsdb.relabel.rules import Relabeling  # brings RE2

        try:
            Relabeling([self])
        except ConfigError as problem:
            raise place.error(str(problem).removeprefix("relabeling rule 1: ")) from None
        return self
