"""The pages in Chromium, as a reader uses them: by pointer, by keyboard, in the dark, on a telephone, offline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.data.check import check
from pellucid.draw import check_page, compare_page
from pellucid.draw.classification_report import body
from pellucid.draw.report import write_report
from pellucid.train.record import read_run
from pellucid.train.runs import as_rows, compare, list_runs
from tests.browser import Browser, Page
from tests.draw.test_check_page import write_data
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME, PLAIN_CLASSES, measured, pictures, write_run

pytestmark = pytest.mark.browser

RESULT = measured(PLAIN_CLASSES, 500)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports of several runs, and the page that compares them."""
    root = tmp_path_factory.mktemp("runs")
    many = [f"class {i}" for i in range(40)]
    results = {
        "plain": RESULT,
        "hostile": measured(HOSTILE_CLASSES, 300, name=HOSTILE_NAME),
        "many": measured(many, 2000),
    }
    write_run(root / "plain", result=RESULT)
    write_run(
        root / "hostile", classes=HOSTILE_CLASSES, result=results["hostile"], data=HOSTILE_NAME, notes=HOSTILE_CLASSES
    )
    write_run(root / "many", classes=many, result=results["many"])
    write_run(root / "unfinished", done=1, end=None)
    found = {}
    for folder in sorted(root.iterdir()):
        result = results.get(folder.name)
        record = read_run(folder)
        found[folder.name] = write_report(folder, record, body(record, pictures(result)) if result else None)
    runs = list_runs(root)
    found["compare"] = root / "compare.html"
    found["compare"].write_text(compare_page(compare(runs), as_rows(runs)), "utf-8")
    data = write_data(
        tmp_path_factory.mktemp("data") / "a-rather-long-name-of-a-folder-of-pictures-without-a-space-in-it"
    )
    found["check"] = root / "check.html"
    found["check"].write_text(check_page(check(str(data))), "utf-8")
    return found


@pytest.fixture
def plain(browser: Browser, pages: dict[str, Path]) -> Iterator[Page]:
    with browser.open(pages["plain"]) as page:
        yield page


def focused(page: Page) -> str:
    """The tag of the element that has the focus, and what it is called."""
    name: str = page.value(
        "(e=>e===document.body?'body':e.tagName.toLowerCase()+' '"
        "+(e.getAttribute('aria-label')||e.innerText||'').trim().split(/[:\\n]/)[0])(document.activeElement)"
    )
    return name


def column(page: Page, nth: int) -> list[str]:
    return page.texts(f"table.sortable tbody td:nth-child({nth})")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (400, False)])
