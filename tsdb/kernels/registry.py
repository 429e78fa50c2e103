"""Kernels: functions compiled by numba ahead of time, in child processes, and loaded from a cache.

``@kernel(signature)`` registers a function and compiles nothing; the first call loads its machine code from the cache
(about 2 ms), or has a child process compile it. A *kernel* is called from Python; a *device function* (``@device``) is
called from kernels only and is compiled into each of them.

The registry below is filled by importing modules and holds code, not state: machine code belongs to the process, like
the modules themselves, and any number of databases and servers share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

import numba

P = ParamSpec("P")
R = TypeVar("R")

Stage = Literal["start", "query", "later"]
"""When a cold start compiles a kernel: before the server is ready ("start": all that ingest, replay and lookups need),
or behind it, those of usual queries first. A call that comes too early waits."""

OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy", "fastmath": False}


class Kernel(Generic[P, R]):
    """A registered kernel. Call it as the function it was made from; arguments must have the declared types exactly."""

    def __init__(self, py_func: Callable[P, R], signature: Any, stage: Stage, allocates: bool = False) -> None:
        self.name = f"{py_func.__module__}.{py_func.__qualname__}"
        self.py_func = py_func
        self.signature = signature
        self.stage: Stage = stage
        self.allocates = allocates
        self.__doc__ = py_func.__doc__
        self._entry: Callable[P, R] | None = None

    @property
    def module(self) -> str:
        return self.py_func.__module__

    @property
    def loaded(self) -> bool:
        return self._entry is not None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        entry = self._entry
        if entry is None:
            entry = self._load()
        return entry(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    def dispatcher(self) -> Any:
        """A fresh numba dispatcher for this kernel, not compiled yet."""
        return numba.njit(_nrt=self.allocates, **OPTIONS)(self.py_func)

    def load(self) -> None:
        """Loads it now rather than at its first call."""
        if self._entry is None:
            self._load()

    def _load(self) -> Callable[P, R]:
        from tsdb.kernels import cache, warmup

        path = warmup.compiled(self)  # may take long; other kernels load meanwhile
        with _LOAD_LOCK:
            if self._entry is None:
                self._entry = cache.build(self, path)
            return self._entry


_LOAD_LOCK = threading.RLock()
_KERNELS: dict[str, Kernel[..., Any]] = {}


def kernel(
    signature: Any, *, stage: Stage = "start", allocates: bool = False
) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Registers a function as a kernel of one numba signature, such as ``"int64(uint8[::1], int64)"``.

    ``signature`` is a string or a numba signature object (needed for record arrays). ``stage="later"`` keeps a kernel
    that readiness does not need out of the way of a cold start. ``allocates=True``: it makes arrays. Where it does
    not, numba counts no references to those it gets, which saves an atomic operation per array and call of a device
    function (remote_write decoding: 164 to 85 ns per series), and compiles quicker.
    """

    def register(py_func: Callable[P, R]) -> Kernel[P, R]:
        made = Kernel(py_func, signature, stage, allocates)
        if made.name in _KERNELS and _KERNELS[made.name].py_func.__code__ is not py_func.__code__:
            raise ValueError(f"kernel {made.name} is registered twice")
        _KERNELS[made.name] = made
        return made

    return register


@overload
def device(py_func: Callable[P, R]) -> Callable[P, R]: ...
@overload
def device(*, allocates: bool) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def device(py_func: Callable[P, R] | None = None, *, allocates: bool = False) -> Any:
    """Marks a function that kernels call: compiled into its callers, never on its own. `allocates` as in `kernel`."""
    mark = numba.njit(_nrt=allocates, **OPTIONS)
    return mark if py_func is None else mark(py_func)


def registered() -> list[Kernel[..., Any]]:
    """All kernels registered so far, in order of registration."""
    return list(_KERNELS.values())


def by_name(name: str) -> Kernel[..., Any]:
    return _KERNELS[name]
