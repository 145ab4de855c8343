"""Write the profile and the selection: `layers.json`, `layers.png` and `pairs.safetensors`."""

from pathlib import Path
from typing import NotRequired, TypedDict

from safetensors.torch import save_file

from data.files import shown
from eavss.plots import plot_profile
from eavss.profile import LayerProfile
from eavss.records import LayerScores, StabilitySummary
from eavss.verdict import block_bootstraps, stability_summary
from train.runtime.distributed import on_main_process
from train.runtime.files import write_json, write_whole
from train.runtime.records import read_record
from train.selection.scoring import Choice


class LayersRecord(TypedDict):
    """What `layers.json` holds (keys may be added, never renamed).

    `selector_tau`, the split-half tau of the selector's own ranking, is there where the selector runs the model again.
    """

    model: str
    dataset: str
    questions: int
    pairs: int
    tokens: int
    seed: int
    layers: list[LayerScores]
    selector: str
    form: str
    selected: list[int]
    stability: StabilitySummary
    selector_tau: NotRequired[float]


def layers_record(profile: LayerProfile, choice: Choice, *, model: str, dataset: str, seed: int) -> LayersRecord:
    """Return what `layers.json` holds: every block's scores, the selection, and how steady it is.

    Args:
        model: the name of the model that was profiled.
        dataset: the name of the data set that the questions come from.
        seed: the run's seed.
    """
    selected = list(choice.selection.blocks)
    layers: list[LayerScores] = [
        {**scores, "bootstrap": bootstrap}
        for scores, bootstrap in zip(choice.scores, block_bootstraps(choice.stability), strict=True)
    ]
    record: LayersRecord = {
        "model": model,
        "dataset": dataset,
        "questions": profile.questions,
        "pairs": profile.pairs,
        "tokens": int(profile.all_tokens.tokens[0]),
        "seed": seed,
        "layers": layers,
        "selector": choice.selection.source,
        "form": choice.form,
        "selected": selected,
        "stability": stability_summary(choice.stability, selected),
    }
    if choice.own_tau is not None:
        record["selector_tau"] = choice.own_tau
    return record


def read_layers(path: Path) -> LayersRecord:
    """Read a `layers.json`.

    Raises:
        ValueError: there is no such file, or it is none: blocks are not numbered from 0, or one is selected that is not
            there, or twice.
    """
    record = read_record(path, LayersRecord)
    count = len(record["layers"])
    if not count or [layer.get("layer", number) for number, layer in enumerate(record["layers"])] != [*range(count)]:
        raise ValueError("layers should be the blocks from 0 to the last one, in order")
    selected = record.get("selected", [])
    if selected != sorted(set(selected) & set(range(count))):
        raise ValueError(f"selected is {shown(selected)}, where blocks of 0 to {count - 1} would be right")
    return record


@on_main_process
def write_profile(output: Path, layers: LayersRecord, profile: LayerProfile) -> None:
    """Write `layers.json`, `layers.png` and `pairs.safetensors` into the folder `output`."""
    write_whole(output / "pairs.safetensors", lambda path: save_file({"states": profile.states.contiguous()}, path))
    title = f"{layers['model']} on {layers['dataset']}, {layers['questions']} questions"
    write_whole(output / "layers.png", lambda path: plot_profile(layers["layers"], layers["selected"], title, path))
    write_json(output / "layers.json", layers)
