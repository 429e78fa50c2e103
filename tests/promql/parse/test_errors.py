"""What users read when an expression is wrong: Prometheus' words, line and column."""

from __future__ import annotations

import pytest

from tsdb.model.errors import BadData, ParseError
from tsdb.promql.syntax.parser import parse, parse_selector


def complaint(text: str, *, experimental: bool = True) -> str:
    with pytest.raises(ParseError) as caught:
        parse(text, experimental=experimental)
    assert isinstance(caught.value, BadData)
    return str(caught.value)


IN_OFFSET = "in offset, expected number, duration, step(), or range()"
IN_RANGE = "in subquery or range selector, expected number, duration, step(), or range()"
AFTER_SELECTOR = "modifier must be preceded by an instant vector selector or range vector selector or a subquery"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("", "unknown position", "no expression found in input"),
        ("  # nothing", "1:1", "no expression found in input"),
        ("1 +", "1:4", "unexpected end of input"),
        ("*1", "1:1", "unexpected <op:*>"),
        ("a b", "1:3", 'unexpected identifier "b"'),
        ("a +\n\n  b c", "3:5", 'unexpected identifier "c"'),
        ("1 2", "1:3", 'unexpected number "2"'),
        ("a 5m", "1:3", 'unexpected duration "5m"'),
        ('"a" "a rather long text"', "1:5", r'unexpected string "\"a rather "...'),
        ("a b:c", "1:3", 'unexpected metric identifier "b:c"'),
        ("a AND * b", "1:7", "unexpected <op:*>"),
        ("a == == b", "1:6", "unexpected <op:==>"),
        ("a = b", "1:3", 'unexpected "="'),
        ("a =~ 'b'", "1:3", "unexpected character after '=': '~'"),
        ("a ! b", "1:3", "unexpected character after '!': ' '"),
        ("a $ b", "1:3", "unexpected character: '$'"),
        ("a; b", "1:2", "unexpected character: ';'"),
        ("é", "1:1", "unexpected character: 'é'"),
        (".", "1:1", "unexpected character: '.'"),
        ("(a", "1:3", "unclosed left parenthesis"),
        ("sum(a", "1:6", "unclosed left parenthesis"),
        ("a)", "1:3", "unexpected right parenthesis ')'"),
        ("a]", "1:2", "unexpected right bracket ']'"),
        ("a}", "1:2", "unexpected character: '}'"),
        ("a(", "1:3", "unclosed left parenthesis"),
        ("(,)", "1:2", 'unexpected ","'),
        ("()", "1:2", 'unexpected ")"'),
        ("2.5.", "1:1", 'bad number or duration syntax: "2.5."'),
        ("0deadbeef", "1:1", 'bad number or duration syntax: "0de"'),
        ("1e", "1:1", 'bad number or duration syntax: "1e"'),
        ("1_", "1:1", 'bad number or duration syntax: "1_"'),
        ("5M", "1:1", 'bad number or duration syntax: "5"'),
        ("1e400", "1:1", 'error parsing number: strconv.ParseFloat: parsing "1e400": value out of range'),
        ("5m5h", "1:1", 'not a valid duration string: "5m5h"'),
        ("300y", "1:1", "duration out of range"),
        ('"abc', "1:1", "unterminated quoted string"),
        ("'a\nb'", "1:1", "unterminated quoted string"),
        ("`abc", "1:1", "unterminated raw string"),
        (r'a{b="\q"}', "1:5", "unknown escape sequence U+0071 'q'"),
        (r'"\'"', "1:1", "unknown escape sequence U+0027 '''"),
        (r'"\xyz"', "1:1", "illegal character U+0079 'y' in escape sequence"),
        (r'"\u12"', "1:1", "illegal character U+0022 '\"' in escape sequence"),
        (r'"\400"', "1:1", "escape sequence is an invalid Unicode code point"),
        (r'"\ud800"', "1:1", "escape sequence is an invalid Unicode code point"),
        ("'\ud800'", "1:2", "invalid UTF-8 rune"),
    ],
)
def test_syntax(text: str, where: str, message: str) -> None:
    assert complaint(text) == f"{where}: parse error: {message}"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("{", "1:2", "unexpected end of input inside braces"),
        ("a{b", "1:4", "unexpected end of input inside braces"),
        ("a{1}", "1:3", "unexpected character inside braces: '1'"),
        ("a{{}", "1:3", "unexpected left brace '{'"),
        ("a{!}", "1:3", "unexpected character after '!' inside braces: '}'"),
        ("a{x:y='1'}", "1:4", "unexpected character inside braces: ':'"),
        ("a{b}", "1:4", 'unexpected "}" in label matching, expected label matching operator'),
        ("a{b=c}", "1:5", 'unexpected identifier "c" in label matching, expected string'),
        ("a{b!=~'c'}", "1:6", "unexpected character inside braces: '~'"),
        ("a{b='c' d='e'}", "1:9", 'unexpected identifier "d" in label matching, expected "," or "}"'),
        ("a{,}", "1:3", 'unexpected "," in label matching, expected identifier or "}"'),
        ("a{b='c',,}", "1:9", 'unexpected "," in label matching, expected identifier or "}"'),
        ("a{b='c'}{d='e'}", "1:9", 'unexpected "{"'),
        ("a{b=~'('}", "1:3", "error parsing regexp: missing closing ): `(`"),
        ("a{b=~'**'}", "1:3", "error parsing regexp: missing argument to repetition operator: `*`"),
        (r"a{b=~'\\C'}", "1:3", r"error parsing regexp: invalid escape sequence: `\C`"),
        ("sum by x (a)", "1:8", 'unexpected identifier "x" in grouping opts, expected "("'),
        ("sum by (==) (a)", "1:9", "unexpected <op:==> in grouping opts, expected label"),
        ("sum by (x,,) (a)", "1:11", 'unexpected "," in grouping opts, expected label'),
        ("sum by (x y) (a)", "1:11", 'unexpected identifier "y" in grouping opts, expected "," or ")"'),
        ("sum by ('') (a)", "1:9", 'invalid label name for grouping: ""'),
        ("a + on b", "1:8", 'unexpected identifier "b" in grouping opts, expected "("'),
        ("a + on (x) group_left == b", "1:23", 'unexpected <op:==> in grouping opts, expected "("'),
        ("a + group_left (x) b", "1:5", "unexpected <group_left>"),
        ("a + bool", "1:9", "unexpected end of input"),
        ("on", "1:1", "unexpected <on>"),
        ("sum a by (x)", "1:5", 'unexpected identifier "a"'),
        ("sum (a b)", "1:8", 'unexpected identifier "b" in aggregation'),
        ("sum by (x) a", "1:12", 'unexpected identifier "a" in aggregation'),
        ("sum(a) by (x) b", "1:15", 'unexpected identifier "b"'),
        ("rate(a,)", "1:7", "trailing commas not allowed in function call args"),
        ("topk(5,)", "1:7", "trailing commas not allowed in function call args"),
        ("rate(,)", "1:6", 'unexpected ","'),
    ],
)
def test_braces_groupings_and_arguments(text: str, where: str, message: str) -> None:
    assert complaint(text) == f"{where}: parse error: {message}"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a[", "1:3", "unexpected end of input in duration expression"),
        ("a[5m", "1:5", "unclosed left bracket"),
        ("(a[5m", "1:6", "unclosed left parenthesis"),
        ("a[]", "1:3", f'unexpected "]" {IN_RANGE}'),
        ("a[b]", "1:3", "unexpected character in duration expression: 'b'"),
        ("a[5m b]", "1:6", "unexpected character: 'b', expected ':'"),
        ("a[5m[", "1:5", "unexpected left bracket '['"),
        ("a['5m']", "1:3", r"unexpected character in duration expression: '\''"),
        ("a[5mm]", "1:3", 'bad number or duration syntax: "5mm"'),
        ("a[5m 5m]", "1:6", 'unexpected duration "5m" in subquery or range, expected ":" or "]"'),
        ("a[5m *]", "1:7", f'unexpected "]" {IN_RANGE}'),
        ("a[(5m]", "1:6", f'unexpected "]" {IN_RANGE}'),
        ("a[:5m]", "1:4", "unexpected colon before duration in duration expression"),
        ("a[5m:1m:]", "1:8", "unexpected colon ':'"),
        (
            "a[5m:*]",
            "1:6",
            'unexpected <op:*> in subquery selector, expected number, duration, step(), range(), or "]"',
        ),
        ("a[5m:1m 2]", "1:9", 'unexpected number "2" in subquery selector, expected "]"'),
        ("a[0]", "1:3", "duration must be greater than 0"),
        ("a[-1m]", "1:3", "duration must be greater than 0"),
        ("a[5m:0s]", "1:6", "duration must be greater than 0"),
        ("a[1e20]", "1:3", "duration out of range"),
        ("a[5m / 0]", "1:6", "division by zero"),
        ("a[5m % 0s]", "1:6", "modulo by zero"),
        ("1[5m]", "1:2", "ranges only allowed for vector selectors"),
        ("(a)[5m]", "1:4", "ranges only allowed for vector selectors"),
        ("a[5m][5m]", "1:6", "ranges only allowed for vector selectors"),
        ("a offset 1m [5m]", "1:13", "no offset modifiers allowed before range"),
        ("a @ 1 [5m]", "1:7", "no @ modifiers allowed before range"),
        ("a offset", "1:9", f"unexpected end of input {IN_OFFSET}"),
        ("a offset b", "1:10", f'unexpected identifier "b" {IN_OFFSET}'),
        ("a offset -(2 * b)", "1:16", f'unexpected identifier "b" {IN_OFFSET}'),
        ("a offset 5m b", "1:13", 'unexpected identifier "b"'),
        ("a offset 1e20", "1:10", "duration out of range"),
        ("a offset 1m offset 2m", "1:1", "offset may not be set multiple times"),
        ("1 offset 1m", "1:1", f"offset {AFTER_SELECTOR}"),
        ("(a) offset 1m", "1:1", f"offset {AFTER_SELECTOR}"),
        ("a @ b", "1:5", 'unexpected identifier "b" in @, expected timestamp'),
        ("a @ start", "1:10", "unexpected end of input in @, expected timestamp"),
        ("a @ -start()", "1:6", 'unexpected "start" in @, expected timestamp'),
        ("a @ Inf", "1:1", "timestamp out of bounds for @ modifier: +Inf"),
        ("a @ 1 @ end()", "1:1", "@ <timestamp> may not be set multiple times"),
        ("sum(a) @ 1", "1:1", f"@ {AFTER_SELECTOR}"),
        ("a[5m:] anchored", "1:1", "anchored modifier is not supported for subqueries"),
        ("1 smoothed", "1:1", "smoothed modifier not implemented"),
        ("a[5m] anchored smoothed", "1:1", "anchored and smoothed modifiers cannot be used together"),
    ],
)
def test_ranges_and_modifiers(text: str, where: str, message: str) -> None:
    assert complaint(text) == f"{where}: parse error: {message}"


