"""Start times: since when what a sample counts has been counted.

They are the same for many samples of a series, and so are kept as runs: (series, time, start time), each for the
samples from that time on until the series' next run; a start time of 0: none is known. Late samples have theirs beside
them as long as they are in memory (`tsdb.storage.late`). So each source of samples has its own, and where samples are
merged, their start times are merged with them.
"""
