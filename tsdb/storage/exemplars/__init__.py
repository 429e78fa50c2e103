"""Exemplars: examples of what went into samples, as traces. Few, bounded, in memory; the log and the saved head keep
them over restarts."""
