"""Draw the profile of a model's blocks."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from eavss.records import LayerScores

_PANELS: tuple[tuple[str, Callable[[LayerScores], float]], ...] = (
    ("EAVSS (contrast)", lambda layer: layer["eavss"]["contrast"]),
    ("HSAV", lambda layer: layer["hsav"]),
    ("AVSS (scale-free)", lambda layer: layer["avss"]["scale_free"]),
)
_SELECTED, _OTHER = "#c2410c", "#94a3b8"


def plot_profile(layer_scores: Sequence[LayerScores], selected: Collection[int], title: str, path: Path) -> None:
    """Draw each score against depth and write the picture as PNG.

    Args:
        layer_scores: the scores of every block. Where they hold `bootstrap`, its intervals are drawn at EAVSS.
        selected: the indices of the blocks to draw in colour.
        title: a line above the picture.
        path: the file to write.
    """
    # Imported here, so that `import eavss` does not wait for Matplotlib.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A Figure of its own, not pyplot: no display, no global state.
    figure = Figure(figsize=(6.5, 6.5), layout="constrained")  # legible at a phone's width too
    FigureCanvasAgg(figure)
    colours = [_SELECTED if layer["layer"] in selected else _OTHER for layer in layer_scores]
    indices = [layer["layer"] for layer in layer_scores]
    panels = figure.subplots(len(_PANELS), 1, sharex=True)
    for axes, (name, score) in zip(panels, _PANELS, strict=True):
        axes.bar(indices, [score(layer) for layer in layer_scores], color=colours)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
    for layer in layer_scores:
        if "bootstrap" in layer:
            panels[0].vlines(layer["layer"], *layer["bootstrap"]["interval"], color="#334155", linewidth=1)
    axes.set_xlabel("layer index (selected blocks in colour)")
    figure.suptitle(title, fontsize=9, wrap=True)
    figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
