"""Expressions that mean something for the metrics of `data.py`, as hypothesis strategies: each vector knows its labels,
so that matching mostly finds its partners. Simple things come first, since that is where shrinking leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from tests.promql.differential.data import JOBS, METRICS
from tests.promql.differential.servers import Question

T = TypeVar("T")
Draw = st.DrawFn

ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
SIMPLE = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
COUNTERS = ("rate", "increase", "irate", "resets", "changes")
OVER_TIME = ("sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time",
             "present_over_time", "stddev_over_time", "stdvar_over_time", "mad_over_time", "delta", "idelta", "deriv",
             "changes", "resets", "rate", "increase", "irate")
INSTANT = ("abs", "ceil", "floor", "sqrt", "sgn", "exp", "ln", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
           "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "deg", "rad", "timestamp", "round", "-", "+")
AMPLIFYING = ("ceil", "floor", "sgn", "round", "round_to", "sin", "cos", "tan")
"""Of these a last bit may decide."""
CALENDAR = ("minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year")
NUMBERS = ("1", "2", "0", "0.5", "3", "-1", "10", "1e3", "0x1F", "NaN", "Inf", "-Inf", "1m", "100", "pi()")
QUANTILES = ("0.5", "0.9", "0", "1", "0.25", "-1", "1.5", "NaN")
RANGES = ("5m", "1m", "2m", "3m30s", "10m", "45s", "1m+1m", "2*1m", "90")
VALUES = {"job": JOBS, "instance": ("a:80", "b:80", "c:80"), "code": ("200", "404", "500"), "le": ("0.5", "1", "+Inf"),
          "mode": ("idle", "user"), "version": ("1", "2"), "region": ("eu", "us")}


@dataclass(frozen=True)
class Vector:
    """An instant vector: its text, and labels that tell its series from each other."""

    text: str
    labels: frozenset[str]
    atom: bool = True
    """Whether it needs no parentheses as an operand."""
    stored: bool = False
    """Series in the order of storage, so that what topk takes of equal values is certain."""
    discrete: bool = False
    """Integers: they print alike everywhere, and no last bit of another math library decides."""

    @property
    def operand(self) -> str:
        return self.text if self.atom else f"({self.text})"


def questions(begin_s: int) -> st.SearchStrategy[Question]:
    """Queries of the data set that begins then."""
    return _questions(begin_s)


@st.composite
def _questions(draw: Draw, begin_s: int) -> Question:
    builder = _Builder(draw, begin_s)
    kind = builder.one_of(("vector",) * 17 + ("scalar", "matrix", "string"))
    ranged = builder.chance(50) and kind != "matrix" and kind != "string"
    at = begin_s + builder.one_of((900, 600, 1200, 300, 1130, 755))
    start, end, step = at * 1000, at * 1000, 0
    if ranged:
        step = builder.one_of((60, 15, 37, 120, 300)) * 1000
        start = end - builder.one_of((5, 1, 10, 20)) * step
    return Question(builder.expression(kind), start, end, step)


class _Builder:
    """Draws one expression."""

    def __init__(self, draw: Draw, begin_s: int) -> None:
        self._draw, self._begin_s = draw, begin_s

    def one_of(self, choices: Sequence[T]) -> T:
        return self._draw(st.sampled_from(choices))

    def chance(self, percent: int) -> bool:
        return self._draw(st.integers(0, 99)) >= 100 - percent

    def some(self, names: Sequence[str], least: int = 0) -> list[str]:
        most = max(least, len(names))
        return sorted(self._draw(st.lists(st.sampled_from(sorted(names)), unique=True, min_size=least, max_size=most))
                      ) if names else []

    def expression(self, kind: str) -> str:
        match kind:
            case "scalar":
                return self.scalar(2)
            case "matrix":
                return self.matrix("any", 1)[0]
            case "string":
                return '"text"'
            case _:
                return self.top()

    def top(self) -> str:
        depth = self.one_of((1, 2, 2, 3, 3))
        vector = self.vector(depth)
        if self.chance(4):
            vector = self.sorted(vector)
        return vector.text

    def sorted(self, vector: Vector) -> Vector:
        name = self.one_of(("sort", "sort_desc", "sort_by_label", "sort_by_label_desc"))
        more = "".join(f', "{label}"' for label in sorted(vector.labels) or ["job"]) if "label" in name else ""
        return Vector(f"{name}({vector.text}{more})", vector.labels)

    def vector(self, depth: int) -> Vector:
        if depth <= 0:
            return self.selector(("counter", "gauge", "info"))
        kinds: tuple[Callable[[int], Vector], ...] = (
            self.range_call, self.range_call, self.range_call, self.range_call, self.aggregation, self.aggregation,
            self.aggregation, self.ranked, self.quantile, self.with_scalar, self.with_scalar, self.vectors,
            self.vectors, self.vectors, self.set_operator, self.instant_call, self.instant_call, self.instant_call,
            self.labels_call,
            self.histogram, self.histogram, self.rare, self.wild,
        )
        return self.one_of(kinds)(depth - 1)

    # selectors

    def selector(self, kinds: Sequence[str], modifiers: bool = True) -> Vector:
        name = self.one_of([name for name, (_, kind) in METRICS.items() if kind in kinds])
        labels = METRICS[name][0]
        text = name + (self.matchers(labels) if self.chance(12) else "")
        if self.chance(4):
            text = self.one_of((f'{{__name__="{name}"}}', f'{{__name__=~"{name}"}}', f'{{"{name}"}}'))
        discrete = METRICS[name][1] in ("info", "counter")
        text += self.modifiers() if modifiers else ""
        return Vector(text, labels, "offset (" not in text, stored=True, discrete=discrete)  # 3.5 reads on: (1m) + x

    def matchers(self, labels: frozenset[str]) -> str:
        label = self.one_of(sorted(labels))
        value = self.one_of(VALUES[label])
        plain = value.replace("+", "\\\\+")
        matcher = self.one_of((f'{label}="{value}"', f'{label}!="{value}"', f'{label}=~"{plain}|x"',
                               f'{label}!~"{plain}"', f'{label}=~".+"', 'absent=""', f'{label}=~".*{plain[-1]}"'))
        return "{" + matcher + "}"

    def modifiers(self) -> str:
        offset = f" offset {self.one_of(('1m', '30s', '-1m', '7m', '(1m+15s)'))}" if self.chance(10) else ""
        stamp = f"{self._begin_s + self.one_of((600, 900, 1100))}"
        at = f" @ {self.one_of(('start()', 'end()', stamp, stamp + '.5'))}" if self.chance(8) else ""
        return offset + at if self.chance(50) else at + offset

    def matrix(self, kind: str, depth: int) -> tuple[str, frozenset[str]]:
        """A range vector of counters or of anything."""
        width = self.one_of(RANGES)
        if depth > 0 and self.chance(25):
            inner = self.vector(depth - 1)
            step = self.one_of(("1m", "30s", "", "17s", "15s+15s"))
            return f"{inner.operand}[{self.one_of(('5m', '2m', '10m'))}:{step}]{self.modifiers()}", inner.labels
        vector = self.selector(("counter",) if kind == "counter" else ("counter", "gauge"), modifiers=False)
        return f"{vector.text}[{width}]{self.modifiers()}", vector.labels

    # functions

    def range_call(self, depth: int) -> Vector:
        name = self.one_of((*COUNTERS, *OVER_TIME, "quantile_over_time", "predict_linear", "smoothing", "ts_of"))
        kind = "counter" if name in COUNTERS and self.chance(80) else "any"
        text, labels = self.matrix(kind, depth)
        if name == "quantile_over_time":
            text = f"{name}({self.one_of(QUANTILES)}, {text})"
        elif name == "predict_linear":
            text = f"{name}({text}, {self.one_of(('60', '3600', '-60', '0.5'))})"
        elif name == "smoothing":
            text = f"double_exponential_smoothing({text}, {self.one_of(('0.5', '0.1'))}, {self.one_of(('0.3', '0.9'))})"
        elif name == "ts_of":
            text = f"{self.one_of(('ts_of_max_over_time', 'ts_of_min_over_time', 'ts_of_last_over_time'))}({text})"
        else:
            text = f"{name}({text})"
        return Vector(text, labels, stored="[" in text and ":" not in text and name != "last_over_time")

    def instant_call(self, depth: int) -> Vector:
        vector = self.vector(depth)
        name = self.one_of((*INSTANT, *CALENDAR, "clamp", "clamp_min", "clamp_max", "round_to"))
        if name in AMPLIFYING and not vector.discrete:
            name = "atan"
        if name in ("-", "+"):
            return Vector(f"{name}{vector.operand}", vector.labels, atom=False, stored=vector.stored)
        if name in CALENDAR:
            unix = f"{vector.operand} * 86400" if vector.discrete else f"timestamp({vector.text})"
            return Vector(f"{name}({unix})", vector.labels, discrete=True)
        to = self.one_of(("5", "0.1"))
        more = {"clamp": ", 0, 10", "clamp_min": ", 1", "clamp_max": ", 20", "round_to": f", {to}"}
        arguments = more.get(name, "")
        if arguments and self.chance(20):
            arguments = ", " + ", ".join(self.scalar(0) for _ in arguments.split(",")[1:])
        return Vector(f"{name.removesuffix('_to')}({vector.text}{arguments})", vector.labels,
                      stored=vector.stored, discrete=vector.discrete and name in ("ceil", "floor", "sgn", "abs"))

    def labels_call(self, depth: int) -> Vector:
        vector = self.vector(depth)
        source = self.one_of(sorted(vector.labels) or ["job"])
        if self.chance(30):
            sources = ", ".join(f'"{label}"' for label in sorted(vector.labels))
            return Vector(f'label_join({vector.text}, "all", "-"{", " + sources if sources else ""})', vector.labels)
        target, template, regex = self.one_of((
            ("new", "$1", "(.*)"), ("new", "x-$1", "(.).*"), ("new", "$name", "(?P<name>[a-z]+).*"),
            ("other", "${1}", "(..).*"), ("new", "", ".*"), ("absent", "$1", "none(.*)"),
        ))
        return Vector(f'label_replace({vector.text}, "{target}", "{template}", "{source}", "{regex}")', vector.labels)

    def histogram(self, depth: int) -> Vector:
        kept = self.some(("job", "instance"))
        buckets = self.one_of((
            f"sum by ({', '.join(['le', *kept])}) (rate(latency_bucket[{self.one_of(RANGES)}]))",
            "latency_bucket", "rate(latency_bucket[5m])", "sum without (instance) (latency_bucket)",
            "increase(latency_bucket[2m:30s])", 'latency_bucket{le!="1"}',
        ))
        name = self.one_of(("quantile", "quantile", "quantile", "fraction"))
        labels = frozenset(("job", "instance")) if not buckets.startswith("sum") else frozenset(
            ("job",) if "without" in buckets else kept)
        if name == "quantile":
            return Vector(f"histogram_quantile({self.one_of((*QUANTILES, '0.99'))}, {buckets})", labels)
        lower, upper = self.one_of((("0.1", "1"), ("0.2", "0.3"), ("1", "0.5"), ("0.5", "+Inf"), ("1", "3")))
        return Vector(f"histogram_fraction({lower}, {upper}, {buckets})", labels)

    def rare(self, depth: int) -> Vector:
        """Functions that stand apart."""
        text = self.one_of((
            "vector(1)", "vector(time())", "absent(nothing)", 'absent(nothing{job="x", a=~".+"})',
            "absent_over_time(nothing[5m])", 'absent_over_time(up{job="none"}[5m])', "day_of_week()", "minute()",
            "hour()", "scalar", "info", "info_with", "count_values",
        ))
        none = frozenset[str]()
        if text == "scalar":
            return Vector(f"vector(scalar({self.vector(depth).text}))", none)
        if text.startswith("info"):
            vector = self.one_of((self.selector(("counter", "gauge")), Vector("rate(requests_total[5m])", METRICS[
                "requests_total"][0])))
            more = self.one_of((', {region=~".+"}', ', {region="eu"}', ', {version=~".+", __name__="build_info"}'))
            return Vector(f"info({vector.text}{more if text == 'info_with' else ''})", vector.labels)
        if text == "count_values":
            vector = self.selector(("counter", "info"), modifiers=False)
            by = self.some(sorted(vector.labels))
            return Vector(f'count_values by ({", ".join(by)}) ("value", {vector.text})', frozenset((*by, "value")))
        return Vector(text, none)

    # aggregations

    def grouping(self, vector: Vector) -> tuple[str, frozenset[str]]:
        names = self.some(sorted(vector.labels))
        kind = self.one_of(("by", "without", "none", "by"))
        if kind == "none":
            return "", frozenset()
        if self.chance(5):
            names.append("missing")
        left = vector.labels & set(names) if kind == "by" else vector.labels - set(names)
        return f"{kind} ({', '.join(names)}) ", left

    def aggregation(self, depth: int) -> Vector:
        vector = self.vector(depth)
        grouping, labels = self.grouping(vector)
        name = self.one_of(SIMPLE)
        text = f"{name} ({vector.text}) {grouping.strip()}".strip() if self.chance(10) else (
            f"{name} {grouping}({vector.text})")
        return Vector(text, labels, discrete=name in ("count", "group"))

    def quantile(self, depth: int) -> Vector:
        vector = self.vector(depth)
        grouping, labels = self.grouping(vector)
        parameter = self.one_of(QUANTILES) if self.chance(80) else self.scalar(depth)
        return Vector(f"quantile {grouping}({parameter}, {vector.text})", labels)

    def ranked(self, depth: int) -> Vector:
        """Which of equal values are taken depends on the order of series, which only storage decides for certain."""
        vector = self.vector(depth)
        if not vector.stored:
            vector = self.selector(("counter", "gauge", "info"))
        grouping, _ = self.grouping(vector)
        name = self.one_of(("topk", "bottomk", "limitk", "limit_ratio"))
        count = self.one_of(("0.5", "-0.3", "1", "0.1", "-1", "1.5")) if name == "limit_ratio" else self.one_of(
            ("1", "2", "3", "5", "2.7", "scalar(vector(2))", "1 + 1", "1000"))
        return Vector(f"{name} {grouping}({count}, {vector.text})", vector.labels)

    # operators

    def scalar(self, depth: int) -> str:
        if depth <= 0:
            return self.one_of(NUMBERS)
        kind = self.one_of(("number", "number", "time", "scalar", "binary", "bool", "negative"))
        if kind == "time":
            return "time()"
        if kind == "scalar":
            vector = self.vector(depth - 1)
            return f"scalar({self.one_of((f'sum({vector.text})', f'count({vector.text})', vector.text))})"
        if kind == "binary":
            return f"({self.scalar(depth - 1)} {self.one_of(ARITHMETIC)} {self.scalar(depth - 1)})"
        if kind == "bool":
            return f"({self.scalar(depth - 1)} {self.one_of(COMPARISONS)} bool {self.scalar(depth - 1)})"
        return self.one_of(NUMBERS) if kind == "number" else f"-({self.scalar(depth - 1)})"

    def operator(self, *operands: Vector) -> str:
        if self.chance(60):
            operator = self.one_of(ARITHMETIC)
            # What is left of a division is all rounding where the numbers are far from each other, or not exact.
            return "-" if operator == "%" and not all(vector.discrete for vector in operands) else operator
        operator = self.one_of(COMPARISONS)
        return f"{operator} bool" if self.chance(70) else operator

    def with_scalar(self, depth: int) -> Vector:
        vector = self.vector(depth)
        operator = self.operator(vector)
        if operator in COMPARISONS:
            number = {"==": "1", "!=": "1", "<": "1e9", "<=": "1e9", ">": "-100", ">=": "0"}[operator]
            return Vector(f"{vector.operand} {operator} {number}", vector.labels, atom=False)
        number = self.scalar(min(depth, 2))
        sides = (vector.operand, number) if self.chance(70) else (number, vector.operand)
        return Vector(f"{sides[0]} {operator} {sides[1]}", vector.labels, atom=False)

    def vectors(self, depth: int) -> Vector:
        """Two vectors whose labels match: all, or those that both have, with many on one side."""
        left, right = self.vector(depth), self.vector(depth)
        operator = self.operator(left, right)
        operator = ">=" if operator == "==" else operator  # equal they are seldom
        common = left.labels & right.labels
        if left.labels == right.labels:
            names = ", ".join(sorted(common))
            matching = self.one_of(("", f"on ({names})", "ignoring (missing)"))
            return Vector(f"{left.operand} {operator} {matching} {right.operand}", common, atom=False)
        if common not in (left.labels, right.labels):
            right = Vector(f"{self.one_of(SIMPLE)} by ({', '.join(sorted(common))}) ({right.text})", common)
        many, few = (left, right) if common == right.labels else (right, left)
        group = "group_left" if many is left else "group_right"
        extra = sorted(many.labels - few.labels)
        matching = f"on ({', '.join(sorted(common))})" if self.chance(60) else f"ignoring ({', '.join(extra)})"
        return Vector(f"{left.operand} {operator} {matching} {group} () {right.operand}", many.labels, atom=False)

    def set_operator(self, depth: int) -> Vector:
        left, right = self.vector(depth), self.vector(depth)
        common = sorted(left.labels & right.labels)
        operator = self.one_of(("or", "and", "unless"))
        if operator == "unless":
            right = Vector(f"({right.operand} > {self.one_of(('1', '5', '100'))})", right.labels)
        matching = f"on ({', '.join(common)})" if common and operator != "or" else ""
        return Vector(f"{left.operand} {operator} {matching} {right.operand}", left.labels, atom=False)

    def wild(self, depth: int) -> Vector:
        """What may well be an error, or nothing."""
        left, right = self.vector(depth), self.vector(0)
        names = ", ".join(self.some(("job", "instance", "code", "__name__")))
        matching = self.one_of((f"on ({names})", f"ignoring ({names})", f"on ({names}) group_left (region)", ""))
        text = self.one_of((
            f"{left.operand} {self.operator(left, right)} {matching} {right.operand}",
            'rate({__name__=~"requests_total|errors_total|temperature"}[5m])', '{__name__=~".+_total"}',
            'abs({job="api"})', f'label_replace({left.text}, "instance", "x", "", "")', f"{left.operand} == 7.5",
            'sum by (__name__) ({__name__=~"up|queue"})', f"topk(-1, {right.text})", f"quantile(2, {left.text})",
            f'label_replace({right.text}, "__name__", "new", "", "")', '{__name__=~"up|queue"} + 1',
            'count by (__name__, job) ({job="db"})', f'count_values("job", {right.text} > 0)',
        ))
        return Vector(text, left.labels, atom=False)
