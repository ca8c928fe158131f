"""The page of ``pellucid look`` in Chromium, as a reader uses it: every way to a number, live and offline."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid import look
from pellucid.look.answers import Answers
from pellucid.look.offline import write_page
from pellucid.look.server import LookServer
from tests.browser import Browser, Page
from tests.draw.test_report_in_browser import CONTRAST
from tests.look.made_page import CLASSES, encoded, lenet_lens, serving

pytestmark = pytest.mark.browser

SHOWN = "Number(document.body.dataset.shown ?? 0)"


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(lenet_lens())


@pytest.fixture(scope="module")
def server(answers: Answers) -> Iterator[LookServer]:
    with serving(answers, answers.add(encoded())) as running:
        yield running


@pytest.fixture(scope="module")
def scene(answers: Answers, server: LookServer) -> look.Scene:
    return answers.scene(server.picture)


@pytest.fixture(scope="module")
def offline(answers: Answers, server: LookServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pages") / "look.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pellucid.look.offline.MOST_NUMBERS", 500)
        write_page(file, answers, server.picture, "pellucid look RUN bar.png")
    return file


@pytest.fixture
def page(browser: Browser, server: LookServer) -> Iterator[Page]:
    with browser.open(server.address) as opened:
        wait(opened)
        yield opened
        opened.assert_quiet(server.address)


def wait(page: Page, more_than: int = 0) -> None:
    """Until the page has shown what was asked for."""
    done = page.value(
        "new Promise(done=>{const end=Date.now()+20000,look=()=>"
        f"{SHOWN}>{more_than}?done(true):Date.now()>end?done(false):setTimeout(look,5);look()}})"
    )
    assert done, "the page shows nothing new"


def after(page: Page, act: Callable[[], Any]) -> None:
    """Do something, and wait until the page has shown what comes of it."""
    before = page.value(SHOWN)
    act()
    wait(page, before)


def go(page: Page, address: str) -> None:
    """As a reader who types the number's address behind #."""
    after(page, lambda: page.value(f"void (location.hash={json.dumps(address)})"))


def reload(page: Page) -> None:
    """Open the page's own address again."""
    page.value("void (document.body.dataset.old=1)")
    page.call("Page.reload")
    page.value("new Promise(d=>setTimeout(d,100))")
    wait(page)
    assert page.value("document.body.dataset.old") is None


def painted(page: Page) -> None:
    """Until thumbnails that are in view are painted."""
    page.value("new Promise(d=>requestAnimationFrame(()=>requestAnimationFrame(()=>setTimeout(d,20))))")


def address(page: Page) -> str:
    """Of the open number; the page's own address says the same."""
    shown: str = page.texts("#address")[0]
    assert page.value("decodeURIComponent(location.hash.slice(1).split('?')[0])") == shown
    return shown


def value(page: Page) -> float:
    return float(page.texts("#value")[0])


def near(number: float) -> Any:
    """As it is written in four figures."""
    return pytest.approx(number, rel=6e-4, abs=1e-12)


def click_cell(page: Page, width: int, height: int, x: int, y: int, selector: str = "#channel .map canvas") -> None:
    """Click into a cell of a map."""
    page.middle(selector)
    left, top, w, h = page.value(
        f"(b=>[b.x,b.y,b.width,b.height])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
    )
    at = {"x": left + (x + 0.5) * w / width, "y": top + (y + 0.5) * h / height}
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        page.call("Input.dispatchMouseEvent", type=kind, **at, **button)


def drop(page: Page, data: bytes, name: str = "dropped.png") -> None:
    """Drop a file onto the page."""
    page.value(
        "(()=>{const bytes=Uint8Array.from(atob("
        + json.dumps(base64.b64encode(data).decode())
        + "),c=>c.charCodeAt(0));const data=new DataTransfer();"
        f"data.items.add(new File([bytes],{json.dumps(name)}));"
        "for(const kind of ['dragover','drop'])"
        "document.body.dispatchEvent(new DragEvent(kind,{bubbles:true,cancelable:true,dataTransfer:data}))})()"
    )


