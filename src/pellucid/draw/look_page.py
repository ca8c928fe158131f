"""The page of ``pellucid look``: a network and a picture in which every number opens, live or as one offline file.

Style and script are files in ``assets/look``. The script is written as modules, one subject each; here they become one
text, so that a page needs nothing beside itself: each module becomes a function with a scope of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pellucid.draw.network_svg import network_svg
from pellucid.draw.page import STYLE, text

if TYPE_CHECKING:
    from pellucid.graph.account import Account

_IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
GENERATOR = "pellucid look"


def look_page(start: Mapping[str, Any], account: Account, nonce: str, held: Mapping[str, str] | None = None) -> str:
    """The page.

    Args:
        start: what the script begins with: ``live``, ``network``, ``scene`` ... (``look/answers.py``).
        account: of the network, to be drawn.
        nonce: the word by which the page's own style and script are known to be its own; nothing else runs.
        held: texts by their ids that an offline page opens when they are asked for.
    """
    drawing = network_svg(account, str(start["network"]["name"])).replace("<style>", f'<style nonce="{nonce}">')
    body = _asset("look.html").replace("<!--drawing-->", drawing)
    policy = content_policy(nonce, live=bool(start["live"]))
    blocks = "".join(_block(name, value) for name, value in {"start": as_json(start), **(held or {})}.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<meta name="generator" content="{GENERATOR}">\n'
        f"<title>{text(start['network']['name'])} · Pellucid</title>\n"
        f'<link rel="icon" href="data:,">\n<style nonce="{nonce}">{STYLE}{_asset("look.css")}</style>\n</head>\n'
        f'<body class="empty">\n{body}{blocks}<script nonce="{nonce}">\n{script()}</script>\n</body>\n</html>\n'
    )


def content_policy(nonce: str, *, live: bool) -> str:
    """What the page may load: itself, pictures that it holds, and answers of its own server where there is one."""
    ask = "connect-src 'self'" if live else "connect-src 'none'"
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data: blob:; {ask}; "
        "base-uri 'none'; form-action 'none'"
    )


def as_json(value: Any) -> str:
    """JSON that may stand within HTML, whatever names hold."""
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return plain.replace("<", "\\u003c")


@cache
def script() -> str:
    """The modules as one script, those that others import first."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        source = _asset(f"{name}.js")
        for match in _IMPORT.finditer(source):
            add(match[2])
        done[name] = _scoped(name, source)

    add("main")
    return '"use strict";\n' + "".join(done.values())


def _scoped(name: str, source: str) -> str:
    """A module as a function that gives what it exports."""
    exported = ", ".join(_EXPORT.findall(source))
    inner = _EXPORT.sub("", _IMPORT.sub(r"const { \1 } = from_\2;\n", source))
    return f"const from_{name} = (() => {{\n{inner}return {{ {exported} }};\n}})();\n"


def _asset(name: str) -> str:
    return files("pellucid.draw").joinpath("assets", "look", name).read_text("utf-8")


def _block(name: str, value: str) -> str:
    return f'<script type="text/plain" id="{text(name)}">{value}</script>\n'
