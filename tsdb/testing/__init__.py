"""What ``tsdb test`` runs: scripts in the language of Prometheus' own tests of PromQL, over samples in memory.

`script.py` reads them, `notation.py` their series, `loading.py` puts samples into a storage, `run.py` asks the engine,
and `compare.py` says what is wrong.
"""
