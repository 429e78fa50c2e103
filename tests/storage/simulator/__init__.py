"""The simulator: a storage on a simulated disk, random operations, faults at random, and a model that knows better.

All of it happens in one thread and follows from the seed: `stepped` is a `Storage` whose threads are steps, `world`
does the operations, breaks things and compares, ``python -m tests.storage.simulator.syncs`` leaves out one sync
after the other.
"""
