"""What a training step frees stays with the process for the next step, as it does on CUDA.

The C library of Linux gives large blocks back to the system when they are freed. The next step asks for the same blocks
again, and the system hands them out page by page, each page at the price of a fault and of zeroing it: thousands of
them a step, a fifth of the time of small networks.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator

# malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# How far its own thresholds may grow by themselves, and its own number of blocks with a mapping each
_USUAL = ((_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20))
_KEEPING = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1))


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Freed memory is kept within, and given back to the system afterwards. Other C libraries are left as they are."""
    library = _glibc()
    if library is None:
        yield
        return
    for option, value in _KEEPING:
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _USUAL:
            library.mallopt(option, value)
        library.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  (musl has a mallopt of another meaning, and not this)
        library.mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
        library.malloc_trim.argtypes = (ctypes.c_size_t,)
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library without a name
        return None
    return library
