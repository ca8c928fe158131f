"""The pictures of the page of ``pellucid look`` in docs/pictures, taken in Chromium.

    pellucid train CIFAR --net basic_cnn --epochs 10 --run runs/basic_cnn
    pellucid train fashion-mnist --net lenet --set activation=relu --set pool=max --epochs 10 --run runs/lenet
    python scripts/look_screenshots.py runs/basic_cnn cat.jpg runs/lenet docs/pictures

A convolution's number by day; a weight and its next update by night, in Chinese; a pair of trousers,
drawn; and a telephone.
"""

from __future__ import annotations

import argparse
import base64
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser import Browser, Page, find_chromium

from pellucid.look import Lens
from pellucid.look.answers import Answers
from pellucid.look.server import LookServer

SHOWN = "Number(document.body.dataset.shown??0)"
TROUSERS = [[(105, 40), (175, 40)], [(105, 40), (95, 240)], [(140, 70), (110, 240)], [(175, 40), (185, 240)],
            [(140, 70), (170, 240)], [(120, 60), (160, 60)]]  # fmt: skip


@contextmanager
def serving(run: Path, picture: Path | None) -> Iterator[str]:
    """The address of a run's page."""
    answers = Answers(Lens(run))
    with LookServer(answers, answers.add(picture) if picture is not None else "") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


def wait(page: Page, more_than: int = 0) -> None:
    """Until the page has shown what was asked for, and painted it."""
    page.value(f"new Promise(d=>{{const l=()=>{SHOWN}>{more_than}?setTimeout(d,300):setTimeout(l,5);l()}})")


def go(page: Page, address: str) -> None:
    before = page.value(SHOWN)
    page.value(f"void (location.hash={address!r})")
    wait(page, before)


def take(page: Page, file: Path, width: int, height: int) -> None:
    """What is in the window, as WebP."""
    page.resize(width, height)
    page.value("new Promise(d=>setTimeout(d,300))")
    answer = page.call("Page.captureScreenshot", format="webp", quality=82)
    file.write_bytes(base64.b64decode(answer["data"]))
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def draw(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    """Lines on the pad, in its own pixels of 280 x 280, by the mouse."""
    for stroke in strokes:
        before = page.value(SHOWN)
        page.middle("#pad")
        left, top, side = page.value("(b=>[b.x,b.y,b.width])(document.querySelector('#pad').getBoundingClientRect())")
        way = [(left + x * side / 280, top + y * side / 280) for x, y in stroke]
        for kind, (x, y) in zip(("mousePressed", "mouseMoved", "mouseReleased"), (way[0], way[1], way[1]), strict=True):
            page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        wait(page, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("colour", type=Path, help="a run of a network for colour pictures, with batch normalisation")
    parser.add_argument("picture", type=Path)
    parser.add_argument("grey", type=Path, help="a run of a network for grey pictures")
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    program = find_chromium()
    if program is None:
        raise SystemExit("no chromium: install Debian's package chromium")
    browser = Browser(program)
    try:
        with serving(asked.colour, asked.picture) as address:
            with browser.open(address) as page:
                wait(page)
                go(page, "1.0[0,12,7,5]")
                take(page, asked.folder / "look-page.webp", 1280, 1180)
            with browser.open(address, dark=True, language="zh-CN", height=1100) as page:
                wait(page)
                go(page, "0.0.weight[12,1,1,1]")
                take(page, asked.folder / "look-page-update.webp", 1280, 1180)
            with browser.open(address, width=390, height=1100) as page:
                wait(page)
                go(page, "0.3[0,12,7,5]")
                page.value("void document.querySelector('#layer').scrollIntoView()")
                take(page, asked.folder / "look-page-phone.webp", 390, 1180)
        with serving(asked.grey, None) as address, browser.open(address) as page:
            wait(page)
            draw(page, TROUSERS)
            go(page, page.value("location.hash").replace("#", "").replace(page.texts("#address")[0], "3[0,2,4,5]"))
            take(page, asked.folder / "look-page-draw.webp", 1280, 900)
    finally:
        browser.close()


if __name__ == "__main__":
    main()
