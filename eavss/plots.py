"""The profile as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_PANELS = (
    ("EAVSS (contrast)", lambda layer: layer["eavss"]["contrast"]),
    ("HSAV", lambda layer: layer["hsav"]),
    ("AVSS (scale-free)", lambda layer: layer["avss"]["scale_free"]),
)
_SELECTED, _OTHER = "#c2410c", "#94a3b8"


def plot_profile(layer_scores: list[dict[str, Any]], selected: list[int], title: str, path: Path) -> None:
    """Draw each score over depth, the selected blocks in colour, as PNG; with the bootstrap intervals of
    `eavss.stability_record` at EAVSS, where `layer_scores` holds them under "bootstrap"."""
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
