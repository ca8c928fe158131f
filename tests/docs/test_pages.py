"""Every code block in README and docs/ runs, page by page, in a fresh folder, as a reader would type it.

Blocks by their language:

- ``python``   runs in one namespace a page; what it prints is compared with the ``text`` block that follows, if any
- ``sh``       runs with the shell, ``pellucid`` on the path; likewise
- ``console``  what is typed before Pellucid is installed (git, make): every ``make`` target must exist
- others       (``yaml``, ``text``) are shown only

In an expected output ``...`` stands for anything: what differs from machine to machine is left out, not typed.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")])
CHINESE = [page for page in PAGES if page.name.endswith(".zh-CN.md")]  # the same code as the English page beside it
GUIDE = [page for page in PAGES if ROOT / "docs" / "guide" in page.parents and page not in CHINESE]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    expected: str | None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = list(FENCE.finditer(text))
    blocks = []
    for i, match in enumerate(found):
        follows = found[i + 1] if i + 1 < len(found) else None
        between = text[match.end() : follows.start()].strip() if follows else "something"
        expected = follows.group(2) if follows and follows.group(1) == "text" and not between else None
        blocks.append(Block(match.group(1), match.group(2), text[: match.start()].count("\n") + 1, expected))
    return blocks


def run_python(code: str, namespace: dict[str, object], where: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, where, "exec"), namespace)
    return printed.getvalue()


def run_shell(code: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "120", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def assert_printed(expected: str, printed: str, where: str) -> None:
    same = doctest.OutputChecker().check_output(expected, printed, FLAGS)
    assert same, f"{where}\nexpected\n{expected}\nprinted\n{printed}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [p for p in PAGES if p not in CHINESE], ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.docs.photos import write_photos

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.syspath_prepend(str(tmp_path))
    write_photos(tmp_path / "photos")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        where = f"{page.name}:{block.line}"
        if block.language == "python":
            printed = run_python(block.code, namespace, where)
        elif block.language == "sh":
            printed = run_shell(block.code, tmp_path)
        elif block.language == "console":
            for target in re.findall(r"^make (\S+)", block.code, re.MULTILINE):
                subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
            continue
        else:
            continue
        if block.expected is not None:
            assert_printed(block.expected, printed, where)


def test_every_page_has_code_that_runs() -> None:
    assert [page for page in PAGES if page.name == "README.md"]
    assert any(block.language in ("python", "sh") for page in PAGES for block in blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    broken = [target for target in targets if target and not (page.parent / target).exists()]
    assert not broken


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_chinese_page_has_the_code_and_outputs_of_the_english_one(page: Path) -> None:
    def shown(one: Path) -> list[tuple[str, str, str | None]]:
        return [(block.language, block.code, block.expected) for block in blocks_of(one)]

    assert shown(page) == shown(page.with_name(page.name.replace(".zh-CN.md", ".md")))


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_of_the_guide_stands_in_both_languages(page: Path) -> None:
    """The Chinese page has the same headings in number, and the same figures, as well as the same code."""

    def built(one: Path) -> tuple[list[str], list[str]]:
        text = FENCE.sub("", one.read_text("utf-8"))
        return re.findall(r"^#+", text, re.MULTILINE), re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)

    assert built(page) == built(page.with_name(f"{page.stem}.zh-CN.md"))