@pytest.mark.parametrize("name", ["plain", "hostile", "many", "unfinished", "compare", "check"])
def test_a_page_says_nothing_asks_nothing_and_fits(
    browser: Browser, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    with browser.open(pages[name], width=width, dark=dark) as page:
        assert page.value("[innerWidth,document.documentElement.scrollWidth]") == [width, width]
        assert page.value("typeof window.hacked") == "undefined"
        assert page.value("[...document.images].every(i=>i.complete&&i.naturalWidth>0)")
        page.assert_quiet()


def test_names_are_shown_as_they_are(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["hostile"]) as page:
        assert column(page, 1) == list(HOSTILE_CLASSES)
        assert page.texts(".confusion tbody th") == list(HOSTILE_CLASSES)
        page.click(".confusion button", nth=2)
        assert f"pictures of {HOSTILE_CLASSES[0]} were called 猫与狗" in page.texts(".said")[0]
        page.assert_quiet()


def test_classes_are_sorted_by_a_click_and_by_a_key(plain: Page) -> None:
    recalls = {item.name: item.recall for item in RESULT.per_class}
    falling = sorted(recalls, key=lambda name: -recalls[name])
    plain.click("table.sortable th button", nth=2)  # recall
    assert column(plain, 1) == falling
    assert plain.value("document.querySelectorAll('table.sortable th')[2].getAttribute('aria-sort')") == "descending"
    plain.press("Enter")  # the button has the focus still
    assert column(plain, 1) == falling[::-1]
    assert plain.value("document.querySelectorAll('table.sortable th')[2].getAttribute('aria-sort')") == "ascending"
    plain.click("table.sortable th button", nth=0)  # names begin with a
    assert column(plain, 1) == sorted(recalls)
    assert plain.value("document.querySelectorAll('[aria-sort]').length") == 1
    assert plain.texts("table.sortable tfoot td")[0] == "mean of the classes"
    plain.assert_quiet()


def test_sorting_is_by_value_and_by_number_in_names(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["many"]) as page:
        page.click("table.sortable th button", nth=0)
        assert column(page, 1) == [f"class {i}" for i in range(40)]  # class 10 comes after class 9
        page.click("table.sortable th button", nth=4)
        supports = [int(text.replace(",", "")) for text in column(page, 5)]
        assert supports == sorted(supports, reverse=True)
    with browser.open(pages["compare"]) as page:
        page.click("table.sortable th button", nth=0)
        assert column(page, 1) == ["hostile", "many", "plain", "unfinished"]


def test_a_curve_is_read_under_the_pointer(plain: Page) -> None:
    box = plain.value(
        "(()=>{const s=document.querySelectorAll('figure.chart svg[role=img]')[1];s.scrollIntoView({block:'center'});"
        "const b=s.getBoundingClientRect();return [b.left,b.top,b.width,b.height]})()"
    )
    read = "document.querySelectorAll('figure.chart .read')[1].textContent"
    plain.move(box[0] + box[2] - 10, box[1] + box[3] / 2)
    assert re.fullmatch(r"epoch 8: train 0\.9083, validation 0\.8796", plain.value(read))
    plain.move(box[0] + box[2] * 0.11, box[1] + box[3] / 2)
    assert plain.value(read).startswith("epoch 1: train 0.5")


def test_a_curve_is_read_by_keys(plain: Page) -> None:
    plain.value("document.querySelector('figure.chart svg[role=img]').focus()")
    read = "document.querySelector('figure.chart .read').textContent"
    assert plain.value(read).startswith("epoch 8: train 0.4")
    plain.press("ArrowLeft")
    plain.press("ArrowLeft")
    assert plain.value(read).startswith("epoch 6: ")
    for _ in range(9):
        plain.press("ArrowRight")
    assert plain.value(read).startswith("epoch 8: ")


def test_a_matrix_is_walked_by_keys_and_read_by_pointer(plain: Page) -> None:
    def says(i: int, j: int) -> str:
        row = RESULT.confusion[i]
        truth, called = PLAIN_CLASSES[i], PLAIN_CLASSES[j]
        return f"{row[j]} of {sum(row)} pictures of {truth} were called {called} ({row[j] / sum(row):.1%})"

    plain.click(".confusion button", nth=0)
    assert plain.texts(".said") == [says(0, 0)]
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowLeft"):  # the edge holds
        plain.press(key)
    assert plain.texts(".said") == [says(0, 1)]
    x, y = plain.middle(".confusion button", nth=6 * 1 + 0)
    plain.move(x, y)
    assert plain.texts(".said") == [says(1, 0)]
    assert plain.value("document.querySelectorAll('.confusion button[tabindex=\"0\"]').length") == 1


def test_a_heat_map_is_walked_by_keys_and_read_by_pointer(browser: Browser, pages: dict[str, Path]) -> None:
    with browser.open(pages["many"]) as page:
        page.value("document.querySelector('.heat').focus()")
        assert "pictures of class 0 were called class 0 (" in page.texts(".said")[0]
        page.press("ArrowDown")
        assert "pictures of class 1 were called class 0" in page.texts(".said")[0]
        page.press("ArrowLeft")
        page.press("ArrowRight")
        page.press("ArrowDown")
        assert "pictures of class 2 were called class 1" in page.texts(".said")[0]
        x, y = page.middle(".heat")
        page.move(x + 1, y + 1)
        assert "pictures of class 20 were called class 20" in page.texts(".said")[0]
        page.assert_quiet()


def test_the_tab_key_goes_through_everything_once_in_order(plain: Page) -> None:
    seen = []
    for _ in range(40):
        plain.press("Tab")
        name = focused(plain)
        if name == "body":
            break
        seen.append(name)
    links = ["Curves", "Mistakes", "Confusion", "Classes", "Calibration", "How it was made"]
    heads = ["class", "precision", "recall", "F1", "pictures", "most often called instead"]
    first = RESULT.confusion[0]
    assert seen == [
        *(f"a {link}" for link in links),
        "svg Loss",
        "svg Accuracy",
        "summary Step by step",
        f"button {first[0]} of {sum(first)} pictures of ant were called ant ({first[0] / sum(first):.1%})",
        *(f"button {head}" for head in heads),
        "summary The same as a table",
        "summary All settings, defaults included",
    ]


def test_details_open_by_a_key(plain: Page) -> None:
    plain.value("[...document.querySelectorAll('summary')].pop().focus()")
    plain.press("Enter")
    assert "learning_rate:" in plain.value("[...document.querySelectorAll('details')].pop().innerText")


def test_a_screen_reader_hears_pictures_charts_and_cells(plain: Page) -> None:
    heard = plain.accessible()
    assert [item["name"] for item in heard if item["role"] == "heading"][:3] == [
        "lenet on animals",
        "Curves",
        "Mistakes",
    ]
    pictured = [item["name"] for item in heard if item["role"] == "image"]
    assert sum(name.startswith("a picture of ") for name in pictured) == len(RESULT.mistakes)
    assert [name for name in pictured if name.startswith("Loss: train ends at ")]
    assert [name for name in pictured if name.startswith("Calibration: ")]
    assert all(pictured)
    assert all(item["name"] for item in heard if item["role"] in {"button", "link", "columnheader", "rowheader"})


CONTRAST = """
(()=>{const paint=document.createElement('canvas').getContext('2d',{willReadFrequently:true});
const over=(colors)=>{paint.clearRect(0,0,1,1);for(const c of colors){paint.fillStyle=c;paint.fillRect(0,0,1,1)}
 return [...paint.getImageData(0,0,1,1).data].slice(0,3)};
const light=c=>{const [r,g,b]=c.map(v=>{v/=255;return v<=.04045?v/12.92:((v+.055)/1.055)**2.4});
 return .2126*r+.7152*g+.0722*b};
const worst=[];
for(const e of document.querySelectorAll('body *')){
 if(![...e.childNodes].some(n=>n.nodeType===3&&n.textContent.trim())||!e.getClientRects().length)continue;
 if(['SCRIPT','STYLE'].includes(e.tagName))continue;
 const behind=[];for(let p=e;p;p=p.parentElement)behind.unshift(getComputedStyle(p).backgroundColor);
 const style=getComputedStyle(e),ink=e instanceof SVGElement?style.fill:style.color;
 const back=light(over(behind)),front=light(over([...behind,ink]));
 worst.push([(Math.max(back,front)+.05)/(Math.min(back,front)+.05),e.tagName+' '+e.textContent.trim().slice(0,30)]);
}
return worst.sort((a,b)=>a[0]-b[0]).slice(0,5)})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_in_light_and_dark(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1."""
    with browser.open(pages["plain"], dark=dark) as page:
        paper = page.value("getComputedStyle(document.body).backgroundColor")
        shade = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
        assert shade < 60 if dark else shade > 200
        worst = page.value(CONTRAST)
        assert worst[0][0] >= 4.5, worst


def test_a_summary_changes_nothing_else_of_a_notebook(browser: Browser, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from pellucid.draw import table_html
    from pellucid.graph import capture

    account = capture(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)), (1, 8, 8)).account()
    around = "<!DOCTYPE html><meta charset=utf-8><h1 id=mine>Mine</h1><p id=text>text</p><table id=t><td>1</table>"
    look = (
        "['mine','text','t'].map(i=>{const s=getComputedStyle(document.getElementById(i));"
        "return [s.font,s.color,s.margin,s.maxWidth,s.boxSizing,s.minWidth,s.borderCollapse]})"
        ".concat([[getComputedStyle(document.body).margin,getComputedStyle(document.body).backgroundColor]])"
    )
    (tmp_path / "alone.html").write_text(around)
    (tmp_path / "beside.html").write_text(around + table_html("net", account))
    with browser.open(tmp_path / "alone.html") as page:
        alone = page.value(look)
    with browser.open(tmp_path / "beside.html") as page:
        assert page.value(look) == alone
        assert (
            page.value("getComputedStyle(document.querySelector('.pellucid td')).fontVariantNumeric") == "tabular-nums"
        )
        page.assert_quiet()
