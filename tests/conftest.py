"""What every test shares: where the real data lie, and one thread a process (tests never measure time)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, find_chromium

_SHARED = Path(os.environ.get("PELLUCID_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
_FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist


@pytest.fixture(autouse=True)
def with_small_numbers() -> None:
    """Training lets the processor take numbers below 1e-38 for 0, for the whole process. A test that follows in the
    same worker gets them back: hypothesis draws such numbers."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets and odd pictures that the tests read; skips, with its name, where it is not."""
    if not _SHARED.is_dir():
        pytest.skip(f"no folder {_SHARED}: set PELLUCID_TEST_DATA to the folder of test data")
    return _SHARED


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """The folder of the four original Fashion-MNIST files."""
    if not _FASHION.is_dir():
        pytest.skip(f"no folder {_FASHION}: install Debian's package dataset-fashion-mnist")
    return _FASHION


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, started once: open pages in it, click, type, and see what they log and ask for (tests/browser.py)."""
    program = find_chromium()
    if program is None:
        pytest.skip("no chromium: install Debian's package chromium")
    running = Browser(program)
    yield running
    running.close()
