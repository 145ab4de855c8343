"""Draw a study of active parameters by block."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from train.comparison.activation import Study
from train.comparison.activation_tables import pair_means

_COLOURS = ("#334155", "#c2410c", "#0891b2", "#be185d", "#16a34a", "#7c3aed", "#ca8a04", "#64748b")


def plot_study(study: Study, path: Path) -> None:
    """Draw what there is of these by block, and write the picture as PNG: active weights, similarity, Spearman.

    Args:
        study: with figures of activity, similarity or sentences.
        path: the file to write.
    """
    panels: list[tuple[str, list[tuple[str, Sequence[float]]]]] = []
    shares: list[tuple[str, Sequence[float]]] = [(d["domain"], d["active"]["scale_free"]) for d in study["activity"]]
    panels += [("share of active weights", shares)] if shares else []
    means: list[tuple[str, Sequence[float]]] = [
        (title, values)
        for title, within in (("one domain", True), ("two domains", False))
        if (values := pair_means(study["similarity"], within=within)) is not None
    ]
    panels += [("similarity of patterns", means)] if means else []
    if study["sentences"]:
        panels.append(("correlation with judgements", [(each["set"], each["blocks"]) for each in study["sentences"]]))
    figure = Figure(figsize=(6.5, 2.4 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for own, (label, curves) in zip(axes, panels, strict=True):
        _draw(own, label, curves)
    axes[-1].set_xlabel("block")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


def has_curves(study: Study) -> bool:
    """Return whether there is something to draw."""
    return bool(study["activity"] or study["similarity"] or study["sentences"])


def _draw(axes: Axes, label: str, curves: Sequence[tuple[str, Sequence[float]]]) -> None:
    for number, (name, values) in enumerate(curves):
        axes.plot(range(len(values)), values, marker="o", markersize=3, color=_COLOURS[number % 8], label=name)
    axes.set_ylabel(label, fontsize=8)
    axes.legend(fontsize=7, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