@pytest.mark.parametrize(
    ("width", "dark", "language"),
    [(1280, False, "en-US"), (1280, True, "zh-CN"), (390, False, "zh-CN"), (390, True, "en")],
)
@pytest.mark.parametrize("live", [True, False])
def test_it_is_quiet_fits_and_can_be_read(
    browser: Browser, server: LookServer, offline: Path, live: bool, width: int, dark: bool, language: str
) -> None:
    with browser.open(server.address if live else offline, width=width, dark=dark, language=language) as page:
        wait(page)
        for number in ("3[0,2,4,5]", "d 3.weight[2,1,0,0]", "5[0,2,1,1]"):
            go(page, number)
            assert page.value("[innerWidth,document.documentElement.scrollWidth]") == [width, width], number
        worst = page.value(CONTRAST)
        assert worst[0][0] >= 4.5, worst
        assert page.texts("header .badge") == ["评估模式" if language == "zh-CN" else "evaluation"]
        assert page.value("typeof window.hacked") == "undefined"
        page.assert_quiet(server.address if live else "")


def test_it_begins_with_the_most_probable_class(page: Page, scene: look.Scene) -> None:
    best = int(scene.output.argmax())
    assert address(page) == f"11[0,{best}]"
    assert value(page) == near(float(scene.output[0, best]))
    assert page.texts("#top .name")[0] == CLASSES[best]
    shares = [float(text.rstrip("%")) for text in page.texts("#top .share")]
    assert shares == sorted(shares, reverse=True)
    assert page.value("[...document.querySelectorAll('#picture-canvas')].map(c=>[c.width,c.height])") == [[28, 28]]


def test_names_are_shown_as_they_are(page: Page) -> None:
    assert "<b>two</b>" in page.value("[...document.querySelectorAll('#label option')].map(o=>o.textContent)")


def test_a_layer_a_channel_and_a_cell_are_chosen_by_pointer(page: Page, scene: look.Scene) -> None:
    after(page, lambda: page.click('#drawing [data-node="3"]'))
    maps = scene.values("3")
    channel, y, x = (int(i) for i in divmod_all(int(maps[0].argmax()), maps.shape[1:]))
    assert address(page) == f"3[0,{channel},{y},{x}]"  # the strongest of all
    assert page.value("document.querySelector('#layers').value") == "3"
    assert page.texts(".thumb") == [str(i) for i in range(16)]

    after(page, lambda: page.click('.thumb[data-channel="7"]'))
    y, x = divmod(int(maps[0, 7].argmax()), 10)
    assert address(page) == f"3[0,7,{y},{x}]"
    assert page.value("document.querySelector('.thumb[aria-pressed=true]').dataset.channel") == "7"

    after(page, lambda: click_cell(page, 10, 10, x=6, y=2))
    assert address(page) == "3[0,7,2,6]"
    assert value(page) == near(float(maps[0, 7, 2, 6]))


def divmod_all(flat: int, shape: tuple[int, ...]) -> list[int]:
    places: list[int] = []
    for n in reversed(shape):
        flat, place = divmod(flat, n)
        places.insert(0, place)
    return places


def test_the_cell_under_the_pointer_is_read_out(page: Page, scene: look.Scene) -> None:
    go(page, "0[0,1,5,5]")
    page.middle("#channel .map")
    left, top, side = page.value(
        "(b=>[b.x,b.y,b.width])(document.querySelector('#channel .map canvas').getBoundingClientRect())"
    )
    page.move(left + 10.5 * side / 28, top + 3.5 * side / 28)
    read = page.texts("#channel .read")[0]
    found = re.fullmatch(r"channel 1, row 3, column 10 ≈ (-?[\d.e-]+)", read)
    assert found is not None, read
    largest = float(abs(scene.values("0")[0, 1]).max())
    assert float(found[1]) == pytest.approx(float(scene.values("0")[0, 1, 3, 10]), abs=largest / 200)


