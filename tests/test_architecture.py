"""The arrows of ARCHITECTURE.md, the budgets of files and functions, and what may be imported when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "pellucid"
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = {"ops", "graph", "lanes", "nets", "data", "train", "look", "draw", "cli", "native"}

# A room may import these rooms, and the files errors, cache and _lazy; nothing else of ours.
ARROWS: dict[str, set[str]] = {
    "ops": set(),
    "nets": set(),
    "data": set(),
    "draw": set(),
    "native": set(),
    "graph": {"ops"},
    "lanes": {"graph", "native", "ops"},
    "train": {"data", "nets", "graph", "lanes", "draw", "native", "ops", "summarize"},
    "look": {"data", "draw", "graph", "nets", "ops", "train"},
    "cli": ROOMS | {"doctor", "summary"},
}
LONGEST_FILE, LONGEST_FUNCTION = 600, 80


def imports_of_ours(file: Path) -> Iterator[tuple[str, int]]:
    """The rooms that a file imports when it runs (imports for type checkers alone are free)."""
    tree = ast.parse(file.read_text("utf-8"))
    free: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            free |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in free:
            continue
        if isinstance(node, ast.ImportFrom) and not node.level and node.module and node.module.startswith("pellucid"):
            parts = node.module.split(".")
            for name in [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]:
                yield name, node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("pellucid."):
                    yield alias.name.split(".")[1], node.lineno


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    files = [file for file in FILES if file.relative_to(SOURCE).parts[0] == room]
    assert files, f"the room {room} is empty"
    allowed = ARROWS[room] | {room, "cache", "errors", "_lazy", "__version__"}
    wrong = [
        f"{file.relative_to(SOURCE)}:{line} imports {name}"
        for file in files
        for name, line in imports_of_ours(file)
        if name not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("room", ["ops", "draw"])
def test_a_room_of_records_knows_no_torch(room: str) -> None:
    for file in (SOURCE / room).rglob("*.py"):
        names = [
            alias.name
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in ([ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names)
        ]
        assert not [name for name in names if name.split(".")[0] == "torch"], file


@pytest.mark.parametrize(
    "module", ["pellucid", "pellucid.cli.app", "pellucid.data", "pellucid.draw", "pellucid.doctor", "pellucid.lanes"]
)
def test_no_torch_and_no_matplotlib_before_they_are_needed(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'matplotlib', 'torchmetrics') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['pellucid', '--help']\n"
        "from pellucid.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "train" in output
    assert output.endswith("False\n")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_files_and_functions_stay_short(file: Path) -> None:
    text = file.read_text("utf-8")
    assert text.count("\n") <= LONGEST_FILE
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("package", ["pellucid", *(f"pellucid.{room}" for room in sorted(ROOMS - {"cli"}))])
def test_public_names_exist_and_are_sorted(package: str) -> None:
    module = __import__(package, fromlist=["__all__"])
    assert list(module.__all__) == sorted(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing
