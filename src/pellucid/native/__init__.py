"""The C++ library behind a plain C interface (pellucid.h), loaded by ctypes; None where it was not built."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

__all__ = ["FEATURES", "Native", "library_file", "load", "parallel_for"]

ABI = 2
FEATURES = (
    "SSE4.2",
    "AVX2",
    "FMA",
    "AVX-512 F",
    "AVX-512 BW",
    "AVX-512 DQ",
    "AVX-512 VL",
    "AVX-512 BF16",
    "AMX BF16",
    "NEON",
)  # in the order of the bits of PellucidCpuFeature


class _Info(ctypes.Structure):
    _fields_ = (
        ("abi", ctypes.c_uint32),
        ("version", ctypes.c_char_p),
        ("compiler", ctypes.c_char_p),
        ("cpu_features", ctypes.c_uint64),
    )


class Native:
    """The loaded library.

    Raises:
        OSError: where the file is no library, or that of another version of the interface.
    """

    def __init__(self, file: Path) -> None:
        self._library = ctypes.CDLL(str(file))
        self._library.pellucid_info.restype = _Info
        self._library.pellucid_flush_denormals.restype = ctypes.c_int32
        self._library.pellucid_flush_denormals.argtypes = (ctypes.c_void_p, ctypes.c_int64)
        info = self._library.pellucid_info()
        if info.abi != ABI:
            raise OSError(f"{file} has interface {info.abi}, not {ABI}")
        self.file = file
        self.version: str = info.version.decode()
        self.compiler: str = info.compiler.decode()
        self.cpu_features: tuple[str, ...] = tuple(
            name for bit, name in enumerate(FEATURES) if info.cpu_features >> bit & 1
        )

    def flush_denormals(self, threads: int) -> int:
        """Denormals become 0 on this thread and on PyTorch's pool; returns on how many threads, 0 where none has it."""
        return int(self._library.pellucid_flush_denormals(parallel_for(), threads))


@functools.cache
def load() -> Native | None:
    """The library, or None where there is none that fits."""
    file = library_file()
    if file is None:
        return None
    try:
        return Native(file)
    except (OSError, AttributeError):
        return None


def library_file() -> Path | None:
    """Where the library was installed: beside this file, or (editable installation) in the environment's packages.

    The environment variable PELLUCID_NATIVE names another build: tests load one with sanitizers.
    """
    if other := os.environ.get("PELLUCID_NATIVE"):
        return Path(other)
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    places = [Path(__file__).parent, *(Path(entry) / "pellucid" / "native" for entry in sys.path)]
    files = (place / f"libpellucid_native{suffix}" for place in places)
    return next((file for file in files if file.is_file()), None)


def parallel_for() -> int | None:
    """The address of libtorch's ``torch_parallel_for``, where PyTorch is loaded."""
    if "torch" not in sys.modules:
        return None
    try:
        return ctypes.cast(ctypes.CDLL("libtorch_cpu.so").torch_parallel_for, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