def test_patch_kernel_products_and_sum_are_those_of_the_scene(page: Page, scene: look.Scene) -> None:
    go(page, "3[0,2,4,5]")
    patch = scene.values("2")[0, :, 4:9, 5:10]
    kernel = scene.values("3.weight")[2]
    products = patch * kernel
    order = [int(text.split()[1]) for text in page.texts(".patch-name")]
    assert order == sorted(range(6), key=lambda c: -abs(products[c]).sum())[:4]
    for nth, channel in enumerate(order):
        for kind, numbers in (("values", patch), ("factors", kernel), ("products", products)):
            cells = [float(text) for text in page.texts(f".patch-row:nth-of-type({nth + 1}) [data-kind={kind}] .cell")]
            assert cells == pytest.approx(numbers[channel].reshape(-1).tolist(), rel=0.06), (channel, kind)
        total = float(page.texts(f".patch-row:nth-of-type({nth + 1}) .patch-sum b")[0])
        assert total == near(float(products[channel].sum()))
    page.click(".patch > p button")  # the two that are left
    assert len(page.texts(".patch-name")) == 6
    line = page.texts("#sum")[0]
    terms = re.findall(r"(\(?-?[\d.e-]+\)?)·(\(?-?[\d.e-]+\)?)", line)
    assert len(terms) == 8
    written = sum(float(a.strip("()")) * float(b.strip("()")) for a, b in terms)
    rest = re.search(r"\+ 143 more \((-?[\d.e-]+)\) = (-?[\d.e-]+)$", line)
    assert rest is not None, line
    assert written + float(rest[1]) == pytest.approx(float(rest[2]), abs=2e-3)
    assert float(rest[2]) == near(float(scene.values("3")[0, 2, 4, 5]))
    assert page.texts("h3")[-1] == "Its 151 terms, the largest first"


def test_the_receptive_field_is_a_box_on_the_picture(page: Page, scene: look.Scene) -> None:
    go(page, "3[0,2,4,5]")
    (top, bottom), (left, right) = scene.open("3[0,2,4,5]").box
    style = page.value(
        "(s=>['left','top','width','height'].map(k=>parseFloat(s[k])))(document.querySelector('#field').style)"
    )
    expected = [left, top, right - left + 1, bottom - top + 1]
    assert style == pytest.approx([100 * n / 28 for n in expected], abs=1e-3)
    assert page.texts("#box")[0].startswith(f"It sees rows {top} to {bottom} and columns {left} to {right}")
    assert page.value("(c=>[c.width,c.height])(document.querySelector('.crop canvas'))") == expected[2:]
    go(page, "3.weight[0,0,0,0]")
    assert page.value("document.querySelector('#field').hidden")


def test_stepping_into_terms_and_back(page: Page, scene: look.Scene) -> None:
    go(page, "3[0,2,4,5]")
    pooled = page.value("document.querySelectorAll('[data-kind=values] .cell')[7].dataset.address")
    after(page, lambda: page.click("[data-kind=values] .cell", nth=7))
    assert address(page) == pooled
    assert re.fullmatch(r"2\[0,\d,5,7\]", pooled)
    assert value(page) == near(scene.open(pooled).value)
    won = page.value("document.querySelector('.cell.winner').dataset.address")
    assert scene.open(won).value == scene.open(pooled).value
    after(page, lambda: page.click(".cell.winner"))
    assert address(page) == won
    assert page.texts("#sum")[0].startswith("relu(")
    assert page.texts(".walk li") == ["3[0,2,4,5]", pooled]
    after(page, lambda: page.click(".terms .step"))
    assert address(page) == won.replace("1[", "0[")
    after(page, lambda: page.click(".terms .step"))  # the largest term of the first convolution
    pixel = address(page)
    assert pixel.startswith("input[0,0,")
    assert len(page.texts(".walk li")) == 4
    assert value(page) == near(scene.open(pixel).value)

    after(page, lambda: page.click("#back"))
    assert address(page) == won.replace("1[", "0[")
    after(page, lambda: page.press("ArrowLeft", alt=True))
    assert address(page) == won
    after(page, lambda: page.value("history.back()"))
    assert address(page) == pooled
    after(page, lambda: page.value("history.forward()"))
    assert address(page) == won
    after(page, lambda: page.click(".walk li button"))  # to where the walk began
    assert address(page) == "3[0,2,4,5]"
    assert page.texts(".walk li") == []


def test_the_address_of_a_number_is_shared(browser: Browser, page: Page, server: LookServer) -> None:
    go(page, "d 3.weight[2,1,0,4]")
    page.value("void (navigator.clipboard.writeText=async text=>{window.copied=text})")
    page.click("#copy")
    copied = page.value("window.copied")
    assert copied == f"{server.address}#d%203.weight[2,1,0,4]"
    assert page.texts("#status") == ["The address is copied."]
    with browser.open(copied) as other:
        wait(other)
        assert address(other) == "d 3.weight[2,1,0,4]"
        assert value(other) == value(page)
        assert other.value("document.querySelector('#back').disabled")
        other.assert_quiet(server.address)


