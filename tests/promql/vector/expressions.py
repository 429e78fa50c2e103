"""Random series and random expressions over them, for comparing two engines. Only `random.Random` decides.

Left out, because the reference is not a reference there: functions whose last bit differs between math libraries
under count_values; histogram_fraction (wrong in Prometheus 3.5 where the lowest bound is above zero); topk of anything
but a selector (Prometheus' rows come in the order of a hash map, which decides between equal values).
"""

from __future__ import annotations

import math
import struct
from random import Random

from tsdb.model.batch import STALE_NAN
from tsdb.testing.memory_storage import Labels, labels_of

STALE = struct.unpack("<d", STALE_NAN.to_bytes(8, "little"))[0]

VALUES = (0.0, -0.0, 1.0, 2.0, 3.0, 4.0, -1.0, -2.5, 0.1, 0.3, math.nan, math.inf, -math.inf, 1e30, -1e30, 7.0)
STEPS = 12

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_OPERATORS = ("+", "-", "*", "/", "%", "^", "atan2", *_COMPARISONS)
_SIMPLE = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
_FUNCTIONS = ("abs", "ceil", "floor", "sqrt", "sgn", "round", "year", "month", "day_of_week", "hour", "absent", "deg",
              "timestamp", "-")
_SELECTORS = ("m", "n", "o", '{__name__=~"m|n"}', 'm{a="x"}', 'n{b=~"1|2"}')
_BUCKETS = ("h_bucket", "sum by (le) (h_bucket)", "rate(h_bucket[5m])", "sum without (job) (h_bucket)")


def random_series(random: Random) -> dict[Labels, dict[int, float]]:
    """Samples by step number, stale markers among them. Some label sets differ in the name only, some lack labels."""
    plain = [{"__name__": name, "a": a, "b": b} for name in "mno" for a in ("x", "y", "") for b in ("1", "2", "3", "")]
    bounds = ("0", "0.5", "1", "1.0", "5", "+Inf", "Inf", "-1", "foo")
    buckets = [{"__name__": "h_bucket", "job": job, "le": le} for job in "pq" for le in random.sample(bounds, 7)]
    found: dict[Labels, dict[int, float]] = {}
    for labels in [*(labels for labels in plain if random.random() < 0.7), *buckets]:
        samples: dict[int, float] = {}
        for step in range(STEPS):
            if random.random() < 0.75:
                samples[step] = float(random.randint(0, 9)) if "le" in labels else random.choice(VALUES)
            elif random.random() < 0.5:
                samples[step] = STALE
        if samples:
            found[labels_of(labels)] = samples
    return dict(sorted(found.items()))


class Expressions:
    """Makes expressions of a given depth."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def vector(self, depth: int) -> str:
        choice, random = self._random.choice, self._random
        if depth <= 0:
            return choice(_SELECTORS)
        kinds = (self._aggregation, self._aggregation, self._with_parameter, self._binary, self._binary,
                 self._set_operator, self._with_scalar, self._function, self._clamp, self._labels, self._histogram)
        if random.random() < 0.12:
            return choice(_SELECTORS)
        return choice(kinds)(depth - 1)

    def scalar(self, depth: int) -> str:
        random = self._random
        if depth <= 0 or random.random() < 0.6:
            return random.choice(("1", "2", "0", "-1", "0.5", "NaN", "Inf", "3"))
        if random.random() < 0.5:
            return f"scalar({self.vector(depth - 1)})"
        return f"({self.scalar(depth - 1)} {random.choice('+*-/')} {self.scalar(depth - 1)})"

    def _names(self) -> list[str]:
        return self._random.sample(["a", "b", "missing", "__name__"], self._random.randint(0, 2))

    def _grouping(self) -> str:
        return f"{self._random.choice(('by', 'without'))} ({', '.join(self._names())})"

    def _matching(self) -> tuple[str, list[str]]:
        names = self._names()
        kind = self._random.choice(("", "on", "ignoring"))
        return (f"{kind} ({', '.join(names)})", names if kind == "on" else []) if kind else ("", [])

    def _aggregation(self, depth: int) -> str:
        return f"{self._random.choice(_SIMPLE)} {self._grouping()} ({self.vector(depth)})"

    def _with_parameter(self, depth: int) -> str:
        choice = self._random.choice
        if self._random.random() < 0.4:
            return f"{choice(('topk', 'bottomk'))} {self._grouping()} ({choice('01235')}, {choice(_SELECTORS)})"
        if self._random.random() < 0.3:
            return f'count_values {self._grouping()} ("{choice("va")}", {self.vector(depth)})'
        number = choice(("0.5", "0.9", "0", "1", "-1", "2", "NaN"))
        return f"quantile {self._grouping()} ({number}, {self.vector(depth)})"

    def _binary(self, depth: int) -> str:
        random = self._random
        operator = random.choice(_OPERATORS)
        matching, on = self._matching()
        group = ""
        if matching and random.random() < 0.6:
            include = [name for name in random.sample(["a", "b"], random.randint(0, 2)) if name not in on]
            group = f"{random.choice(('group_left', 'group_right'))} ({', '.join(include)})"
        return f"({self.vector(depth)}) {operator}{self._bool(operator)} {matching} {group} ({self.vector(depth)})"

    def _bool(self, operator: str) -> str:
        return " bool" if operator in _COMPARISONS and self._random.random() < 0.4 else ""

    def _set_operator(self, depth: int) -> str:
        operator = self._random.choice(("and", "or", "unless"))
        return f"({self.vector(depth)}) {operator} {self._matching()[0]} ({self.vector(depth)})"

    def _with_scalar(self, depth: int) -> str:
        operator = self._random.choice(_OPERATORS)
        sides = [self.vector(depth), self.scalar(depth)]
        self._random.shuffle(sides)
        return f"({sides[0]}) {operator}{self._bool(operator)} ({sides[1]})"

    def _function(self, depth: int) -> str:
        return f"{self._random.choice(_FUNCTIONS)}({self.vector(depth)})"

    def _clamp(self, depth: int) -> str:
        name = self._random.choice(("clamp", "clamp_min", "clamp_max", "round"))
        numbers = [self.scalar(depth) for _ in range(2 if name == "clamp" else 1)]
        return f"{name}({self.vector(depth)}, {', '.join(numbers)})"

    def _labels(self, depth: int) -> str:
        choice = self._random.choice
        if self._random.random() < 0.3:
            return f'label_join({self.vector(depth)}, "{choice("ac")}", "-", "a", "b")'
        target, template, source = choice(("a", "c", "__name__")), choice(("$1", "z", "", "pre-$1")), choice("abq")
        regex = choice(("(.*)", "(x).*", "y"))
        return f'label_replace({self.vector(depth)}, "{target}", "{template}", "{source}", "{regex}")'

    def _histogram(self, depth: int) -> str:
        choice = self._random.choice
        return f"histogram_quantile({choice(('0.5', '0.9', '0', '1', '0.25', '-1', 'NaN'))}, {choice(_BUCKETS)})"