NUMERIC = "binary expression must contain only scalar and instant vector types"


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("{}", "1:1", "vector selector must contain at least one non-empty matcher"),
        ('1 + {a="",b=~".*",c!="x",d!~".+"}', "1:5", "vector selector must contain at least one non-empty matcher"),
        ('a{__name__="b"}', "1:1", 'metric name must not be set twice: "a" or "b"'),
        ('a{"b"}', "1:1", 'metric name must not be set twice: "a" or "b"'),
        ("nosuch(a)", "1:1", 'unknown function with name "nosuch"'),
        ("sun(a) by (b)", "1:1", 'unknown function with name "sun"'),
        ("Rate(a[5m])", "1:1", 'unknown function with name "Rate"'),
        ("rate(a)", "1:6", 'expected type range vector in call to function "rate", got instant vector'),
        ("abs(1)", "1:5", 'expected type instant vector in call to function "abs", got scalar'),
        ("vector('a')", "1:8", 'expected type scalar in call to function "vector", got string'),
        ("sort_by_label(a, 'b', 1)", "1:23", 'expected type string in call to function "sort_by_label", got scalar'),
        ("rate()", "1:1", 'expected 1 argument(s) in call to "rate", got 0'),
        ("time(a)", "1:1", 'expected 0 argument(s) in call to "time", got 1'),
        ("label_join(a)", "1:1", 'expected at least 3 argument(s) in call to "label_join", got 1'),
        ("hour(a, b)", "1:1", 'expected at most 1 argument(s) in call to "hour", got 2'),
        ("info(a, b)", "1:9", "expected label selectors only, got vector selector instead"),
        ("info(a, 1)", "1:9", "expected label selectors only"),
        ("sum()", "1:1", "no arguments for aggregate expression provided"),
        ("topk(a)", "1:1", "wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("sum(a[5m])", "1:5", "expected type instant vector in aggregation expression, got range vector"),
        ("topk(a, b)", "1:6", "expected type scalar in aggregation parameter, got instant vector"),
        ("count_values(1, a)", "1:14", "expected type string in aggregation parameter, got scalar"),
        ("1 == 2", "1:3", "comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3", "bool modifier can only be used on comparison operators"),
        ("1 and a", "1:1", 'set operator "and" not allowed in binary scalar expression'),
        ("a or on (x) 1", "1:1", "vector matching only allowed between instant vectors"),
        ("a + on (x) 1", "1:1", "vector matching only allowed between instant vectors"),
        ("a + fill (0) 1", "1:1", "filling in missing series only allowed between instant vectors"),
        ("a and on (x) group_left b", "1:1", 'no grouping allowed for "and" operation'),
        ("a and fill (0) b", "1:1", "filling in missing series not allowed for set operators"),
        ("a + on (x) group_left (x) b", "1:3", 'label "x" must not occur in ON and GROUP clause at once'),
        ("a[5m] + 1", "1:1", NUMERIC),
        ("1 + 'a'", "1:5", NUMERIC),
        ("-'a'", "1:1", 'unary expression only allowed on expressions of type scalar or instant vector, got "string"'),
        ("1[5m:]", "1:1", "subquery is only allowed on instant vector, got scalar instead"),
        ("a[5m:][5m:]", "1:1", "subquery is only allowed on instant vector, got matrix instead"),
        ("rate(a) b", "1:9", 'unexpected identifier "b"'),
    ],
)
def test_types(text: str, where: str, message: str) -> None:
    assert complaint(text) == f"{where}: parse error: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 + mad_over_time(a[5m])", '1:5: parse error: function "mad_over_time" is not enabled'),
        ("a + fill (0) b", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
        ("a[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
        ("a smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("a[5m * 2]", "1:1: parse error: experimental duration expression is not enabled"),
        ("a offset step()", "1:1: parse error: experimental duration expression is not enabled"),
        ("sum(a)[1h:step()]", "1:1: parse error: experimental duration expression is not enabled"),
        (
            "limitk(1, a)",
            "1:1: parse error: limitk() is experimental and must be enabled with "
            "--enable-feature=promql-experimental-functions",
        ),
    ],
)
def test_experimental_syntax_can_be_refused(text: str, message: str) -> None:
    parse(text)
    assert complaint(text, experimental=False) == message


def test_stable_syntax_is_never_refused() -> None:
    parse('sum by (x) (rate(a{b="c"}[5m] @ end() offset -1m)) / on () group_left b > bool 1', experimental=False)


def test_the_position_counts_characters() -> None:
    with pytest.raises(ParseError) as caught:
        parse('{a="é"} b')
    assert caught.value.position == 8
    assert str(caught.value).startswith("1:9: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a + b", "1:3: parse error: unexpected <op:+>"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a offset 5m", "1:3: parse error: unexpected <offset>"),
        ("1", '1:1: parse error: unexpected number "1"'),
        ("", "unknown position: parse error: unexpected end of input"),
        ("\n ", "2:2: parse error: unexpected end of input"),
    ],
)
def test_selectors_alone(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_selector(text)
    assert str(caught.value) == message


def test_selectors_unchecked() -> None:
    """As in match[], where Prometheus reads no more than the syntax."""
    assert parse_selector("{}", checked=False) == ()
    assert len(parse_selector('up{__name__="down"}', checked=False)) == 2