def test_a_gradient_opens_and_leads_on(page: Page, scene: look.Scene) -> None:
    go(page, "2[0,3,6,6]")
    after(page, lambda: page.click("#turn"))
    assert address(page) == "d 2[0,3,6,6]"
    assert value(page) == near(float(scene.gradients("2")[0, 3, 6, 6]))
    assert "full correlation" in page.texts(".formula")[0]
    assert page.texts("[data-kind=values] + figcaption")[0] == "output's gradient"
    assert page.texts("#layer-head p")[0].startswith("gradients of the loss")
    after(page, lambda: page.click(".terms .step"))
    assert address(page).startswith("d 3[0,")
    assert value(page) == near(scene.open(address(page)).value)
    after(page, lambda: page.click("#turn"))
    assert address(page).startswith("3[0,")


def test_a_weight_shows_its_gradient_and_its_next_update(page: Page, scene: look.Scene) -> None:
    go(page, "3[0,2,4,5]")
    after(page, lambda: page.click('[data-kind=factors] .cell[data-address="3.weight[2,1,0,4]"]'))
    update = scene.update("3.weight", (2, 1, 0, 4))
    assert value(page) == near(update.before)
    assert float(page.texts("#after")[0]) == pytest.approx(update.after, rel=1e-6)
    assert page.texts("#update .steps th") == [step.name for step in update.steps]
    assert page.texts("#update .steps td:last-child") == [step.sum for step in update.steps]
    after(page, lambda: page.click("#turn"))
    assert address(page) == "d 3.weight[2,1,0,4]"
    assert value(page) == near(update.gradient)
    assert len(page.texts("#update .steps th")) == len(update.steps)
    go(page, "3[0,2,4,5]")
    assert page.value("document.querySelector('#update').hidden")


def test_weights_have_maps_of_their_own(page: Page, scene: look.Scene) -> None:
    go(page, "3[0,2,4,5]")
    after(page, lambda: page.click(".chip", nth=1))
    kernels = scene.values("3.weight")
    assert address(page) == "3.weight[{},{},{},{}]".format(*divmod_all(int(kernels.argmax()), kernels.shape))
    after(page, lambda: page.click('.thumb[data-channel="4"]'))
    assert address(page).startswith("3.weight[4,")
    after(page, lambda: click_cell(page, 17, 11, x=7, y=1))  # 3 x 2 tiles of 5 x 5, a cell apart
    assert address(page) == "3.weight[4,1,1,1]"
    assert value(page) == near(float(kernels[4, 1, 1, 1]))


def test_the_label_decides_about_the_loss(page: Page, scene: look.Scene, answers: Answers, server: LookServer) -> None:
    assert "for the predicted class" in page.texts("#label-box p")[0]
    go(page, "d 11[0,4]")
    before = value(page)
    after(
        page,
        lambda: page.value("(s=>{s.value=4;s.dispatchEvent(new Event('change'))})(document.querySelector('#label'))"),
    )
    assert "Gradients are those for this class." in page.texts("#label-box p")[0]
    expected = answers.scene(server.picture, 4).gradients("11")[0, 4]
    assert value(page) == near(float(expected))
    assert value(page) < 0 < before
    after(page, lambda: page.click("#label-box .link"))
    assert address(page) == "loss.cross_entropy[]"
    assert value(page) == near(answers.scene(server.picture, 4).loss.value)
    reload(page)
    assert page.value("document.querySelector('#label').value") == "4"


def test_a_picture_is_dropped_and_answered(page: Page, answers: Answers, server: LookServer) -> None:
    go(page, "3[0,2,4,5]")
    after(page, lambda: drop(page, encoded(7)))
    other = answers.add(encoded(7))
    assert address(page) == "3[0,2,4,5]"
    assert page.value("location.hash").endswith(f"?picture={other}")
    assert value(page) == near(answers.scene(other).open("3[0,2,4,5]").value)
    assert [float(t.rstrip("%")) for t in page.texts("#top .share")] == pytest.approx(
        [100 * found["probability"] for found in answers.prediction(other)["top"][:5]], abs=0.6
    )
    after(page, lambda: page.value("history.back()"))
    assert value(page) == near(answers.scene(server.picture).open("3[0,2,4,5]").value)


