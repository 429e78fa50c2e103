"""Labels, rules and what comes out: checked against ours and against the real Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Labels = dict[str, str]


@dataclass(frozen=True)
class Case:
    name: str
    labels: Labels
    rules: tuple[dict[str, Any], ...]
    expected: Labels | None
    """None: dropped."""


def case(name: str, labels: Labels, *rules: dict[str, Any], changed: Labels | None = None, dropped: bool = False,
         gone: tuple[str, ...] = ()) -> Case:
    """`changed` are labels that are new or others than before, `gone` those that are not there any more."""
    expected = {key: value for key, value in labels.items() if key not in gone and value} | (changed or {})
    return Case(name, labels, rules, None if dropped else expected)


def replace(source: str, regex: str | None, target: str, replacement: str | None = None, **more: Any) -> dict[str, Any]:
    rule: dict[str, Any] = {"source_labels": source.split(",") if source else [], "target_label": target, **more}
    if regex is not None:
        rule["regex"] = regex
    if replacement is not None:
        rule["replacement"] = replacement
    return rule


def on(action: str, source: str = "", regex: str | None = None, **more: Any) -> dict[str, Any]:
    rule: dict[str, Any] = {"action": action, **more}
    if source:
        rule["source_labels"] = source.split(",")
    if regex is not None:
        rule["regex"] = regex
    return rule


ABC = {"a": "foo", "b": "bar", "c": "baz"}
TAGS = {"tags": "path:/secret,job:some-job,label:foo=bar"}

CASES = [
    case("no rules", ABC),
    case("empty values are no labels", {"a": "", "b": "x"}),
    # replace
    case("copy", ABC, replace("a", None, "d"), changed={"d": "foo"}),
    case("copy of nothing removes", ABC, replace("nothing", None, "a"), gone=("a",)),
    case("joined", ABC, replace("a,b", None, "d"), changed={"d": "foo;bar"}),
    case("separator", ABC, replace("a,nothing,b", None, "d", separator=""), changed={"d": "foobar"}),
    case("constant", ABC, replace("", None, "d", "x"), changed={"d": "x"}),
    case("constant of nothing removes", ABC, replace("", None, "a", ""), gone=("a",)),
    case("group", ABC, replace("a", "f(.*)", "d", "ch${1}-ch${1}"), changed={"d": "choo-choo"}),
    case("one after another", ABC, replace("a,b", "f(.*);(.*)r", "a", "b${1}${2}m"),
         replace("c,a", "(b).*b(.*)ba(.*)", "d", "$1$2$2$3"), changed={"a": "boobam", "d": "boooom"}),
    case("no match changes nothing", ABC, replace("a", "oo", "d", "x"), replace("a", "(x)?", "d", "x")),
    case("empty result removes", ABC, replace("a", "foo", "b", ""), gone=("b",)),
    case("group that took no part", ABC, replace("a", "(x)?foo", "b", "${1}"), gone=("b",)),
    case("group in the middle", {"a": "abc"}, replace("a", ".*(b).*", "d"), changed={"d": "b"}),
    case("target from a group", {"a": "some-name-value"}, replace("a", "some-([^-]+)-([^,]+)", "${1}", "${2}"),
         changed={"name": "value"}),
    case("target from a prefix", {"a": "x_y"}, replace("a", "x_(.*)", "to_$1", "is"), changed={"to_y": "is"}),
    case("no such group in the replacement", {"a": "n-v"}, replace("a", "(.)-(.)", "$1", "${3}")),
    case("no such group in the target", {"a": "n-v"}, replace("a", "(.)-(.)", "${3}", "${1}")),
    case("target of any text", {"a": "n:v ü"}, replace("a", "n:(.*)", "$1", "x"), changed={"v ü": "x"}),
    case("whole match", ABC, replace("a", "f.*", "d", "<$0>"), changed={"d": "<foo>"}),
    case("named group", ABC, replace("a", "f(?P<rest>.*)", "d", "$rest ${rest} $other ${other}"),
         changed={"d": "oo oo  "}),
    case("dollars", ABC, replace("a", "(f)(.*)", "d", "$$1 $$$2 $ $- ${} ${1 ${1-} $$"),
         changed={"d": "$1 $oo $ $- ${} ${1 ${1-} $"}),
    case("a reference is as long as it can be", ABC, replace("a", "(f).*", "d", "[$1x][${1}x][$01][$1-][$10]"),
         changed={"d": "[][fx][][f-][]"}),
    case("letters of all alphabets in a reference", ABC, replace("a", "(f).*", "d", "[$1ä][$1²][$1٣][$1。]"),
         changed={"d": "[][f²][][f。]"}),
    case("the dot takes line ends", {"a": "x\ny"}, replace("a", "x.y", "d", "x"), replace("a", "x(.*)", "e"),
         changed={"d": "x", "e": "\ny"}),
    case("a dollar is no line end", {"a": "x\n"}, replace("a", "x$", "d", "x"), replace("a", "^x", "d", "x")),
    case("anchors of one's own", ABC, replace("a", "^foo$", "d", "x"), replace("b", "^(b.*)$", "e"),
         replace("b", "^(?:b)|(?:b.*)$", "f", "y"), changed={"d": "x", "e": "bar", "f": "y"}),
    case("breaking out of the parentheses", {"a": "foo more", "b": "less bar"}, replace("a", "foo)|(?:bar", "d", "x$0"),
         replace("b", "foo)|(?:bar", "e", "y$0"), replace("c", "foo)|(?:bar", "f", "z"),
         changed={"d": "xfoo", "e": "ybar"}),
    case("flags", ABC, replace("a", "(?i)FOO", "d", "x"), replace("a", "(?i:F)oO?.", "e", "x"),
         replace("a", "(?i:F)O+", "f", "x"), changed={"d": "x", "e": "x"}),
    case("escapes", {"a": "1.2", "b": "1x2", "c": "a|b"}, replace("a", r"1\.2", "d", "x"),
         replace("b", r"1\.2", "e", "x"), replace("c", r"a\|(.*)", "f"),
         replace("a", r"\d\.\d", "g", "x"), replace("a", r"\Q1.\E2", "h", "x"),
         changed={"d": "x", "f": "b", "g": "x", "h": "x"}),
    case("not greedy", {"a": "xyz"}, replace("a", "(.*?)(y?z)", "d", "$1.$2"), replace("a", "(.*)(y?z)", "e", "$1.$2"),
         changed={"d": "x.yz", "e": "xy.z"}),
    case("first alternative", {"a": "ab"}, replace("a", "(a|ab)(b?)", "d", "$1.$2"), changed={"d": "a.b"}),
    case("from real life", TAGS, replace("tags", "(?:.+,|^)path:(/[^,]+).*", "path"),
         replace("tags", "(?:.+,|^)job:([^,]+).*", "work"),
         replace("tags", "(?:.+,|^)label:([^=]+)=([^,]+).*", "${1}", "${2}"),
         changed={"path": "/secret", "work": "some-job", "foo": "bar"}),
    case("address and port", {"addr": "host:1:9100", "port": "8080"},
         replace("addr,port", r"(.+)(?::\d+);(\d+)", "d", "$1:$2"), changed={"d": "host:1:8080"}),
    case("tmp labels", ABC, replace("a", None, "__tmp_x"),
         replace("__tmp_x", "(.)(.*)", "d", "$2$1"), changed={"__tmp_x": "foo", "d": "oof"}),
    # keep, drop
    case("drop", ABC, on("drop", "a", ".*o.*"), dropped=True),
    case("drop nothing", ABC, on("drop", "a", "f|o"), on("drop", "a", "no"), on("drop", "nothing", ".+")),
    case("drop ends it", ABC, on("drop", "a", "f.*"), replace("a", None, "d"), dropped=True),
    case("drop what is missing", ABC, on("drop", "nothing", ""), dropped=True),
    case("keep", ABC, on("keep", "a", "f.*"), on("keep", "a,b", "foo;bar"), on("keep", "b", "foo|ba.|x")),
    case("keep alternatives", ABC, on("keep", "a", "foo|bar"), on("keep", "a", "(foo|bar)"),
         on("keep", "a", "(?:x|.*oo|)"), on("keep", "nothing", "x|"), on("keep", "nothing", "")),
    case("keep not", ABC, on("keep", "a", "f"), dropped=True),
    case("keep not the literal", ABC, on("keep", "a", "foo."), dropped=True),
    case("keep not the longer", {"a": "xx"}, on("keep", "a", ".+xx"), dropped=True),
    case("keep not an overlap", {"a": "aba"}, on("keep", "a", "ab.*ba"), dropped=True),
    case("keep something around", {"a": "xay"}, on("keep", "a", ".+a.+"), on("keep", "a", ".*xa.*"),
         on("keep", "a", ".*y")),
    case("keep nothing around", {"a": "ay"}, on("keep", "a", ".+a.*"), dropped=True),
    case("two of anything", {"a": "x"}, on("keep", "a", ".*.*"), on("drop", "a", ".+.+")),
    # keepequal, dropequal
    case("keepequal", {"a": "1", "b": "1"}, on("keepequal", "a", target_label="b")),
    case("keepequal not", ABC, on("keepequal", "a", target_label="b"), dropped=True),
    case("dropequal", {"a": "1", "b": "1"}, on("dropequal", "a", target_label="b"), dropped=True),
    case("dropequal not", ABC, on("dropequal", "a", target_label="b")),
    case("both missing are equal", ABC, on("keepequal", "x", target_label="y")),
    # hashmod
    case("hashmod", ABC, on("hashmod", "c", modulus=1000, target_label="d"), changed={"d": "976"}),
    case("hashmod of lines", {"a": "foo\nbar"}, on("hashmod", "a", modulus=1000, target_label="b"),
         changed={"b": "734"}),
    case("hashmod of two, large", ABC, on("hashmod", "a,b", modulus=2**63, target_label="d"),
         changed={"d": "6750267941334490942"}),
    case("hashmod of nothing", {"a": "ü"}, on("hashmod", "x", modulus=7, target_label="b"),
         on("hashmod", "a", modulus=9, target_label="c"), changed={"b": "1", "c": "2"}),
    # label names
    case("labelmap", {"a": "foo", "b1": "bar", "b2": "baz"}, on("labelmap", regex="(b.*)", replacement="bar_${1}"),
         changed={"bar_b1": "bar", "bar_b2": "baz"}),
    case("labelmap of meta labels", {"__meta_my_bar": "aaa", "__meta_my_baz": "bbb", "__meta_other": "ccc"},
         on("labelmap", regex="__meta_(my.*)"), changed={"my_bar": "aaa", "my_baz": "bbb"}),
    case("labelmap overwrites", {"x_a": "1", "a": "0"}, on("labelmap", regex="x_(.*)"), changed={"a": "1"}),
    case("labelmap to a constant", {"only": "1"}, on("labelmap", regex="onl.", replacement="all"),
         changed={"all": "1"}),
    case("labelmap breaking out", {"xfoo": "1", "foox": "2"}, on("labelmap", regex="foo)|(?:bar", replacement="${0}z"),
         changed={"foozx": "2"}),
    case("labeldrop", {"a": "foo", "b1": "bar", "b2": "baz"}, on("labeldrop", regex="(b.*)"), gone=("b1", "b2")),
    case("labeldrop alternatives", ABC, on("labeldrop", regex="a|b|x"), gone=("a", "b")),
    case("labelkeep", {"a": "foo", "b1": "bar", "b2": "baz"},
         on("labelkeep", regex="(b.*|__address__|__scheme__|__metrics_path__|__scrape_(interval|timeout)__|job)"),
         gone=("a",)),
    case("dropped, then set again", {"x": "foo", "y": "9091"}, on("labeldrop", regex="^x$"),
         replace("y", "(.+)", "x", "metrics"), on("keep", "x", "^metrics$"), changed={"x": "metrics"}),
    # letters
    case("uppercase and lowercase", {"a": "bAr123Foo"}, on("uppercase", "a", target_label="u"),
         on("lowercase", "a", target_label="l"), changed={"u": "BAR123FOO", "l": "bar123foo"}),
    case("letters one for one", {"a": "ßŉǰΐᾳᾈﬁσςΑΣ İıǅÿµK"}, on("uppercase", "a", target_label="u"),
         on("lowercase", "a", target_label="l"), changed={"u": "ßŉǰΐᾼᾈﬁΣΣΑΣ İIǄŸΜK", "l": "ßŉǰΐᾳᾀﬁσςασ iıǆÿµk"}),
    case("lowercase of nothing removes", ABC, on("lowercase", "nothing", target_label="a"), gone=("a",)),
    case("joined letters", ABC, on("uppercase", "a,b", target_label="d", separator="-"), changed={"d": "FOO-BAR"}),
]

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "relabel configuration for replace action requires 'target_label' value"),
    (on("hashmod", "a", target_label="b"), "relabel configuration for hashmod requires non-zero modulus"),
    (on("hashmod", "a", modulus=2), "relabel configuration for hashmod action requires 'target_label' value"),
    (on("lowercase", "a"), "relabel configuration for lowercase action requires 'target_label' value"),
    (on("keepequal", "a"), "relabel configuration for keepequal action requires 'target_label' value"),
    (on("uppercase", "a", target_label="b", replacement="x"), "'replacement' can not be set for uppercase action"),
    (on("labelmap", regex="(.*)", replacement=""), '"" is invalid \'replacement\' for labelmap action'),
    (on("dropequal", "a", target_label="b", regex="x"),
     "dropequal action requires only 'source_labels' and `target_label`, and no other fields"),
    (on("keepequal", "a", target_label="b", separator="x"),
     "keepequal action requires only 'source_labels' and `target_label`, and no other fields"),
    (on("labeldrop", "a", regex="x"), "labeldrop action requires only 'regex', and no other fields"),
    (on("labelkeep", regex="x", target_label="y"), "labelkeep action requires only 'regex', and no other fields"),
    (on("labelkeep", regex="x", replacement="y"), "labelkeep action requires only 'regex', and no other fields"),
]
