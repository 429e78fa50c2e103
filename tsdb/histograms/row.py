"""Native histograms that something computes with, as rows of f64.

Samples and cells lead to histograms in a payload (`tsdb.model.native_histograms`). What computes with one reads it into
a *row* f64[WIDTH + 4 * capacity] that Python has allocated, and writes the result to a payload again, as one whose
counts are floats: between operators there are payloads only. A row (numbers are whole where they count or point):

    SCHEMA, HINT, ZERO_THRESHOLD, SUM, COUNT, ZERO_COUNT    as in the payload
    POSITIVE, NEGATIVE, CUSTOM    how many buckets of either side, and custom values, there are
    SUM_LOST, COUNT_LOST, ZERO_LOST    what Kahan's summation has lost of these; zero but while something adds up
    then four parts of `capacity` numbers: the buckets' indices, ascending, the positive side's first; their counts;
    what these have lost; the custom values

Buckets without observations need not be there. Prometheus' model/histogram/float_histogram.go says what the operations
of `row_kernels` mean.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = 0
HINT: Final = 1
ZERO_THRESHOLD: Final = 2
SUM: Final = 3
COUNT: Final = 4
ZERO_COUNT: Final = 5
POSITIVE: Final = 6
NEGATIVE: Final = 7
CUSTOM: Final = 8
SUM_LOST: Final = 9
COUNT_LOST: Final = 10
ZERO_LOST: Final = 11
WIDTH: Final = 12
