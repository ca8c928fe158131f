"""What the report of forecasting says: errors beside what is to beat, forecasts over the span, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.draw import figures
from pellucid.draw.curves import Series, curves
from pellucid.draw.forecast_chart import Chart, Span, chart
from pellucid.draw.page import Number, Share, table, text
from pellucid.draw.report import Body, caution

if TYPE_CHECKING:
    from pellucid.train.record import RunRecord
    from pellucid.train.tasks.forecasting_measure import Compared, Errors, ForecastMeasured

_MOST_TARGETS = 6  # that are drawn
_MOST_ROWS = 60  # of the table of forecasts
_NO_ADVICE = (
    "These are forecasts of numbers by a network in a course. They are no advice, on money or on anything else; on "
    "prices the naive forecast is hard to beat, for whatever is known of tomorrow is in the price of today already."
)


@dataclass(frozen=True)
class Drawn:
    """One target over the measured span. spans: forecasts by name (``one step ahead``, ``5 steps ahead``)."""

    name: str
    dates: Sequence[str]
    truth: Sequence[float]
    spans: Mapping[str, Sequence[Span]]


def body(record: RunRecord, drawn: Sequence[Drawn]) -> Body:
    """Of a measured run."""
    measured: ForecastMeasured = record.measured
    network, others = measured.methods[0], measured.methods[1:]
    cards = [
        ("mean absolute error", f"{measured.score:.4g}", f"{record.split}, {measured.n:,} windows"),
        *((one.method, f"{one.mean('mae'):.4g}", "the same, of what is to beat") for one in others),
        ("scaled error (MASE)", f"{network.mean('mase'):.3f}", "1: the naive forecast in training"),
        ("in the interval", f"{sum(measured.coverage) / measured.horizon:.0%}", f"of {measured.wanted:.0%} wanted"),
    ]
    sections = [
        ("Against what is to beat", _against(measured)),
        ("Step by step ahead", _steps(measured)),
        ("Forecasts", _forecasts(drawn)),
        ("Intervals", _intervals(measured)),
    ]
    if len(measured.targets) > 1:
        sections.insert(2, ("Series by series", _targets(measured)))
    return Body(_lead(record, measured), cards, sections, style=_STYLE)


_STYLE = "figure.forecast{margin:1em 0}figure.forecast svg{min-width:640px;width:100%}"


def save_figures(folder: Path, measured: ForecastMeasured, drawn: Sequence[Drawn]) -> None:
    """``forecasts.png``: the first target over the span, and errors by step ahead."""
    figure = figures._figure((11, 6.5))
    axes = figure.add_subplot(2, 1, 1)
    first = drawn[0]
    rows = range(len(first.truth))
    axes.plot(rows, first.truth, color="black", linewidth=1, label="what came")
    name = list(first.spans)[-1]
    for i, (row, low, middle, high) in enumerate(first.spans[name]):
        span = range(row, row + len(low))
        axes.fill_between(span, low, high, color="tab:orange", alpha=0.3, linewidth=0)
        axes.plot(span, middle, color="tab:orange", linewidth=1.2, label=name if i == 0 else None)
    marks = [round(k * (len(first.dates) - 1) / 5) for k in range(6)]
    axes.set_xticks(marks, [first.dates[k] for k in marks])
    axes.set_title(figures.drawable([first.name])[0][0])
    axes.legend()
    below = figure.add_subplot(2, 1, 2)
    ahead = range(1, measured.horizon + 1)
    for one in measured.methods:
        below.plot(ahead, one.mae, marker="o", markersize=3, label=one.method)
    below.set_xticks([k for k in ahead if (k - 1) % -(-measured.horizon // 24) == 0])
    below.set_xlabel("steps ahead")
    below.set_ylabel("mean absolute error")
    below.legend()
    figures._save(figure, folder / "forecasts.png")


def _lead(record: RunRecord, measured: ForecastMeasured) -> str:
    beaten = [one for one in measured.compared if one.verdict == "better"]
    if len(beaten) == len(measured.compared):
        says = "The network beats all that it was set beside."
    elif beaten:
        not_beaten = [one.against for one in measured.compared if one not in beaten]
        says = f"The network does not beat {_listed(not_beaten)}; it beats {_listed([o.against for o in beaten])}."
    else:
        says = f"<b>The network does not beat {_listed([one.against for one in measured.compared])}.</b>"
    span = f"targets from {text(measured.begins)} to {text(measured.ends)}, one row per {text(measured.step)}"
    return f"{says} Measured on {measured.n:,} windows: {span}.{text(caution(record))}"


def _listed(names: Sequence[str]) -> str:
    shown = [f"the {name} {'model' if name == 'linear' else 'forecast'}" for name in names]
    return text(" or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0])


def _against(measured: ForecastMeasured) -> str:
    rows = [
        [one.method, Number(one.mean("mae"), 4), Number(one.mean("rmse"), 4), Number(one.mean("mase"), 4)]
        + _compared(one, measured.compared)
        for one in measured.methods
    ]
    heads = ["forecast", "MAE", "RMSE", "MASE", "network minus it, MASE", "95% interval", "p", "the network is"]
    verdicts = "".join(f"<li>{text(sentence)}</li>" for sentence in measured.verdicts())
    season = f", of the row {measured.season} steps before" if measured.season > 1 else ""
    unit = "naive forecast on the training part" + season
    missing = "" if _has(measured, "seasonal naive") else _no_season(measured)
    return (
        f"<ul>{verdicts}</ul>{table(heads, rows)}"
        f"<p class='soft'>Naive: tomorrow is today. Seasonal naive: as a season ago. Linear: ridge regression on the "
        f"same window, fitted on the training part. MASE: absolute error in units of the {unit}. The comparison is "
        f"that of Diebold and Mariano (1995) on the same windows, corrected for windows that overlap.{missing}</p>"
        f"<p class='soft'>{_NO_ADVICE}</p>"
    )


def _has(measured: ForecastMeasured, method: str) -> bool:
    return any(one.method == method for one in measured.methods)


def _no_season(measured: ForecastMeasured) -> str:
    if measured.season == 1:
        return " There is no seasonal forecast: no season is known of such steps (--set season=...)."
    return f" There is no seasonal forecast: a season of {measured.season} steps is longer than the window."


def _compared(one: Errors, compared: Sequence[Compared]) -> list[object]:
    found = next((c for c in compared if c.against == one.method), None)
    if found is None:
        return [None, "", None, ""]
    interval = f"{found.low:.4f} to {found.high:.4f}" if found.low == found.low else "–"
    return [Number(found.difference, 4), interval, Number(found.p, 4), found.verdict]


def _steps(measured: ForecastMeasured) -> str:
    ahead = tuple(float(k) for k in range(1, measured.horizon + 1))
    charts = [
        curves(title, unit, [Series(one.method, ahead, getattr(one, what)) for one in measured.methods], over="steps")
        for title, unit, what in (
            ("Mean absolute error", "by steps ahead", "mae"),
            ("Root mean square error", "by steps ahead", "rmse"),
        )
    ]
    heads = ["steps ahead", *(f"{one.method}, {what}" for what in ("MAE", "MASE") for one in measured.methods)]
    rows = [
        [k + 1, *(Number(getattr(one, what)[k], 4) for what in ("mae", "mase") for one in measured.methods)]
        for k in range(measured.horizon)
    ]
    return f'<div class="pair">{"".join(charts)}</div>{table(heads, rows)}'


def _targets(measured: ForecastMeasured) -> str:
    heads = ["series", *(f"{one.method}, {what}" for what in ("MAE", "MASE") for one in measured.methods)]
    rows = [
        [name, *(Number(one.by_target[name][what], 4) for what in ("mae", "mase") for one in measured.methods)]
        for name in measured.targets
    ]
    return table(heads, rows, sortable=True)


def _forecasts(drawn: Sequence[Drawn]) -> str:
    parts = []
    for one in drawn[:_MOST_TARGETS]:
        for name, spans in one.spans.items():
            made = Chart(f"{one.name}, {name}", one.dates, one.truth, spans)
            if made.shown and (len(made.spans[0][1]) > 1 or name == "one step ahead"):
                parts.append(chart(made))
        parts.append(_last_rows(one))
    more = len(drawn) - _MOST_TARGETS
    if more > 0:
        parts.append(f"<p class='soft'>{more} more series are measured and not drawn.</p>")
    return "".join(parts)


def _last_rows(one: Drawn) -> str:
    spans = list(one.spans["one step ahead"])[-_MOST_ROWS:]
    rows = [
        [one.dates[row], *(Number(value, 4) for value in (one.truth[row], middle[0], low[0], high[0]))]
        for row, low, middle, high in spans
    ]
    heads = ["date", "what came", "said a step before", "lowest", "highest"]
    return f"<details><summary>{text(one.name)}: the last {len(rows)} values</summary>{table(heads, rows)}</details>"


def _intervals(measured: ForecastMeasured) -> str:
    rows = [
        [k + 1, Share(inside), Number(width, 4)]
        for k, (inside, width) in enumerate(zip(measured.coverage, measured.width, strict=True))
    ]
    levels = f"{measured.quantiles[0]:g} and {measured.quantiles[-1]:g}"
    return (
        f"<p class='soft'>Between the quantiles {levels}, {measured.wanted:.0%} of the values should lie. Fewer: the "
        "network is surer than it should be. The width is in units of MASE.</p>"
        + table(["steps ahead", "inside the interval", "width"], rows)
    )
