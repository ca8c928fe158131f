"""The page of ``pellucid look`` as text: one script of many modules, each phrase in both languages, nothing beside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.draw import look_page
from pellucid.draw.look_page import as_json, content_policy, script
from pellucid.graph import Account, capture
from tests.draw.test_report import Outline

ASSETS = Path(str(files("pellucid.draw").joinpath("assets", "look")))
MODULES = sorted(file.stem for file in ASSETS.glob("*.js"))
TRAP = "</script><script>window.hacked=1</script><!--"


@pytest.fixture(scope="module")
def account() -> Account:
    return capture(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU()), (1, 8, 8)).account()


def start(**given: Any) -> dict[str, Any]:
    return {"live": False, "network": {"name": TRAP}, "scene": None, **given}


def source(name: str) -> str:
    return (ASSETS / f"{name}.js").read_text("utf-8")


def imports(name: str) -> dict[str, list[str]]:
    """What a module takes from which other."""
    found = re.findall(r'^import \{ (.+) \} from "\./(\w+)\.js";$', source(name), re.MULTILINE)
    return {other: taken.split(", ") for taken, other in found}


def exports(name: str) -> list[str]:
    return re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", source(name), re.MULTILINE)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_what_others_give_and_uses_it(name: str) -> None:
    body = re.sub(r"^import .*$", "", source(name), flags=re.MULTILINE)
    for other, taken in imports(name).items():
        assert set(taken) <= set(exports(other)), other
        assert [word for word in taken if not re.search(rf"\b{word}\b", body)] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_and_stays_short(name: str) -> None:
    text = source(name)
    assert text.startswith("// ")
    assert text.count("\n") <= 260
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|http:|https:", text)


def test_every_module_is_in_the_script_once_after_those_that_it_needs() -> None:
    whole = script()
    order = re.findall(r"^const from_(\w+) = \(\(\) => \{$", whole, re.MULTILINE)
    assert sorted(order) == MODULES
    assert order[-1] == "main"
    for name in MODULES:
        assert all(order.index(other) < order.index(name) for other in imports(name)), name
    assert not re.search(r"^(import|export) ", whole, re.MULTILINE)
    assert "</script" not in whole


def test_the_script_is_javascript(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: the tests in Chromium run the script")
    (tmp_path / "look.js").write_text(script(), "utf-8")
    done = subprocess.run([node, "--check", str(tmp_path / "look.js")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def phrases() -> dict[str, list[str]]:
    found = re.findall(r'^  "([\w.]+)": (\[.*?\]),$', source("phrases"), re.MULTILINE | re.DOTALL)
    return {key: json.loads(re.sub(r",\s*\]$", "]", pair)) for key, pair in found}


def test_every_phrase_is_in_both_languages_with_the_same_values() -> None:
    for key, (english, chinese) in phrases().items():
        assert re.search(r"[\u4e00-\u9fff]", chinese) or key == "back", key
        assert not re.search(r"[\u4e00-\u9fff]", english), key
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", chinese)), key


def test_what_the_page_says_are_phrases_and_all_are_said() -> None:
    texts = {name: source(name) for name in MODULES} | {"html": (ASSETS / "look.html").read_text("utf-8")}
    used = set()
    for name, text in texts.items():
        if name != "phrases":
            used |= set(re.findall(r'say\("([\w.]+)"', text)) | set(re.findall(r'data-(?:say|label)="([\w.]+)"', text))
            used |= set(re.findall(r'"([\w]+\.[\w.]+)"', text)) & set(phrases())
    used |= {f"{what}.{how}" for what in ("channels", "kernels") for how in ("all", "some", "strongest")}
    used |= {f"projection.{method}" for method in ("deconvnet", "saliency", "grad_cam", "field")}
    assert used - set(phrases()) == set()
    known_apart = {"class"}
    assert set(phrases()) - used - known_apart == set()


def test_every_element_that_the_script_asks_for_is_there() -> None:
    html = (ASSETS / "look.html").read_text("utf-8")
    asked = {name for module in MODULES for name in re.findall(r'byId\("([\w-]+)"\)', source(module))}
    given = set(re.findall(r'id="([\w-]+)"', html)) | {"start"}
    assert asked - given == set()


def test_names_are_data_and_never_markup(account: Account) -> None:
    page = look_page(start(), account, "word", {"other-0": as_json({"x": TRAP})})
    assert TRAP not in page
    outline = Outline(page)
    ran = [
        attributes for tag, attributes in outline.elements if tag == "script" and attributes.get("type") != "text/plain"
    ]
    assert ran == [{"nonce": "word"}]
    held = re.search(r'id="other-0">(.*?)</script>', page)
    assert held is not None
    assert json.loads(held[1]) == {"x": TRAP}


def test_the_page_needs_nothing_beside_itself(account: Account) -> None:
    page = look_page(start(), account, "word")
    links = [v for _, attributes in Outline(page).elements for k, v in attributes.items() if k in ("src", "href")]
    assert links == ["data:,"]
    assert "url(" not in page.replace("url(#arrow)", "")
    assert "connect-src 'none'" in page
    assert "connect-src 'self'" in look_page(start(live=True), account, "word")


def test_its_policy_lets_only_its_own_run() -> None:
    policy = content_policy("word", live=True)
    assert policy.startswith("default-src 'none'; script-src 'nonce-word'; style-src 'nonce-word'")
    assert "unsafe" not in policy
