"""Forecasting as a task: trained, measured beside what is to beat, resumed, used; nothing leaks into the weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.reliability import kill
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.series import Series
from pellucid.errors import PellucidError, ShapeError, UsageError
from pellucid.train import Model, Quiet, Settings, Step, read_log, resume, start
from pellucid.train.task import Asked
from pellucid.train.tasks.forecasting import ForecastingOptions

ROWS = 160
SETTINGS: dict[str, Any] = {
    "task": "forecasting",
    "net": "gru",
    "net_settings": {"hidden": 6, "dropout": 0.2},
    "epochs": 2,
    "batch_size": 16,
    "threads": 1,
    "channels_last": False,
    "task_settings": {"window": 14, "horizon": 3},
}


def waves(rows: int = ROWS, seed: int = 0) -> np.ndarray:
    """A pattern of seven days with noise, and a walk: (rows, 2)."""
    random = np.random.default_rng(seed)
    pattern = np.sin(np.arange(rows) * 2 * np.pi / 7) + 0.5 * np.cos(np.arange(rows) * 4 * np.pi / 7)
    return np.stack([10 + pattern + 0.1 * random.normal(size=rows), 50 + random.normal(size=rows).cumsum()], 1)


def write(file: Path, values: np.ndarray) -> Path:
    dates = np.datetime64("2024-01-01") + np.arange(len(values))
    lines = [f"{date},{','.join(map(repr, row))}" for date, row in zip(dates, values.tolist(), strict=True)]
    file.write_text("date,wave,walk\n" + "\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("series") / "series.csv", waves())


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    start(file, Settings.parse({**SETTINGS, "epochs": 12}), folder=folder)
    return folder


def test_the_run_folder_says_what_was_measured(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert [one["method"] for one in metrics["methods"]] == ["network", "naive", "seasonal naive", "linear"]
    assert metrics["targets"] == ["wave", "walk"]
    assert len(metrics["methods"][0]["mae"]) == 3
    config = (run / "config.yaml").read_text()
    for line in ("window: 14", "horizon: 3", "season: 7", "clip_norm: 1.0"):
        assert line in config
    epochs = [record for record in read_log(run) if record["kind"] == "epoch"]
    assert {"train_loss", "train_scaled_error", "validation_loss", "validation_mean_absolute_error"} <= set(epochs[0])
    assert (run / "forecasts.png").stat().st_size > 10_000


def test_the_best_epoch_is_that_of_the_smallest_error(run: Path, file: Path) -> None:
    epochs = [record for record in read_log(run) if record["kind"] == "epoch"]
    best = min(epochs, key=lambda record: record["validation_mean_absolute_error"])
    found = Model.load(run).evaluate(file, split="validation")
    assert found.score == pytest.approx(best["validation_mean_absolute_error"], rel=1e-5)


def test_measured_again_it_is_the_same(run: Path, file: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    found = Model.load(run).evaluate(file).to_json()
    assert found == {name: value for name, value in metrics.items() if name != "split"}


def test_a_file_that_goes_on_is_measured_from_where_the_test_part_began(run: Path, tmp_path: Path) -> None:
    longer = write(tmp_path / "longer.csv", np.concatenate([waves(), waves(200, seed=1)[:40] + [0, 7]]))
    found = Model.load(run).evaluate(longer)
    before = json.loads((run / "metrics.json").read_text())
    assert found.begins == before["begins"]
    assert found.n == before["n"] + 40


def test_rows_from_before_the_test_part_are_no_test(run: Path, tmp_path: Path) -> None:
    early = write(tmp_path / "early.csv", waves()[:100])
    with pytest.raises(UsageError, match="has no test split"):
        Model.load(run).evaluate(early)


def test_all_windows_are_measured_once(run: Path, file: Path) -> None:
    assert Model.load(run).evaluate(file, split="all").n == ROWS - 14 - 3 + 1


def values_of(model: Model) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.net.state_dict().values()]


def trained(folder: Path, values: np.ndarray, **more: Any) -> Model:
    model = Model("gru", task="forecasting", hidden=4).compile(batch_size=16, threads=1, channels_last=False, **more)
    model.fit(write(folder / "one.csv", values), epochs=1, progress=False)
    return model


@given(
    row=st.integers(round(ROWS * 0.8), ROWS - 1), by=st.sampled_from([-1e5, -0.5, 1.0, 1e6]), column=st.integers(0, 1)
)
@settings(max_examples=6, deadline=None)
def test_the_time_of_the_test_leaves_no_trace_in_the_weights(
    row: int, by: float, column: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not in those that validation chose either."""
    folder = tmp_path_factory.mktemp("leak")
    options = {"task_settings": SETTINGS["task_settings"]}
    changed = waves()
    changed[row:, column] += by
    one, other = trained(folder, waves(), **options), trained(folder, changed, **options)
    assert one.preprocess.to_json() == other.preprocess.to_json()
    for left, right in zip(values_of(one), values_of(other), strict=True):
        assert left.equal(right)