def test_a_file_is_chosen(page: Page, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "chosen.png").write_bytes(encoded(8))
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    after(page, lambda: page.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "chosen.png")]))
    assert page.value("location.hash").endswith(f"?picture={answers.add(encoded(8))}")


def test_what_is_no_picture_is_said_and_nothing_is_lost(browser: Browser, server: LookServer) -> None:
    with browser.open(server.address) as page:
        wait(page)
        before = address(page)
        drop(page, b"no picture", "x.txt")
        status = "document.querySelector('#status').textContent"
        page.value(f"new Promise(d=>{{const l=()=>/cannot/.test({status})?d():setTimeout(l,5);l()}})")
        assert page.texts("#status.wrong") == ["the picture cannot be decoded: it is no picture of a known format"]
        assert address(page) == before
        page.value("void Object.defineProperty(File.prototype,'size',{get:()=>3e7})")
        drop(page, b"large")
        assert page.texts("#status.wrong") == ["The file is larger than 20 MB."]


def test_a_digit_is_drawn_by_pointer(page: Page, answers: Answers) -> None:
    page.click("#draw summary")
    x, y = page.middle("#pad")
    after(page, lambda: stroke(page, [(x, y - 90), (x, y), (x, y + 90)]))
    name = page.value("new URLSearchParams(location.hash.split('?')[1]).get('picture')")
    drawn = answers._pictures[name][:, :, 0]
    assert drawn[14, 13:15].min() > 240  # white on black, as in Fashion-MNIST
    assert drawn[:, :8].max() == 0
    assert (drawn[4:24, 14] > 200).all()
    after(page, lambda: stroke(page, [(x - 60, y), (x + 60, y)]))
    crossed = page.value("new URLSearchParams(location.hash.split('?')[1]).get('picture')")
    assert answers._pictures[crossed][14, 8:20, 0].min() > 200
    page.click("#clear")
    assert page.value("document.querySelector('#pad').getContext('2d').getImageData(140,140,1,1).data[0]") == 0


def stroke(page: Page, way: list[tuple[float, float]]) -> None:
    """Draw a line with the mouse."""
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=way[0][0], y=way[0][1], button="left", clickCount=1)
    for x, y in way[1:]:
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=way[-1][0], y=way[-1][1], button="left", clickCount=1)


def test_a_digit_is_drawn_by_keys(page: Page, answers: Answers) -> None:
    page.click("#draw summary")
    page.value("document.querySelector('#pad').focus()")
    for _ in range(4):
        page.press("ArrowUp")
    page.press(" ")
    for _ in range(8):
        page.press("ArrowDown")
    after(page, lambda: page.press(" "))
    name = page.value("new URLSearchParams(location.hash.split('?')[1]).get('picture')")
    drawn = answers._pictures[name][:, :, 0]
    assert (drawn[11:18, 13:15] > 240).all()
    assert drawn[:8].max() == 0
    assert drawn[21:].max() == 0


def test_everything_is_reached_by_keys_alone(page: Page, scene: look.Scene) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.press("Tab")
            if page.value(f"document.activeElement.matches({json.dumps(selector)})"):
                assert page.value("document.activeElement.matches(':focus-visible')")
                return
        raise AssertionError(f"Tab does not come to {selector}")

    tab_to("#drawing [data-node]")
    page.press("Home")
    for _ in range(4):
        page.press("ArrowDown")
    after(page, lambda: page.press("Enter"))
    assert address(page).startswith("3[0,")
    tab_to(".thumb")
    page.press("Home")
    page.press("ArrowRight")
    page.press("ArrowRight")
    after(page, lambda: page.press("Enter"))
    assert address(page).startswith("3[0,2,")
    tab_to("#channel .map")
    page.press("Home")
    page.press("ArrowDown")
    for _ in range(3):
        page.press("ArrowRight")
    after(page, lambda: page.press("Enter"))
    assert address(page) == "3[0,2,1,3]"
    tab_to("#turn")
    tab_to("[data-kind=values] .cell")
    page.press("ArrowDown")
    page.press("ArrowRight")
    expected = page.value("document.activeElement.dataset.address")
    assert re.fullmatch(r"2\[0,\d,2,4\]", expected)
    after(page, lambda: page.press("Enter"))
    assert address(page) == expected
    tab_to("#back")
    after(page, lambda: page.press("Enter"))
    assert address(page) == "3[0,2,1,3]"


