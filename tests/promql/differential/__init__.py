"""Random expressions over random samples, asked of a real Prometheus and of a server of ours: ``python -m
tests.promql.differential --seed 1 --count 1000``.

`expressions.py` builds expressions that mean something, `data.py` samples, `servers.py` runs and asks both,
`answers.py` compares, `known.py` knows what differs on purpose (differences.toml), `search.py` looks for other
differences and makes them small, `cases.py` keeps them in cases.toml, which a default test asks of our engine.
"""
