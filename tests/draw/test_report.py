"""report.html as text: what stands in it, that it is whole, offline, and takes no name for HTML."""

from __future__ import annotations

import base64
import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.draw.classification_report import body, save_figures
from pellucid.draw.confusion import confusion
from pellucid.draw.page import Share, facts, table
from pellucid.draw.report import report, write_report
from pellucid.train.log import append
from pellucid.train.record import RunRecord, read_run
from tests.made_runs import HOSTILE_CLASSES, HOSTILE_NAME, PLAIN_CLASSES, measured, pictures, write_run

VOID = {"meta", "link", "img", "br", "input"}


class Outline(HTMLParser):
    """Elements with their attributes and texts; complains where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(record: RunRecord, shown: dict[int, np.ndarray]) -> str:
    """The page of a run, measured or not."""
    return report(record, body(record, shown) if record.measured is not None else None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("runs") / "my run"
    return read_run(
        write_run(folder, result=measured(PLAIN_CLASSES, 500), notes=["3 files were skipped"], learning_rate=0.0625)
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    folder = tmp_path_factory.mktemp("runs") / "<i>&amp;"
    result = measured(HOSTILE_CLASSES, 200, name=HOSTILE_NAME + "{}")
    trap = "<script>window.hacked=1</script>"
    return read_run(write_run(folder, classes=HOSTILE_CLASSES, result=result, data=trap, notes=[trap], net=trap))


def test_the_headline_is_the_accuracy_with_split_number_and_interval(finished: RunRecord) -> None:
    result = finished.measured
    assert result is not None
    text = Outline(page_of(finished, {})).text
    low, high = result.interval
    assert f"{result.accuracy:.2%} test accuracy {low:.1%} to {high:.1%} (95% interval, Wilson)" in text
    assert "on the 500 pictures of the test split" in text
    assert "Nothing was chosen by it." in text
    assert f"give {max(item.support for item in result.per_class) / 500:.1%}" in text
    assert "8/8 epochs" in text
    assert "The highest validation accuracy is 87.96%, after epoch 8." in text


def test_the_caution_says_how_the_pictures_were_used(tmp_path: Path) -> None:
    chosen = write_run(tmp_path / "1", result=measured(PLAIN_CLASSES, 50), split="validation")
    assert "The best epoch was chosen by these pictures" in page_of(read_run(chosen), {})
    shown = write_run(tmp_path / "2", done=0, result=measured(PLAIN_CLASSES, 50), end=None)
    append(shown, {"kind": "epoch", "epoch": 1, "step": 4, "test_accuracy": 0.5})
    assert "It was shown after each epoch too" in page_of(read_run(shown), {})


def test_every_section_is_there_and_linked(finished: RunRecord) -> None:
    page = Outline(page_of(finished, {}))
    anchors = [attributes["id"] for attributes in page.all("h2")]
    assert anchors == ["curves", "mistakes", "confusion", "classes", "calibration", "how-it-was-made"]
    assert [attributes["href"] for attributes in page.all("a")] == [f"#{anchor}" for anchor in anchors]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_how_it_was_made(finished: RunRecord) -> None:
    text = Outline(page_of(finished, {})).text
    assert "learning_rate: 0.0625" in text
    assert "3 files were skipped" in text
    assert "ab" * 32 in text
    folder = finished.folder
    assert f"pellucid train animals --config '{folder}'/config.yaml" in text  # the folder's name holds a space
    assert f"pellucid predict '{folder}' PICTURE" in text
    assert "--resume" not in text


def test_mistakes_carry_their_pictures_and_file_names(finished: RunRecord) -> None:
    result = finished.measured
    assert result is not None
    shown = pictures(result)
    page = Outline(page_of(finished, shown))
    images = page.all("img")
    assert len(images) == len(result.mistakes)
    for item, image in zip(result.mistakes, images, strict=True):
        assert image["alt"] == f"a picture of {item.truth}"
        encoded = image["src"].removeprefix("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), shown[item.index])
        assert f"{item.truth} , called {item.predicted} with {item.confidence:.0%} {item.name}" in page.text


def test_one_class_of_pictures_in_grey(finished: RunRecord) -> None:
    result = finished.measured
    assert result is not None
    page = Outline(page_of(finished, pictures(result, size=(28, 28, 1))))
    assert len(page.all("img")) == len(result.mistakes)


def test_nothing_is_asked_of_a_network(finished: RunRecord, hostile: RunRecord) -> None:
    for record in (finished, hostile):
        page = Outline(page_of(record, pictures(record.measured) if record.measured else {}))
        for _, attributes in page.elements:
            for name in ("src", "href", "action", "srcset", "data"):
                assert attributes.get(name, "#").startswith(("#", "data:"))
            assert "url(" not in attributes.get("style", "")
        assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.elements}


def test_hostile_names_stay_text(finished: RunRecord, hostile: RunRecord) -> None:
    result = hostile.measured
    assert result is not None
    page = Outline(page_of(hostile, pictures(result)))
    plain = Outline(page_of(finished, {}))
    assert page.open == []
    assert len(page.all("script")) == len(plain.all("script"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    for name in HOSTILE_CLASSES:
        assert re.sub(r"\s+", " ", name) in page.text
    assert {image["src"][:10] for image in page.all("img")} == {"data:image"}


def test_a_run_without_an_end_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=3, end="interrupted by SIGINT")
    text = Outline(page_of(read_run(folder), {})).text
    assert "interrupted" in text
    assert "3 of 8 epochs are done" in text
    assert "highest validation accuracy" in text
    assert f"pellucid train --resume {folder}" in text
    began = write_run(tmp_path / "began", done=0, end=None)
    (began / "log.jsonl").unlink()
    (began / "environment.json").unlink()
    text = Outline(page_of(read_run(began), {})).text
    assert "Loss: nothing was measured yet." in text
    assert "pellucid predict" not in text


def test_values_that_were_not_finite_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", done=2, end=None)
    append(folder, {"kind": "epoch", "epoch": 3, "step": 120, "train_loss": float("nan"), "validation_accuracy": None})
    append(folder, {"kind": "end", "step": 120, "reason": "failed: DivergedError"})
    text = Outline(page_of(read_run(folder), {})).text
    assert "failed: DivergedError" in text
    assert "nan" not in text.lower()


def test_data_given_in_python_have_no_command(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", data="given:arrays", result=measured(PLAIN_CLASSES, 20))
    text = Outline(page_of(read_run(folder), {})).text
    assert "arrays or a DataLoader given in Python" in text
    assert "pellucid train" not in text


def test_the_files_of_a_run_folder(tmp_path: Path) -> None:
    result = measured(PLAIN_CLASSES, 100)
    folder = write_run(tmp_path / "run", result=result)
    record = read_run(folder)
    save_figures(folder, record, pictures(result))
    assert write_report(folder, record, body(record, pictures(result))) == folder / "report.html"
    names = {file.name for file in folder.iterdir()}
    assert {"report.html", "curves.png", "confusion.png", "mistakes.png"} <= names
    assert not [name for name in names if name.endswith(".tmp")]
    unmeasured = write_run(tmp_path / "2", done=1, end=None)
    write_report(unmeasured, read_run(unmeasured), None)
    assert not (unmeasured / "confusion.png").exists()


@pytest.mark.parametrize("classes", [2, 31, 1000])
def test_confusion_of_few_and_many_classes(classes: int) -> None:
    counts = np.zeros((classes, classes), int)
    counts[np.arange(classes), np.arange(classes)] = 9
    counts[1, 0] = 3
    page = confusion(counts.tolist(), [f"class {i}" for i in range(classes)])
    assert '<td class="left" dir="auto">class 1</td>' in page
    assert "25.0%" in page
    if classes <= 30:
        assert html.escape("3 of 12 pictures of class 1 were called class 0 (25.0%)") in page
        return
    encoded = re.search(r'base64,([^"]+)"', page)
    assert encoded is not None
    with Image.open(io.BytesIO(base64.b64decode(encoded[1]))) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (classes, classes, 4)
    assert pixels[1, 0, 3] == 255
    assert pixels[1, 0, 0] > pixels[1, 0, 2]  # red
    assert pixels[5, 5, 2] > pixels[5, 5, 0]  # blue
    assert pixels[20, 5, 3] == 0


def test_tables() -> None:
    page = table(["name", "n", "share"], [["<a>", 1234, Share(0.25)], ["b", None, Share(float("nan"))]], sortable=True)
    assert "&lt;a&gt;" in page
    assert '<td data-value="1234">1,234</td>' in page
    assert '<td class="share" style="--v:25.0%" data-value="0.25">0.2500</td>' in page
    assert page.count('<td data-value="-1">–</td>') == 2
    assert page.count('<button type="button">') == 3
    assert 'tabindex="0"' in table(["n"], [[i] for i in range(100)])
    assert facts({"a&b": "<c>", "nothing": None}) == '<dl class="facts"><dt>a&amp;b</dt><dd>&lt;c&gt;</dd></dl>'