def test_layers_are_stepped_through_in_the_list(page: Page) -> None:
    after(page, lambda: page.click("#layer-before"))
    assert address(page).startswith("10[0,")
    after(page, lambda: page.click("#layer-after"))
    assert address(page).startswith("11[0,")
    after(
        page,
        lambda: page.value(
            "(s=>{s.value='0';s.dispatchEvent(new Event('change'))})(document.querySelector('#layers'))"
        ),
    )
    assert address(page).startswith("0[0,")
    after(page, lambda: page.click("#layer-before"))
    assert address(page).startswith("input[0,0,")
    assert page.value("document.querySelector('#layer-before').disabled")


def test_one_scale_makes_channels_comparable(page: Page) -> None:
    go(page, "0[0,1,5,5]")
    strongest = (
        "[...document.querySelectorAll('.thumb canvas')].map(c=>Math.min(...c.getContext('2d')"
        ".getImageData(0,0,c.width,c.height).data.filter((_,i)=>i%4===2)))"
    )
    painted(page)
    own = page.value(strongest)  # the least blue of each: what is strongest is orange or blue
    after(page, lambda: page.click(".one input"))
    assert page.value("document.querySelector('.one input').checked")
    painted(page)
    one = page.value(strongest)
    assert sum(a != b for a, b in zip(own, one, strict=True)) >= 4


def test_projections_are_shown_and_follow_the_number(page: Page) -> None:
    go(page, "3[0,2,4,5]")
    page.click("#projections summary")
    count = "document.querySelectorAll('#projections canvas').length"
    page.value(f"new Promise(d=>{{const l=()=>{count}===4?d():setTimeout(l,5);l()}})")
    titles = page.texts("#projections figcaption b")
    assert [title.split(":")[0] for title in titles] == [
        "Deconvnet",
        "Saliency",
        "Grad-CAM",
        "Effective receptive field",
    ]
    sums = "[...document.querySelectorAll('#projections canvas')].map(c=>c.toDataURL()).join()"
    before = page.value(sums)
    go(page, "3[0,5,7,1]")
    page.value(f"new Promise(d=>{{const l=()=>{sums}!=={json.dumps(before)}?d():setTimeout(l,5);l()}})")
    go(page, "3.weight[0,0,0,0]")
    assert page.value("document.querySelector('#projections').hidden")


def test_the_language_is_switched_and_remembered(page: Page) -> None:
    go(page, "3[0,2,4,5]")
    after(page, lambda: page.click("[data-language=zh]"))
    assert page.value("document.documentElement.lang") == "zh-Hans"
    assert page.texts("#layer-head h2")[0].startswith("卷积 5×5，16 个卷积核")
    assert page.texts(".formula") == ["输入 × 卷积核，求和，加偏置"]
    assert page.texts("#back") == ["← 返回"]
    assert "卷积" in page.value("document.querySelector('#drawing [data-node=\"3\"] text').textContent")
    assert page.value("document.querySelector('[data-language=zh]').getAttribute('aria-pressed')") == "true"
    reload(page)
    assert page.value("document.documentElement.lang") == "zh-Hans"
    assert address(page) == "3[0,2,4,5]"
    after(page, lambda: page.click("[data-language=en]"))
    assert page.texts(".formula") == ["sum of input x kernel + bias"]


