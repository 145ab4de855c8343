"""A run's pictures for its report, as PNG: what training did, and what changed."""

from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_CURVES = {
    "loss": (("loss/ce", "cross-entropy"), ("loss/dpo", "DPO"), ("loss/infonce", "InfoNCE")),
    "log-probability": (("logps/chosen", "truthful"), ("logps/rejected", "hallucinated")),
}
_OURS, _CONTROL = "#c2410c", "#64748b"


def plot_training(log: list[dict[str, Any]]) -> bytes:
    """The loss's terms, and the log-probabilities of both answers, over the steps.

    Args:
        log: the Trainer's, one dict a logging step.
    """
    # Narrow, so that its letters can still be read at a phone's width.
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(_CURVES), 1, sharex=True)
    for axes, (title, curves) in zip(panels, _CURVES.items(), strict=True):
        for (name, label), style in zip(curves, ("-", "--", ":"), strict=False):
            points = [(entry["step"], entry[name]) for entry in log if name in entry]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=_OURS if style == "-" else _CONTROL, label=label)
        axes.set_ylabel(title)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("step")
    return _png(figure)


def plot_changes(rows: list[dict[str, Any]]) -> bytes:
    """Each metric's change with its interval, and below it what of it was gained on the question.

    Args:
        rows: of `train.publishing.report.comparison_rows`.
    """
    figure = Figure(figsize=(6, 1.2 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for height, row in enumerate(reversed(rows)):
        for change, colour, shift in ((row, _OURS, 0.12), (row["question_gain"], _CONTROL, -0.12)):
            if change is not None:
                axes.hlines(height + shift, *change["interval"], color=colour, linewidth=1.2)
                axes.plot(change["difference"], height + shift, "o", color=colour, markersize=4)
    axes.axvline(0, color="#94a3b8", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['set']} {row['metric']}" for row in reversed(rows)])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a set's name is the user's
    axes.set_xlabel("change (orange);\ngained on the question (grey)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
