"""Rule files: groups of recording and alerting rules, as Prometheus has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from tsdb.model.document import Place
from tsdb.model.errors import ParseError
from tsdb.model.labels import METRIC_NAME
from tsdb.model.settings import Duration, Section, key
from tsdb.promql import parse


class Rule(Section, frozen=True, rename={"for_": "for"}):
    """A recording rule, or an alerting rule."""

    record: Annotated[str, key("Name of the series that the result is kept as.")] = ""
    alert: Annotated[str, key("Name of the alert.")] = ""
    expr: Annotated[str, key("PromQL.")] = ""
    for_: Annotated[Duration, key("How long the result must be there before the alert fires.")] = Duration(0)
    keep_firing_for: Annotated[Duration, key("How long the alert goes on firing without it.")] = Duration(0)
    labels: Annotated[dict[str, str], key("Labels of the series or the alert; those of the result with the same name "
                                          "are replaced, an empty value removes them.")] = field(default_factory=dict)
    annotations: Annotated[dict[str, str], key("What people are told of the alert.")] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.record or self.alert

    def checked(self, place: Place) -> Rule:
        """As Prometheus' rulefmt; templates are not looked at."""
        if self.record and self.alert:
            raise place.error("only one of 'record' and 'alert' must be set", "alert")
        if not self.name:
            raise place.error("one of 'record' or 'alert' must be set")
        if not self.expr:
            raise place.error(f'rule "{self.name}": field \'expr\' must be set in rule', "expr")
        try:
            parse(self.expr)
        except ParseError as problem:
            raise place.error(f'rule "{self.name}": could not parse expression: {problem}', "expr") from None
        if self.record:
            for value, word in ((self.annotations, "annotations"), (self.for_, "for"),
                                (self.keep_firing_for, "keep_firing_for")):
                if value:
                    raise place.error(f"invalid field '{word}' in recording rule", word)
            if "{" in self.record or "}" in self.record:
                raise place.error("braces present in the recording rule name; should it be in expr?: "
                                  f"{self.record}", "record")
        _check_labels(self.labels, place, "labels")
        for name in self.annotations:
            if not name:
                raise place.error("invalid annotation name: it is empty", "annotations")
        return self


class Group(Section, frozen=True):
    """Rules that are evaluated together."""

    name: Annotated[str, key("Name of the group, which no other group of the file has.")]
    interval: Annotated[Duration, key("How often the rules are evaluated. Default: `global.evaluation_interval`.")
                        ] = Duration(0)
    query_offset: Annotated[Duration | None, key("How far in the past they are evaluated. Default: "
                                                 "`global.rule_query_offset`.")] = None
    limit: Annotated[int, key("The most series or alerts that a rule may make; 0: any number.", least=None)] = 0
    labels: Annotated[dict[str, str], key("Labels for all rules; those of a rule win.")] = field(default_factory=dict)
    rules: Annotated[tuple[Rule, ...], key("The rules, in the order in which they are evaluated.")] = ()

    def checked(self, place: Place) -> Group:
        if not self.name:
            raise place.error("Groupname must not be empty", "name")
        _check_labels(self.labels, place, "labels")
        return self

    def labels_of(self, rule: Rule) -> Mapping[str, str]:
        """What is set on the rule's results."""
        return {**self.labels, **rule.labels}


class RuleFile(Section, frozen=True):
    """A file of rules."""

    groups: Annotated[tuple[Group, ...], key("Groups of rules.")] = ()

    def checked(self, place: Place) -> RuleFile:
        seen: set[str] = set()
        for i, group in enumerate(self.groups):
            if group.name in seen:
                raise place.error(f'groupname: "{group.name}" is repeated in the same file', "groups", i)
            seen.add(group.name)
        return self


def _check_labels(labels: Mapping[str, str], place: Place, word: str) -> None:
    for name in labels:
        if not name or name == METRIC_NAME:
            raise place.error(f"invalid label name: {name}", word, name)
