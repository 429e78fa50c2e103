"""Who reads the head without its lock: what they may still look at is not reused."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Readers:
    """Readers enter before they look at slots, symbols or pairs, and leave when they will not any more.

    What was freed at epoch e may be reused once `oldest()` is greater than e.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = 0
        self._inside: dict[int, int] = {}
        self._left: deque[int] = deque()
        """Epochs of readers that have left and are still counted: leaving takes no lock, so that the garbage collector
        may do it anywhere."""

    def enter(self) -> int:
        """Returns the epoch, for `leave`."""
        with self._lock:
            if self._left:
                self._settle()
            epoch = self._epoch
            self._inside[epoch] = self._inside.get(epoch, 0) + 1
            return epoch

    def leave(self, epoch: int) -> None:
        self._left.append(epoch)

    def stay(self) -> Stay:
        """Enters; leaves when nobody refers to what is returned any more."""
        return Stay(self)

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
            self._settle()
            return min(self._inside, default=self._epoch)

    def _settle(self) -> None:
        while self._left:
            epoch = self._left.popleft()
            self._inside[epoch] -= 1
            if not self._inside[epoch]:
                del self._inside[epoch]


class Stay:
    """A reader inside."""

    __slots__ = ("_epoch", "_readers")

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._epoch = readers.enter()

    def __del__(self) -> None:
        self._readers.leave(self._epoch)
