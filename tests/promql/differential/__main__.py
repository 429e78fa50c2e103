"""The command line: see the package."""

from __future__ import annotations

import argparse
import sys
import time

from tests.promql.differential.cases import as_toml, keep
from tests.promql.differential.search import Search
from tests.promql.differential.servers import Servers, find_prometheus


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.promql.differential", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="expressions")
    parser.add_argument("--most", type=int, default=10, help="stop after so many differences")
    parser.add_argument("--delayed-names", action="store_true", help="both with promql-delayed-name-removal")
    parser.add_argument("--keep", action="store_true", help="add what is found to cases.toml")
    arguments = parser.parse_args()
    prometheus = find_prometheus()
    if prometheus is None:
        print("no prometheus in TSDB_PEERS, .peers/bin or PATH: run tools/peers", file=sys.stderr)
        return 2
    with Servers(prometheus, delayed_name_removal=arguments.delayed_names) as servers:
        began = time.perf_counter()
        tally = Search(servers, arguments.seed, most=arguments.most).run(arguments.count)
        print(f"seed {arguments.seed}, {time.perf_counter() - began:.0f} s", *tally.lines(), sep="\n")
    for number, found in enumerate(tally.found):
        print(f"\n# {found.problem}\n{as_toml(str(number), found, arguments.delayed_names)}")
    if arguments.keep:
        keep(tally.found, arguments.seed, arguments.delayed_names)
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
