"""Arenas: arrays over address space that is reserved once, so that nothing ever moves.

A page of an arena takes memory when it is first touched. Backed by a memfd mapped MAP_SHARED, whose page faults are
several times cheaper than anonymous ones; where the kernel lacks memfd, by anonymous memory.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tsdb.model.errors import StorageError

MAP_NORESERVE = 0x4000


def reserve(name: str, shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A zeroed array of `shape` and `dtype` that takes memory only where it is touched. The array owns the mapping.

    Raises StorageError where the system does not give the address space.
    """
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    try:
        return np.frombuffer(_map(name, size), kind).reshape(shape)
    except OSError as problem:
        raise StorageError(
            f"{size >> 20} MiB of address space for {name} cannot be reserved ({problem}); it takes no memory until it "
            "is used: lift the limit (ulimit -v, or vm.overcommit_memory=2)"
        ) from problem


def _map(name: str, size: int) -> mmap.mmap:
    try:
        descriptor = os.memfd_create(f"tsdb-{name}", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    try:
        os.ftruncate(descriptor, size)
        return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | MAP_NORESERVE)
    finally:
        os.close(descriptor)
