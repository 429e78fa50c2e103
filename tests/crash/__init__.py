"""The crash harness: a real server under load is killed again and again, and asked for every acknowledged sample.

``python -m tests.crash --rounds 20 --seed 1``. `model` knows what must be there, `traffic` and `operations` make the
load, `phases` sees from outside what the server is doing, `rounds` kills it, `checks` compares.
"""
