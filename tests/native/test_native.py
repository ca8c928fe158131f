"""The C++ library: what it reports, against the system's own account; its symbols; and its code under sanitizers."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pellucid import native

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "pellucid" / "native"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
FLAGS = {  # the kernel's names in /proc/cpuinfo
    "SSE4.2": "sse4_2",
    "AVX2": "avx2",
    "FMA": "fma",
    "AVX-512 F": "avx512f",
    "AVX-512 BW": "avx512bw",
    "AVX-512 DQ": "avx512dq",
    "AVX-512 VL": "avx512vl",
    "AVX-512 BF16": "avx512_bf16",
    "AMX BF16": "amx_bf16",
}


@pytest.fixture(scope="module")
def library() -> native.Native:
    found = native.load()
    if found is None and COMPILER is None:
        pytest.skip("no C++ compiler, so the native library was not built: apt-get install g++, and install again")
    assert found is not None, f"there is a compiler ({COMPILER}) but no native library: install the package again"
    return found


def test_version_and_compiler(library: native.Native) -> None:
    assert library.version == VERSION
    assert re.match(r"(gcc|clang) \d+", library.compiler)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not sys.platform.startswith("linux"), reason="/proc/cpuinfo of x86"
)
def test_features_are_those_that_the_kernel_reports(library: native.Native) -> None:
    text = Path("/proc/cpuinfo").read_text("utf-8")
    flags = set(re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)[0].split())
    assert set(library.cpu_features) == {name for name, flag in FLAGS.items() if flag in flags}


@pytest.mark.skipif(platform.machine() not in ("aarch64", "arm64"), reason="of 64-bit Arm")
def test_arm_has_neon(library: native.Native) -> None:
    assert library.cpu_features == ("NEON",)


def test_only_the_interface_is_visible(library: native.Native) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm: apt-get install binutils")
    listed = subprocess.run(
        [nm, "-D", "--defined-only", library.file], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1] for line in listed.splitlines()}
    headers = [(SOURCES / name).read_text("utf-8") for name in ("pellucid.h", "lanes/step.h")]
    declared = [set(re.findall(r"^PELLUCID_EXPORT [\w ]+\*? (\w+)\(", text, re.MULTILINE)) for text in headers]
    assert declared[0] == {"pellucid_info", "pellucid_flush_denormals"}
    assert {"pellucid_lanes_run", "pellucid_lanes_target_name", "pellucid_lanes_allocate"} < declared[1]
    assert names == declared[0] | declared[1]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86")
def test_the_library_runs_on_every_processor_of_its_kind(library: native.Native) -> None:
    """No register beyond SSE's outside the kernels of AVX2 and AVX-512, which are entered only where the processor has
    them: else it would end with an illegal instruction on an older machine."""
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("no objdump: apt-get install binutils")
    code = subprocess.run([objdump, "-d", library.file], capture_output=True, text=True, check=True).stdout
    functions = dict(re.findall(r"^[0-9a-f]+ <(\S+)>:\n((?:.+\n)+)", code, re.MULTILINE))
    kernels = {name for name in functions if "lanes6avx512" in name or "lanes4avx2" in name}
    assert any("%zmm" in functions[name] for name in kernels)
    assert any("cpuid" in functions[name] for name in functions.keys() - kernels), "this is not the library's code"
    assert not [name for name in functions.keys() - kernels if re.search(r"%[yz]mm\d", functions[name])]


def test_a_file_that_is_no_library_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "libpellucid_native.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(native, "library_file", lambda: broken)
    assert native.load.__wrapped__() is None
    monkeypatch.setattr(native, "library_file", lambda: None)
    assert native.load.__wrapped__() is None


def test_a_library_of_another_interface_is_none(library: native.Native, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "ABI", native.ABI + 1)
    with pytest.raises(OSError, match=f"has interface {native.ABI - 1}, not {native.ABI}"):
        native.Native(library.file)
    assert native.load.__wrapped__() is None


def test_the_library_is_found_beside_the_package_or_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    installed = tmp_path / "site-packages" / "pellucid" / "native" / f"libpellucid_native{suffix}"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setattr(native, "__file__", str(tmp_path / "src" / "pellucid" / "native" / "__init__.py"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing"), str(tmp_path / "site-packages")])
    assert native.library_file() == installed
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing")])
    assert native.library_file() is None


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_the_code_is_clean_under_sanitizers(tmp_path: Path, sanitizers: str) -> None:
    if COMPILER is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    program = tmp_path / "sanitized"
    build = [
        COMPILER,
        *("-std=c++20", "-g", "-O1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-pthread"),
        *("-Wall", "-Wextra", "-Werror", f'-DPELLUCID_VERSION="{VERSION}"', f"-I{SOURCES}"),
        *map(str, sorted(SOURCES.glob("*.cpp"))),
        *(str(Path(__file__).parent / "sanitized.cpp"), "-o", str(program)),
    ]
    built = subprocess.run(build, capture_output=True, text=True)
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip(f"the compiler has no {sanitizers} sanitizer: {built.stderr.splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    ran = subprocess.run([program], capture_output=True, text=True, timeout=60, env=environment)
    if "unexpected memory mapping" in ran.stderr:  # ThreadSanitizer where the kernel randomises addresses too widely
        pytest.skip("this kernel's memory layout is beyond the compiler's ThreadSanitizer")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "all held\n", "")
