"""PromQL: grammar, tree, plan, operators, engine. Reads storage through `tsdb.model.tiles` only.

`parse`, `walk`, `rewrite` and `format` are for programs that read and change expressions; docs/promql-api.md shows how.
"""

from tsdb.model.errors import ParseError
from tsdb.model.matchers import Matcher, MatchType
from tsdb.promql import ast
from tsdb.promql.ast import children, walk
from tsdb.promql.engine import Engine, EngineOptions
from tsdb.promql.result import QueryResult
from tsdb.promql.rewriting import metric_name, metric_names, rewrite, selectors, with_matchers, with_metric
from tsdb.promql.syntax.parser import parse, parse_selector
from tsdb.promql.syntax.pretty import pretty
from tsdb.promql.syntax.printer import to_promql as format

__all__ = ["Engine", "EngineOptions", "MatchType", "Matcher", "ParseError", "QueryResult", "ast", "children", "format",
           "metric_name", "metric_names", "parse", "parse_selector", "pretty", "rewrite", "selectors", "walk",
           "with_matchers", "with_metric"]
