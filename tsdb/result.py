"""Results of the embedded API: labels and numpy arrays, and the frames people make of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsdb.model.native_histograms import NativeHistogram

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


@dataclass(slots=True)
class Result:
    """What a query gives.

    A scalar is one series without labels. The raw samples of a range vector (``up[5m]``), which have no common times,
    are in `samples`, and `timestamps` and `values` are empty. Native histograms are in `histograms`, for either; the
    other columns, and frames, have the floats only.
    """

    type: str
    """"vector", "matrix", "scalar" or "string", as in Prometheus' API."""
    labels: list[dict[str, str]]
    """One label set for each series."""
    timestamps: NDArray[np.int64]
    """i64[steps], ms since the epoch"""
    values: NDArray[np.float64]
    """f64[series, steps]; NaN where a series has no value (see `present`)"""
    present: NDArray[np.bool_]
    """bool[series, steps]: tells a missing value from one that is NaN"""
    samples: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = field(default_factory=list)
    """Of a range vector: for each series, times i64[n] (ms) and values f64[n]"""
    histograms: list[tuple[NDArray[np.int64], list[NativeHistogram]]] = field(default_factory=list)
    """For each series, times i64[n] (ms) and the native histograms at these; empty where there are none at all"""
    text: str = ""
    """Of a string."""
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def columns(self) -> tuple[list[dict[str, str]], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The result in long form: labels, and for every value its series i64[n], time i64[n] (ms) and f64[n]."""
        if self.samples:
            sizes = [times.size for times, _ in self.samples]
            rows = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
            return (self.labels, rows, np.concatenate([times for times, _ in self.samples]),
                    np.concatenate([values for _, values in self.samples]))
        rows, steps = np.nonzero(self.present)
        return self.labels, rows.astype(np.int64), self.timestamps[steps], self.values[rows, steps]

    def to_pandas(self) -> pandas.DataFrame:
        """A frame with one row for each time (UTC) and one column for each series; label names name the levels of the
        columns. Needs pandas (``pip install tsdb-server[pandas]``)."""
        import pandas

        names = sorted({name for labels in self.labels for name in labels})
        columns = pandas.MultiIndex.from_tuples(
            [tuple(labels.get(name, "") for name in names) for labels in self.labels], names=names
        ) if names and self.labels else pandas.RangeIndex(len(self.labels))
        if self.samples:
            every = np.unique(np.concatenate([times for times, _ in self.samples]))
            values = np.full((len(self.samples), every.size), np.nan)
            for row, (times, found) in enumerate(self.samples):
                values[row, np.searchsorted(every, times)] = found
        else:
            every, values = self.timestamps, self.values
        index = pandas.DatetimeIndex(every.astype("datetime64[ms]"), tz="UTC", name="time")
        return pandas.DataFrame(values.T, index=index, columns=columns)

    def to_polars(self) -> polars.DataFrame:
        """A frame in long form: a column for each label name, ``time`` (UTC, ms) and ``value``. Needs polars
        (``pip install tsdb-server[polars]``)."""
        import polars

        return polars.DataFrame(polars.from_arrow(self.to_arrow()))

    def to_arrow(self) -> pyarrow.Table:
        """A table in long form, as `to_polars`. Needs pyarrow (``pip install tsdb-server[arrow]``)."""
        import pyarrow

        labels, rows, times, values = self.columns()
        names = sorted({name for each in labels for name in each})
        indices = pyarrow.array(rows)
        arrays: dict[str, Any] = {
            name: pyarrow.array([each.get(name) for each in labels], pyarrow.string()).take(indices) for name in names
        }
        arrays["time"] = pyarrow.array(times.astype("datetime64[ms]")).cast(pyarrow.timestamp("ms", "UTC"))
        arrays["value"] = pyarrow.array(values)
        return pyarrow.table(arrays)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface: whatever speaks Arrow takes a result as it is."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)
