"""Every kind of expression, printed and taken apart by a real Prometheus and by us: the same texts and trees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client import Client
from tests.processes import Process, free_port
from tsdb.model.errors import TsdbError
from tsdb.promql.syntax.parser import parse
from tsdb.promql.syntax.pretty import pretty
from tsdb.promql.syntax.tree import tree

pytestmark = pytest.mark.peer

LONG = "a" * 55
MANY = "b" * 50

EXPRESSIONS = [
    # literals
    "1", "-1", "+1", "1.5e300", "0x1F", "1e-7", "Inf", "-Inf", "NaN", "5m", "1h30m", "-5m", "+5m", '"a"',
    "'a<b>&\"c\"'", r"`raw\n`", r'"\u00e9\x41\n"',
    # selectors
    "x", "x{}", "{x='y'}", '{"x"}', '{"a.b"}', '{"a.b",c="d"}', '{"a.b","c.d"="e"}', '{__name__="x"}',
    '{__name__=~"x.*"}', '{__name__="x",a="b"}', '{a="b",__name__="x"}', 'x{b="1",a="2"}',
    'x{b="1",a="2",b!="3",b=~"4",b!~"5"}', '{z="1","m",a="2"}', 'x{a="b",a="b"}', 'x{a="b",}', 'x{"a"="b"}',
    'x{"a b"="c"}', "x{a='it\"s'}", 'x{a="<&>"}',
    r'x{a="\n\t\\"}', 'x{on="a",by="b",inf="c",offset="d"}', "job:rate:sum", ":x", '{"inf"}', '{"nan",a="b"}', '{"by"}',
    '{"1x"}', "start", "offset{}", 'Inf{a="b"}', "x # comment", "x\n+\ny",
    # their modifiers
    "x offset 5m", "x offset -5m", "x offset 1w2d3h4m5s6ms", "x @ 5", "x @ 5.1234", "x @ -5.5", "x @ 1e3",
    "x @ start()", "x @ end() offset 5m", "x offset 5m @ end()", "x[5m]", "x[5m] offset 1h", "x[5m] @ 100 offset 1h",
    "x[300]", "x[1.5]",
    # subqueries
    "x[1h:5m]", "x[1h:]", "x[1h:] offset 5m", "x[1h:5m] @ start() offset -5m", "rate(x[5m])[1h:5m]", "(x+y)[1h:5m]",
    # aggregations
    "sum(x)", "sum by (a) (x)", "sum by () (x)", "sum without () (x)", "sum(x) without (a,b)", 'sum by ("a.b",on) (x)',
    "avg(x)", "min(x)", "max(x)", "count(x)", "group(x)", "stddev(x)", "stdvar(x)", "topk(5,x)", "bottomk by (a) (5,x)",
    "limitk(5,x)", "limit_ratio(0.5,x)", "quantile(0.9,x)", 'count_values without (a) ("v",x)', "SUM BY (a) (x)",
    # operators
    "-x", "+x", "-(x)", "--x", "-x^2", "(-x)^2", "-sum(x)", "((x))", "(1)", "x+y", "x-y", "x*y", "x/y", "x%y", "x^y",
    "x atan2 y", "x==y", "x!=y", "x<y", "x<=y", "x>y", "x>=y", "x == bool y", "1 == bool 1", "x > 5", "5 < bool x",
    "x and y", "x or y", "x unless y", "x and on(a) y", "x or ignoring(a) y", "x unless on() y", "x / on(a,b) y",
    "x / ignoring(a) y", "x / on(a) group_left y", "x / on(a) group_left(b,c) y", "x / on(a) group_right(b) y",
    "x + y * z", "(x + y) * z", "x ^ y ^ z", "x - y - z", "x - (y - z)", "x == y + z and a or b unless c",
    # functions, of each shape
    "time()", "pi()", "vector(1)", "scalar(x)", "hour()", "hour(x)", "abs(x)", "clamp(x,1,2)", "round(x)", "round(x,5)",
    "rate(x[5m])", "quantile_over_time(0.5,x[5m])", "predict_linear(x[5m],60)", "histogram_fraction(0,1,x)",
    'label_join(x,"a","b","c","d")', 'label_replace(x,"a","b","c","d")', 'sort_by_label(x,"a","b")', "info(x)",
    'info(x,{a="b"})', "ts_of_last_over_time(x[5m])", "double_exponential_smoothing(x[5m],0.5,0.5)", "absent(x)",
    # what is longer than a line
    f'label_replace({LONG},"{MANY}","$1","c","(.*)")', f"topk by ({LONG}) (5, rate({MANY}[5m]))",
    f"sum by ({LONG},{MANY}) (x)", f"{LONG} + {MANY} * c", f"({LONG} + {MANY}) * c", f"-({LONG} + {MANY})",
    f"-sum({LONG} / on(a) group_left(b) {MANY})", f"max_over_time(({LONG} + {MANY})[1h:5m] @ end() offset 5m)",
    f'{LONG}{{b="{MANY}",a="2"}}', f"rate({LONG}{{{MANY}=~'c'}}[5m] offset 5m)",
    f"{LONG} > bool on(a) {MANY} and ignoring(x,y) c or d",
    # what is wrong
    "sum(", "x y", "x{", "x[", "x[5m", "rate(x)", "foo(x)", '1 + "a"', "x and 1", "x == bool", "sum by (a (x)",
    "histogram_quantile(x)", "x{a=}", 'x{a="b"', '{a=""}', '{a=~".*"}', 'x{__name__="y"}', 'x{a=~"("}', "x[0s]",
    "x[5m][5m]", "x offset 5m offset 5m", "x @ 5 @ 6", '"unfinished', 'label_replace(x,"a")', "sum(1)", "x[5m] + 1",
    '-"a"', "!x", "bool", "",
]


@pytest.fixture(scope="module")
def prometheus(peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("expressions")
    (folder / "prometheus.yml").write_text("")
    port = free_port()
    process = Process(
        [peer("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=promql-experimental-functions",
         "--log.level=warn"],
        folder / "prometheus.log", port,
    )
    try:
        yield process.wait_ready().client
    finally:
        process.kill()


@pytest.mark.parametrize("path", ["format_query", "parse_query"])
def test_same_expressions(prometheus: Client, path: str) -> None:
    make: Callable[[Any], Any] = pretty if path == "format_query" else tree
    different = []
    for text in EXPRESSIONS:
        theirs = prometheus.get(f"/api/v1/{path}", {"query": text}).json()
        try:
            ours: Any = json.loads(json.dumps(make(parse(text))))
        except TsdbError as problem:
            ours = f'invalid parameter "query": {problem}'
        if ours != theirs.get("data", theirs.get("error")):
            different.append((text, theirs, ours))
    assert not different


@pytest.mark.parametrize(("text", "ours"), [
    ("x / ignoring() group_right y", "x / ignoring () group_right () y"),  # theirs is no group_right any more
    ('x / on(a) group_left("b.c") y', 'x / on (a) group_left ("b.c") y'),  # theirs does not parse
])
def test_what_is_printed_otherwise(prometheus: Client, text: str, ours: str) -> None:
    """Prometheus 3.5 prints what means something else."""
    assert pretty(parse(text)) == ours
    assert prometheus.data("format_query", {"query": text}) != ours
