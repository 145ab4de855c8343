"""Draw a run's pictures for its report, as PNG: the course of training, and what changed."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from train.losses import TERMS
from train.publishing.rows import AskedRow, MetricRow
from train.selection.own_answers import BlockRecord

_LOGPROBS = (("logps/chosen", "truthful"), ("logps/rejected", "hallucinated"))
_OURS, _CONTROL = "#c2410c", "#64748b"
# One for each term of the loss.
_STYLES = (("-", _OURS), ("--", _CONTROL), (":", _CONTROL), ("-.", _CONTROL), ("-", _CONTROL), ("--", _OURS))


def plot_training(log: Sequence[Mapping[str, float]], weights: Mapping[str, float]) -> bytes:
    """Draw the terms of the loss, and the log-probabilities of both answers if pairs were trained on, over the steps.

    Args:
        log: the Trainer's log, one entry for each logging step.
        weights: the weight of each term by its name. A term of weight 0 is not trained on, and is not drawn.
    """
    # A run of an earlier version has no weights of terms that are newer.
    terms = [(f"loss/{term.name}", term.label) for term in TERMS if weights.get(term.name, 0.0) > 0]
    logged = {name for entry in log for name in entry}
    panels = {"loss": terms} | ({"log-probability": _LOGPROBS} if logged & dict(_LOGPROBS).keys() else {})
    # Narrow, so that its letters can still be read at a phone's width.
    figure = Figure(figsize=(6, 2.5 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, curves) in zip(rows, panels.items(), strict=True):
        _draw_curves(axes, title, curves, log)
    rows[-1].set_xlabel("step")
    return _png(figure)


def _draw_curves(axes: Axes, title: str, curves: Sequence[tuple[str, str]], log: Sequence[Mapping[str, float]]) -> None:
    for (name, label), (style, color) in zip(curves, _STYLES, strict=False):
        points = [(entry["step"], entry[name]) for entry in log if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), linestyle=style, color=color, label=label)
    axes.set_ylabel(title)
    if axes.has_data():
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def plot_changes(rows: Sequence[MetricRow]) -> bytes:
    """Draw each metric's change with its interval, and below it the question-specific gain."""
    figure = Figure(figsize=(6, 1.2 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for height, row in enumerate(reversed(rows)):
        for change, colour, shift in ((row.change, _OURS, 0.12), (row.question_gain, _CONTROL, -0.12)):
            if change is not None:
                low, high = change["interval"]
                axes.hlines(height + shift, low, high, color=colour, linewidth=1.2)
                axes.plot(change["difference"], height + shift, "o", color=colour, markersize=4)
    axes.axvline(0, color="#94a3b8", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row.set} {row.metric}" for row in reversed(rows)])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a set's name is the user's
    axes.set_xlabel("change (orange);\nquestion-specific gain (grey)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _png(figure)


_COLOURS = {"right": "#15803d", "wrong": "#b91c1c", "declined": "#94a3b8", "empty": "#e2e8f0"}


def plot_asked(rows: Sequence[AskedRow]) -> bytes:
    """Draw the shares of right, wrong, declined and empty answers as one bar for each set, before and after."""
    figure = Figure(figsize=(6, 1.2 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    heights = range(len(rows) - 1, -1, -1)
    left = [0.0] * len(rows)
    for verdict, colour in _COLOURS.items():
        widths = [row.shares[verdict] for row in rows]
        axes.barh(heights, widths, left=left, color=colour, label=verdict)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(heights, [f"{row.set} {row.when}" for row in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)  # a set's name is the user's
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the questions asked")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _png(figure)


def plot_risk(curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]]) -> bytes:
    """Draw the share wrong over the share answered, as the threshold falls; one panel for each set.

    Args:
        curves: {set: {before or after: [[share answered, share wrong], ...]}}.
    """
    figure = Figure(figsize=(6, 2.6 * len(curves)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(curves), 1, squeeze=False)[:, 0]
    for axes, (name, by_time) in zip(panels, curves.items(), strict=True):
        for (when, points), colour, style in zip(by_time.items(), (_CONTROL, _OURS), ("--", "-"), strict=True):
            axes.plot(*zip(*points, strict=True), style, color=colour, label=when)
        axes.set_ylabel(f"{name}: share wrong", parse_math=False)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("share answered, the surest answers first")
    return _png(figure)


def plot_own_answers(blocks: Sequence[BlockRecord], likelihood: float | None) -> bytes:
    """Draw EAVSS of the model's own answers by block, and the AUROC of the probes with their intervals.

    Args:
        blocks: the records of all blocks.
        likelihood: the AUROC of the summed log-probability, drawn as a line.
    """
    figure = Figure(figsize=(6, 5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    indices = [block["layer"] for block in blocks]
    above.bar(indices, [block["eavss"] for block in blocks], color=_OURS)
    above.set_ylabel("EAVSS, unpaired")
    for shift, colour, label, values, intervals in (
        (
            -0.12,
            _CONTROL,
            "last prompt token",
            [b["prompt_auroc"] for b in blocks],
            [b["prompt_interval"] for b in blocks],
        ),
        (0.12, _OURS, "answer", [b["answer_auroc"] for b in blocks], [b["answer_interval"] for b in blocks]),
    ):
        places = [index + shift for index in indices]
        below.plot(places, values, "o", color=colour, markersize=3, label=label)
        below.vlines(places, *zip(*intervals, strict=True), color=colour, linewidth=1)
    if likelihood is not None:
        below.axhline(likelihood, color="#334155", linestyle="--", linewidth=1, label="log-probability")
    below.set_ylabel("AUROC")
    below.set_xlabel("layer index")
    below.legend(frameon=False)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
