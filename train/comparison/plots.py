"""Draw a comparison of selectors."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from train.comparison.cell_file import FLOPS, STEPS
from train.comparison.selectors import SelectorRow, pareto_front


def plot_comparison(rows: Sequence[SelectorRow], path: Path) -> None:
    """Draw a column for each data set and write the picture as PNG.

    The upper panel shows the gain against FLOPs at equal steps, with the Pareto front. The lower one ranks the gains at
    equal FLOPs, where all selectors have the same cost.
    """
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure = Figure(figsize=(5.5 * len(datasets), 8.0), layout="constrained")
    FigureCanvasAgg(figure)
    columns = figure.subplots(2, len(datasets), squeeze=False).T
    for (above, below), dataset in zip(columns, datasets, strict=True):
        here = [row for row in rows if row["dataset"] == dataset]
        _draw_against_flops(above, [row for row in here if row["budget"] == STEPS])
        _draw_ranking(below, [row for row in here if row["budget"] == FLOPS])
        above.set_title(dataset)
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
    columns[0][0].set_ylabel("gain on held-out questions, points")
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _draw_against_flops(axes: Axes, rows: Sequence[SelectorRow]) -> None:
    front = pareto_front(rows)
    axes.plot([r["flops"] / 1e12 for r in front], [100 * r["gain"] for r in front], color="#94a3b8", zorder=1)
    names: dict[tuple[float, float], list[str]] = defaultdict(list)
    for row in rows:
        at, gain = row["flops"] / 1e12, 100 * row["gain"]
        low, high = (100 * bound for bound in row["interval"])
        axes.vlines(at, low, high, color=_colour(row), linewidth=0.6, alpha=0.5)
        axes.scatter(at, gain, s=26, color=_colour(row))
        names[at, gain].append(row["selector"])
    for place, together in names.items():  # selectors that choose the same blocks share a point
        axes.annotate("\n".join(together), place, (4, 3), textcoords="offset points", fontsize=7)
    axes.margins(x=0.15)  # room for the names
    axes.set_xlabel("TFLOPs, at equal steps")


def _draw_ranking(axes: Axes, rows: Sequence[SelectorRow]) -> None:
    ranked = sorted(rows, key=lambda row: row["gain"])
    for place, row in enumerate(ranked):
        low, high = (100 * bound for bound in row["interval"])
        axes.hlines(place, low, high, color=_colour(row), linewidth=0.9)
        axes.scatter(100 * row["gain"], place, s=26, color=_colour(row))
    axes.set_yticks(range(len(ranked)), [row["selector"] for row in ranked], fontsize=8)
    axes.set_xlabel("gain on held-out questions, points, at equal FLOPs")


def _colour(row: SelectorRow) -> str:
    return "#c2410c" if row["selector"].startswith("eavss") else "#334155"
