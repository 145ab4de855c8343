"""Draw a sweep of rewirings, and how alike the blocks' states are."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eavss.choices import REWIRINGS
from train.comparison.rewirings import RewiredFigures, SimilarityFigures, columns_of, over_seeds
from train.evaluation.retained import Kept

_COLOURS = {
    "skipped": "#334155",
    "reversed": "#c2410c",
    "shuffled": "#0891b2",
    "centre_repeated": "#be185d",
    "parallel": "#16a34a",
    "looped_parallel": "#7c3aed",
    "dropped": "#334155",
    "swapped": "#c2410c",
}


def plot_rewirings(trials: Sequence[RewiredFigures], blocks: int, path: Path) -> None:
    """Draw one model's trials and write the picture as PNG: a row for each figure, shuffles averaged.

    On the left are middle spans by their start, on the right single blocks dropped and neighbours swapped by their
    index. Other groups are left out. The line is the model in its own order, the dotted one chance.

    Args:
        trials: of one model, at least one of them of a middle span or of single blocks.
        blocks: how many blocks the model has.
        path: the file to write.
    """
    trials = over_seeds(trials)
    middles = [t for t in trials if t["kind"] in REWIRINGS and _is_middle(t["group"], blocks)]
    singles = [t for t in trials if t["kind"] not in REWIRINGS]
    columns = [(own, label) for own, label in ((middles, "start of the middle"), (singles, "block")) if own]
    names = ["kept above chance", *(f"{row['set']} {row['metric']}" for row in columns_of(trials[0]))]
    figure = Figure(figsize=(5.5 * len(columns), 2.2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(names), len(columns), sharex="col", sharey="row", squeeze=False)
    for across, (own, label) in enumerate(columns):
        for down, name in enumerate(names):
            _draw(panels[down][across], own, down - 1)
            panels[down][0].set_ylabel(name.replace("_", " "), fontsize=8)
        panels[0][across].legend(fontsize=7, frameon=False)
        panels[-1][across].set_xlabel(label)
        panels[-1][across].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, format="png", dpi=90, metadata={"Software": None})


def has_curves(trials: Sequence[RewiredFigures], blocks: int) -> bool:
    """Return whether some trials are of a middle span or of single blocks."""
    return any(trial["kind"] not in REWIRINGS or _is_middle(trial["group"], blocks) for trial in trials)


def _is_middle(group: list[int], blocks: int) -> bool:
    return group == list(range(group[0], blocks - group[0]))


def _draw(axes: Axes, trials: Sequence[RewiredFigures], column: int) -> None:
    """Draw one figure of some trials: their share above chance for column -1, otherwise that of `columns_of`."""
    value: Callable[[RewiredFigures], float] = (
        (lambda t: t["above_chance"]) if column < 0 else (lambda t: columns_of(t)[column]["changed"])
    )
    for kind in dict.fromkeys(trial["kind"] for trial in trials):
        own = sorted((trial["group"][0], value(trial)) for trial in trials if trial["kind"] == kind)
        axes.plot(*zip(*own, strict=True), marker="o", markersize=3, color=_COLOURS[kind], label=kind.replace("_", " "))
    whole, chance = (1.0, 0.0) if column < 0 else _levels(columns_of(trials[0])[column])
    axes.axhline(whole, color="#94a3b8", linewidth=1)
    if chance is None:
        axes.set_yscale("log")
    else:
        axes.axhline(chance, color="#94a3b8", linewidth=1, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)


def _levels(row: Kept) -> tuple[float, float | None]:
    return row["whole"], row["chance"]


def plot_similarity(figures: SimilarityFigures, path: Path) -> None:
    """Draw the matrix with lines between its three groups, and write the picture as PNG."""
    figure = Figure(figsize=(5.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(figures["matrix"], cmap="viridis", origin="lower")
    for cut in {figures["groups"][1][0], figures["groups"][1][-1] + 1} - {0, len(figures["matrix"])}:
        for line in (axes.axhline, axes.axvline):
            line(cut - 0.5, color="white", linewidth=1)
    axes.set_xlabel("block")
    axes.set_ylabel("block")
    figure.colorbar(image, label="cosine similarity of the states that leave the blocks")
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})