def test_the_time_of_validation_leaves_no_trace_in_what_was_learned(tmp_path: Path) -> None:
    changed = waves()
    changed[round(ROWS * 0.7) :] *= 3
    options = {"task_settings": SETTINGS["task_settings"]}
    one, other = trained(tmp_path, waves(), **options), trained(tmp_path, changed, **options)
    assert one.preprocess.to_json() == other.preprocess.to_json()
    for left, right in zip(values_of(one), values_of(other), strict=True):
        assert left.equal(right)


def test_what_training_sees_does_leave_a_trace(tmp_path: Path) -> None:
    """The two tests above can fail."""
    changed = waves()
    changed[round(ROWS * 0.7) - 1] += 1
    options = {"task_settings": SETTINGS["task_settings"]}
    one, other = trained(tmp_path, waves(), **options), trained(tmp_path, changed, **options)
    assert one.preprocess.to_json() != other.preprocess.to_json()
    assert not all(left.equal(right) for left, right in zip(values_of(one), values_of(other), strict=True))


class Stop(Exception):
    """What a listener raises to end a run at a step, as a crash would."""


class StopAt(Quiet):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: Step) -> None:
        if step.step == self.step:
            raise Stop


@pytest.mark.parametrize("net", ["gru", "lstm", "tcn"])
def test_resumed_it_is_the_same_to_the_bit(net: str, file: Path, tmp_path: Path) -> None:
    sizes = {"channels": [4, 4], "dropout": 0.2} if net == "tcn" else {"hidden": 4, "layers": 2, "dropout": 0.2}
    given_settings = Settings.parse(
        {**SETTINGS, "net": net, "net_settings": sizes, "epochs": 3, "checkpoint_steps": 2, "log_steps": 1}
    )
    start(file, given_settings, folder=tmp_path / "alone")
    with pytest.raises(Stop):
        start(file, given_settings, folder=tmp_path / "failed", listeners=[StopAt(5)])
    with pytest.raises(Stop):
        resume(tmp_path / "failed", listeners=[StopAt(13)])
    resume(tmp_path / "failed")
    assert kill.differences(kill.remains(tmp_path / "alone"), kill.remains(tmp_path / "failed")) == []


