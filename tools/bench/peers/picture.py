"""The comparison of `landworld bench peers` as an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.trial import Measured

COLOURS = ("#2f6f73", "#b5642f", "#6b5b95")

_BARS = (
    ("players held, more is better", "players_held", "{:,.0f}"),
    ("server CPU per entity-update, us", "server_cpu_us_per_entity_update", "{:.2f}"),
    ("bytes per entity-update", "bytes_per_entity_update", "{:.1f}"),
)


def picture(measured: Mapping[str, Measured], path: Path) -> None:
    """Bars of what each server holds and costs, and how long inputs take on it at that size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, seldom needed
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    places = figure.subplots(2, 2).flat
    for axes, (title, key, form) in zip(places, _BARS, strict=False):
        _bars(axes, title, [(label, one.figures[key]) for label, one in measured.items()], form)
    _latencies(figure.axes[-1], measured)
    figure.suptitle("The same crowd on each server: 20 Hz, one core for the server")
    figure.savefig(path)


def _bars(axes: Any, title: str, values: list[tuple[str, float | None]], form: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    labels = [label for label, _ in values]
    bars = axes.barh(labels, [value or 0.0 for _, value in values], color=COLOURS[: len(values)])
    axes.bar_label(bars, [form.format(value) if value is not None else "-" for _, value in values], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)


def _latencies(axes: Any, measured: Mapping[str, Measured]) -> None:
    """The share of inputs that a neighbour had seen after so many milliseconds."""
    axes.set_title("input to a neighbour's socket", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("ms")
    axes.set_ylabel("share seen")
    for (label, one), colour in zip(measured.items(), COLOURS, strict=False):
        values = np.sort(np.asarray(one.run.tally.latencies_ms.values))
        if values.size:
            shares = np.arange(1, values.size + 1) / values.size
            axes.plot(values, shares, color=colour, label=label.replace("\n", " "))
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    if axes.lines:
        axes.legend(fontsize=8, loc="lower right", frameon=False)
