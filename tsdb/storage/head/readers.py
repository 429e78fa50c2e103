"""Who reads the head without its lock: what they may still look at is not reused."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Readers:
    """Readers enter before they look at slots, symbols or pairs, and leave when they will not any more.

    What was freed at epoch e may be reused once `oldest()` is greater than e.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = 0
        self._inside: Counter[int] = Counter()

    def enter(self) -> int:
        """Returns the epoch, for `leave`."""
        with self._lock:
            self._inside[self._epoch] += 1
            return self._epoch

    def leave(self, epoch: int) -> None:
        with self._lock:
            self._inside[epoch] -= 1
            if not self._inside[epoch]:
                del self._inside[epoch]

    @contextmanager
    def reading(self) -> Iterator[None]:
        epoch = self.enter()
        try:
            yield
        finally:
            self.leave(epoch)

    def advance(self) -> int:
        """Ends the present epoch, which is returned: readers that enter from now on do not see what was freed in it."""
        with self._lock:
            self._epoch += 1
            return self._epoch - 1

    def oldest(self) -> int:
        """The epoch of the reader that entered first of those inside; the present one where nobody is."""
        with self._lock:
            return min(self._inside, default=self._epoch)
