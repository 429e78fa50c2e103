"""What completion and search remember from one request to the next, since editors ask at every key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tsdb.model.batch import Metadata
from tsdb.server.completion.texts import Texts

FAMILIES_S: Final = 5.0
"""How long metadata are remembered, as in Prometheus."""
NAMES_S: Final = 2.0
"""How long the metric names for completion are."""
STALE_S: Final = 60.0
"""How much longer they may be used while newer ones are on their way."""
_MOST_LISTS: Final = 4

_SUFFIXES: Final = {
    "counter": ("", "_total"), "info": ("", "_info"), "summary": ("", "_sum", "_count"),
    "histogram": ("", "_bucket", "_sum", "_count"),
    "gaugehistogram": ("", "_bucket", "_gsum", "_gcount", "_sum", "_count"),
}
"""Behind the names of families of these types, in the series' names."""
_ENDS: Final = sorted({suffix for suffixes in _SUFFIXES.values() for suffix in suffixes if suffix})

Families = Mapping[str, Sequence[Metadata]]


class Known:
    """Of one server. Any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._families: tuple[float, Families] = (-FAMILIES_S, {})
        self._lists: list[Texts] = []
        self._metrics: tuple[float, Texts] = (-NAMES_S - STALE_S, Texts(()))
        self._reading = False

    def families(self, read: Callable[[], Families]) -> Families:
        at, families = self._families
        if self._clock() - at >= FAMILIES_S:
            families = read()
            self._families = self._clock(), families
        return families

    def texts(self, names: list[str]) -> Texts:
        """The names as texts to score; the same object where the last lists had the same names."""
        with self._lock:
            for each in self._lists:
                if len(each.texts) == len(names) and each.texts == names:
                    return each
            made = Texts(names)
            self._lists = [made, *self._lists[: _MOST_LISTS - 1]]
            return made

    def metrics(self, read: Callable[[], list[str]], later: Callable[[Callable[[], None]], object]) -> Texts:
        """Names of metrics, `read` some seconds ago. Where they are older than that, newer ones are read `later` for
        who comes next; only what is a minute old is waited for."""
        at, texts = self._metrics
        age = self._clock() - at

        def again() -> None:
            try:
                self._metrics = self._clock(), self.texts(read())
            finally:
                self._reading = False

        if age >= NAMES_S + STALE_S:
            again()
            return self._metrics[1]
        if age >= NAMES_S and not self._reading:
            self._reading = True
            later(again)
        return texts


def metadata_of(name: str, families: Families) -> Metadata | None:
    """Of the family that a metric belongs to: the one of its name, else one whose type gives its series such names."""
    exact = families.get(name)
    if exact:
        return exact[0]
    for end in _ENDS:
        if name.endswith(end):
            for entry in families.get(name.removesuffix(end), ()):
                if end in _SUFFIXES.get(entry.type, ()):
                    return entry
    return None
