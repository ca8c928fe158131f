"""How large the offline page of ``pellucid look`` is, how soon it can be used, and how soon the live page answers.

    python bench/look_page.py --json bench/results/look_page.json [--picture cat.jpg]

Claims, for ResNet-18 at 224x224: the offline page has under 10 MB and is interactive in under 1 s; with the picture
open, a number is answered in under 50 ms, JSON and HTTP included. The page is opened in Debian's Chromium;
``interactive`` is the time from the start of navigation to the moment at which the first number is shown and everything
can be clicked.
``step`` is the time from a click on a term to the number being shown. Without ``--picture``, a made one is used: of
smooth shapes with noise, which compresses no better than a photo.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser import Browser, Page, find_chromium

from pellucid import Model, nets
from pellucid.data import Preprocess
from pellucid.look import Lens
from pellucid.look.answers import Answers
from pellucid.look.offline import write_page
from pellucid.look.server import LookServer

SHOWN = "Number(document.body.dataset.shown??0)"


def made_picture(side: int = 224, seed: int = 0) -> Any:
    """uint8 (side, side, 3): smooth shapes with noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(2 * np.pi * (a * x + b * y + c)) / (1 + a + b) for a, b, c in random.uniform(0, 8, (24, 3))]
    planes = [sum(waves[i::3]) for i in range(3)]
    picture = np.stack(planes, -1)
    picture = 128 + 90 * picture / np.abs(picture).max() + random.normal(0, 8, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def spread(times: list[float]) -> dict[str, float]:
    """Median, quartiles, and the longest, in milliseconds."""
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median": round(middle, 1), "low": round(low, 1), "high": round(high, 1), "most": round(max(times), 1)}


def wait(page: Page, more_than: int = 0) -> None:
    page.value(f"new Promise(d=>{{const l=()=>{SHOWN}>{more_than}?d():setTimeout(l,1);l()}})")


def in_browser(file: Path, rounds: int) -> dict[str, Any]:
    """The offline page in Chromium, opened anew each time."""
    program = find_chromium()
    if program is None:
        raise SystemExit("no chromium: install Debian's package chromium")
    interactive: list[float] = []
    steps: list[float] = []
    browser = Browser(program)
    try:
        for _ in range(rounds):
            with browser.open(file) as page:
                wait(page)
                interactive.append(page.value("performance.getEntriesByName('shown')[0].startTime"))
                for _ in range(6):
                    took = page.value(
                        f"(async()=>{{const b={SHOWN},t=performance.now();"
                        "document.querySelector('.terms .step:not(.away)').click();"
                        f"while({SHOWN}<=b)await new Promise(d=>setTimeout(d,0));return performance.now()-t}})()"
                    )
                    steps.append(took)
                page.assert_quiet()
    finally:
        browser.close()
    return {"interactive_ms": spread(interactive), "step_ms": spread(steps)}


def over_http(answers: Answers, picture: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Random numbers, gradients and maps asked of a running server, the picture open."""
    random = np.random.default_rng(seed)
    scene = answers.scene(picture)
    found: dict[str, list[float]] = {"number": [], "gradient": [], "maps": []}
    sizes: list[int] = []
    with LookServer(answers, picture) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(what: str, **query: str) -> float:
            began = time.perf_counter()
            words = urllib.parse.urlencode({"picture": picture, **query})
            with urllib.request.urlopen(f"{server.address}{what}?{words}") as answer:
                sizes.append(len(answer.read()))
            return 1000 * (time.perf_counter() - began)

        ask("number", at=f"d {scene.nodes[0]}[0,0,0,0]")  # the backward pass, once a picture
        for _ in range(count):
            name = scene.nodes[int(random.integers(len(scene.nodes)))]
            index = ",".join(str(int(random.integers(n))) for n in scene.values(name).shape)
            found["number"].append(ask("number", at=f"{name}[{index}]"))
            found["gradient"].append(ask("number", at=f"d {name}[{index}]"))
            found["maps"].append(ask("maps", path=name))
        server.shutdown()
    return {f"{what}_ms": spread(times) for what, times in found.items()} | {"largest_answer_bytes": max(sizes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="resnet18")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    names = tuple(f"class {i}" for i in range(1000))
    preprocess = Preprocess((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), names)
    model = Model(nets.make(asked.net).eval(), classes=names, preprocess=preprocess)
    answers = Answers(Lens(model))
    picture = answers.add(asked.picture or made_picture())
    answers.prediction(picture)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        page = write_page(Path(folder) / "look.html", answers, picture, "pellucid look RUN PICTURE")
        written = time.perf_counter() - began
        seen = in_browser(page.file, asked.rounds)
    record = {
        "what": f"the page of pellucid look, {asked.net} at 224x224",
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": asked.threads,
        "offline": {
            "bytes": page.size,
            "numbers": page.numbers,
            "of": page.all,
            "written_s": round(written, 1),
            **seen,
        },
        "live": over_http(answers, picture, asked.count),
    }
    print(json.dumps(record, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