def test_a_changed_file_is_not_gone_on_with(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text(file.read_text())
    with pytest.raises(Stop):
        start(copy, Settings.parse(SETTINGS), folder=tmp_path / "run", listeners=[StopAt(3)])
    copy.write_text(file.read_text().replace("2024-01-09,", "2024-01-09,1"))
    with pytest.raises(PellucidError, match="the data have changed since the run in .* began"):
        resume(tmp_path / "run")


def asked(*things: Any, stdin: bytes = b"") -> Asked:
    return Asked(tuple(map(str, things)), standard_input=lambda: stdin)


def test_the_next_values_come_with_their_dates(run: Path, file: Path) -> None:
    model = Model.load(run)
    (answer,) = model.task.answers(model, asked(file), [])
    last = np.datetime64("2024-01-01") + ROWS - 1
    assert [row["date"] for row in answer.rows] == [str(last + k) for k in (1, 2, 3)]
    assert list(answer.rows[0]) == ["date", *(f"{name} {q}" for name in ("wave", "walk") for q in (0.1, 0.5, 0.9))]
    preparation, values = model.preprocess, waves()[-14:]
    x = torch.tensor((values - values[-1]) / preparation.scale, dtype=torch.float32)
    dates = (last - 13 + np.arange(14)).astype("datetime64[s]")
    seen = preparation.inputs(values[None], dates[None])[0]
    np.testing.assert_allclose(seen[:, :2], x.numpy(), atol=1e-6)
    said = np.sort(model.net.eval()(torch.from_numpy(seen)[None]).detach().numpy()[0], -1)
    wanted = said[1, 0] * preparation.scale[0] + values[-1, 0]
    shown = [float(answer.rows[1][f"wave {q}"]) for q in (0.1, 0.5, 0.9)]
    np.testing.assert_allclose(shown, wanted, rtol=1e-5)
    assert answer.record["forecasts"][1]["wave"]["0.5"] == pytest.approx(wanted[1], rel=1e-6)
    assert "2024-06-09  wave" in answer.text


def test_standard_input_and_files_that_cannot_be_read(run: Path, file: Path, tmp_path: Path) -> None:
    short = write(tmp_path / "short.csv", waves()[:5])
    other = tmp_path / "other.csv"
    other.write_text("date,waves\n2024-01-01,1\n")
    model, broken = Model.load(run), []
    found = list(model.task.answers(model, asked("-", short, other, stdin=file.read_bytes()), broken))
    assert [answer.name for answer in found] == ["-"]
    assert found[0].rows == next(model.task.answers(model, asked(file), [])).rows
    assert [error.message for error in broken] == [
        f"{short} has 5 rows, and the network reads 14",
        f"there is no column of {other} named 'wave'; did you mean 'waves'?",
    ]


def test_rows_of_the_answer_are_a_csv_file(run: Path, file: Path) -> None:
    model = Model.load(run)
    (answer,) = model.task.answers(model, asked(file), [])
    out = io.StringIO()
    writer = csv.DictWriter(out, list(answer.rows[0]))
    writer.writeheader()
    writer.writerows(answer.rows)
    assert len(list(csv.reader(io.StringIO(out.getvalue())))) == 4


def test_a_network_learns_a_pattern_and_says_so(tmp_path: Path) -> None:
    """A pattern of two weeks in steps of a day: naive and weekly forecasts cannot know it, and a network can."""
    random = np.random.default_rng(0)
    beat = np.tile(random.normal(size=14), 40)
    made = tmp_path / "beat.csv"
    write(made, np.stack([beat + 0.05 * random.normal(size=560), np.arange(560.0)], 1))
    options = {"window": 14, "horizon": 2, "columns": ["wave"], "calendar": False}
    settings_ = {**SETTINGS, "net_settings": {"hidden": 32}, "epochs": 15, "task_settings": options}
    finished = start(made, Settings.parse(settings_), folder=tmp_path / "run")
    measured = finished.measured
    assert measured is not None
    verdicts = {one.against: one.verdict for one in measured.compared}
    assert verdicts["naive"] == verdicts["seasonal naive"] == "better"
    assert "The network beats the naive forecast (tomorrow is today)" in measured.text()


def test_on_a_walk_the_report_says_that_the_network_does_not_win(tmp_path: Path) -> None:
    made = write(tmp_path / "walk.csv", waves(300, seed=3))
    options = {"window": 10, "horizon": 2, "columns": "walk"}
    start(made, Settings.parse({**SETTINGS, "task_settings": options}), folder=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The network does not beat the naive forecast" in page
    assert "They are no advice" in page


@pytest.mark.parametrize(
    ("given_options", "said"),
    [
        ({"widow": 3}, "no setting of forecasting named 'widow'; did you mean 'window'"),
        ({"window": 0}, "window cannot be 0"),
        ({"quantiles": [0.1, 0.9]}, "quantiles cannot be .*: value error, levels rise between 0 and 1"),
        ({"quantiles": [0.5, 0.1, 0.9]}, "levels rise between 0 and 1, and the one in the middle is 0.5"),
        ({"missing": "guess"}, "missing cannot be 'guess'"),
        ({"test_from": "soon"}, "test is 'soon', which is no date"),
        ({"targets": ["sea"]}, "no series of .* named 'sea'"),
        ({"test": 0.95}, "leave nothing to learn from"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(given_options: dict[str, Any], said: str, file: Path) -> None:
    with pytest.raises(PellucidError, match=said):
        start(file, Settings.parse({**SETTINGS, "task_settings": given_options}))


def test_options_from_yaml() -> None:
    """A date comes as a date, a year as a number, one name without brackets."""
    import datetime

    found = ForecastingOptions(targets="wave", test_from=datetime.date(2024, 5, 1), validation_from=2023)
    assert (found.targets, found.test_from, found.validation_from) == (("wave",), "2024-05-01", "2023")


def test_window_and_horizon_come_from_the_step(file: Path) -> None:
    model = Model("gru", task="forecasting")
    data: Series = model.task.load(str(file), Settings())
    assert (data.framing.window, data.framing.horizon) == (24, 7)


def test_a_network_of_another_shape_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="for 2 windows the network gives"):
        Model(torch.nn.Linear(6, 2), task="forecasting").compile(
            threads=1, task_settings=SETTINGS["task_settings"]
        ).fit(file, epochs=1, progress=False)
    with pytest.raises(PellucidError, match="series"):
        start(file, Settings.parse({**SETTINGS, "net": "lenet", "net_settings": {}}), folder=tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
