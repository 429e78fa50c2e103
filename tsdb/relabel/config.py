"""Config of one relabeling rule."""

from __future__ import annotations

from typing import Annotated, Literal

from tsdb.model.settings import Section, key

Action = Literal["replace", "lowercase", "uppercase", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap",
                 "labeldrop", "labelkeep"]


class RelabelConfig(Section, frozen=True):
    source_labels: Annotated[tuple[str, ...], key("Labels whose values, joined, the rule looks at.")] = ()
    separator: Annotated[str, key("What joins them.")] = ";"
    regex: Annotated[str, key("RE2 expression that must match the whole text.")] = "(.*)"
    modulus: Annotated[int, key("Of the hash, for `hashmod`.")] = 0
    target_label: Annotated[str, key("Label that gets the result; may hold groups, `${1}`, for `replace`.")] = ""
    replacement: Annotated[str, key("What the label gets; may hold the expression's groups, `${1}`.")] = "$1"
    action: Annotated[Action, key("What is done.")] = "replace"