def test_colours_follow_the_light(page: Page) -> None:
    go(page, "3[0,2,4,5]")
    corner = "document.querySelector('.thumb canvas').getContext('2d').getImageData(0,0,1,1).data.join()"
    painted(page)
    light = page.value(corner)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    after(page, lambda: page.call("Emulation.setEmulatedMedia", media="screen", features=dark))
    painted(page)
    assert page.value(corner) != light
    assert page.value("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 31)"


def test_addresses_of_nothing_are_said(browser: Browser, server: LookServer) -> None:
    with browser.open(f"{server.address}#nothing[0,1]") as page:
        wait(page)
        assert "there is no node or weight named 'nothing'" in page.texts("#status.wrong")[0]
        go(page, "3[0,2,4,5]")
        assert page.texts("#status") == [""]
        go(page, "3[0,99,4,5]")
        assert "place 99 of dimension 1 is outside" in page.texts("#status.wrong")[0]
        go(page, "<img src=x onerror=window.hacked=1>")
        assert page.value("typeof window.hacked") == "undefined"
        assert address_or_none(page).startswith("11[0,")


def address_or_none(page: Page) -> str:
    return (page.texts("#address") or [""])[0]


def test_a_server_that_went_away_is_said(browser: Browser, answers: Answers) -> None:
    with serving(answers, answers.add(encoded())) as server, browser.open(server.address) as page:
        wait(page)
        server.shutdown()
        server.socket.close()
        go(page, "3[0,2,4,5]")
        assert "is `pellucid look` still running?" in page.texts("#status.wrong")[0]


def test_without_a_picture_it_asks_for_one(browser: Browser, answers: Answers) -> None:
    with serving(answers) as server, browser.open(server.address) as page:
        wait(page)
        assert page.texts("p.begin")[0].startswith("Drop a picture anywhere")
        assert page.value("document.querySelector('#draw').open")
        page.click('#drawing [data-node="3"]')
        assert page.texts("#status.wrong") == ["Choose a picture first."]
        after(page, lambda: drop(page, encoded(3)))
        assert address(page).startswith("11[0,")
        assert page.value("document.querySelector('p.begin').checkVisibility()") is False
        page.assert_quiet(server.address)


def test_a_screen_reader_hears_what_can_be_done(page: Page) -> None:
    go(page, "3[0,2,4,5]")
    heard = page.accessible()
    named = {"button", "combobox", "application", "gridcell", "grid", "checkbox", "link", "image", "region"}
    assert not [item for item in heard if item["role"] in named and not item["name"]]
    names = [item["name"] for item in heard]
    assert "Convolution 5×5, 16 kernels, 3, 1 × 16 × 10 × 10" in names
    assert "The picture as the network sees it" in names
    assert any(name.startswith("Channel 2. Arrow keys move") for name in names)
    assert any(name.startswith("2[0,") and " = " in name for name in names)


def test_an_offline_page_opens_what_it_holds(browser: Browser, offline: Path, scene: look.Scene) -> None:
    with browser.open(offline) as page:
        page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        page.go(offline.resolve().as_uri())
        wait(page)
        best = int(scene.output.argmax())
        assert address(page) == f"11[0,{best}]"
        assert page.value("document.querySelector('#file').checkVisibility()") is False
        assert "pellucid look RUN bar.png" in page.texts(".note")[0]
        after(page, lambda: page.click('#drawing [data-node="3"]'))
        after(page, lambda: page.click('.thumb[data-channel="7"]'))
        assert value(page) == near(float(scene.values("3")[0, 7].max()))
        after(page, lambda: page.click(".terms .step:not(.away)"))
        assert value(page) == near(scene.open(address(page)).value)
        after(page, lambda: page.click("#top button"))
        after(page, lambda: page.click("#turn"))
        assert address(page) == f"d 11[0,{best}]"
        assert value(page) == near(float(scene.gradients("11")[0, best]))
        after(page, lambda: page.click("#back"))
        after(page, lambda: page.click("#label-box .link"))
        assert value(page) == near(scene.loss.value)
        page.assert_quiet()


def test_an_offline_page_goes_down_to_the_pixels(browser: Browser, offline: Path, scene: look.Scene) -> None:
    with browser.open(offline) as page:
        wait(page)
        for _ in range(14):
            after(page, lambda: page.click(".terms td:nth-child(5) .step:not(.away):not([data-address*=bias])"))
            assert value(page) == near(scene.open(address(page)).value)
            if address(page).startswith("input["):
                break
        assert address(page).startswith("input[0,0,")
        page.assert_quiet()


def test_an_offline_page_says_what_it_left_out(browser: Browser, offline: Path, scene: look.Scene) -> None:
    held = json.loads(re.search(r'id="start">(.*?)</script>', offline.read_text("utf-8"), re.DOTALL)[1])["held"][
        "numbers"
    ]
    missing = next(f"0[0,2,{y},{x}]" for y in range(28) for x in range(28) if f"0[0,2,{y},{x}]" not in held)
    with browser.open(offline) as page:
        wait(page)
        go(page, missing)
        assert "This number is not in this page" in page.texts("#number .warn")[0]
        shown = float(re.search(r"≈ (-?[\d.e-]+)", page.texts("#number h2")[0])[1])
        assert shown == pytest.approx(scene.open(missing).value, abs=float(abs(scene.values("0")[0, 2]).max()) / 200)
        page.assert_quiet()
