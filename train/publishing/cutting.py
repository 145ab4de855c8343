"""Write a model without some of its blocks as a plain checkpoint, with a card, and check it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from huggingface_hub import ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from peft import PeftModel

from data.files import shown
from eavss.choices import Criterion
from eavss.surgery import remove_blocks, skip_blocks
from train.evaluation.retained import Kept, kept_table
from train.healing.curve import Point
from train.model.loading import load_adapter, own_dtype, read_model
from train.model.tokenizer import load_tokenizer
from train.publishing.checkpoints import (
    MERGE_TOLERANCE,
    PROCESS_TOLERANCE,
    check_checkpoint,
    new_folder,
    require_close,
    save_checkpoint,
)
from train.publishing.reload_check import fixed_logprobs
from train.recipe.settings import BaseModel
from train.runtime.errors import RecipeError
from train.runtime.files import write_json, write_text
from train.runtime.records import read_record

REASONS: dict[Criterion, str] = {
    "avss": "they have the lowest AVSS (arXiv 2411.02117).",
    "avss_scale_free": "they have the lowest AVSS without the scale of the residual stream.",
    "block_influence": "they turn the residual stream least (ShortGPT, arXiv 2403.03853).",
    "angular": "across this run of neighbours a text's last token turns least (arXiv 2403.17887).",
    "perplexity": "one after the other, the text that the model writes itself gets least unlikely without them.",
    "last": "they are the last ones.",
    "random": "they were drawn at random.",
}


class Healed(TypedDict):
    """What a cut model was trained with.

    Args:
        texts, questions: how many texts of the whole model's own, and how many answered questions.
        steps, seconds: of training.
        log: what was logged, in order.
        curve: what had been kept after some steps.
    """

    texts: int
    questions: int
    steps: int
    seconds: float
    log: list[dict[str, float]]
    curve: list[Point]


class CutRecord(TypedDict):
    """What `cut.json` holds.

    Args:
        model: the whole model.
        by: the criterion, or `layers` where the blocks were named.
        blocks: how many blocks it had.
        removed: the indices of those that were removed.
        parameters, whole_parameters: of the cut and of the whole model.
        kept: what the cut model keeps; absent where it was not measured.
        healed: how it was healed; absent where nothing was trained.
    """

    model: str
    by: str
    blocks: int
    removed: list[int]
    parameters: int
    whole_parameters: int
    kept: NotRequired[list[Kept]]
    healed: NotRequired[Healed]


def export_cut(
    base: BaseModel, removed: Sequence[int], target: Path, max_shard_size: str, adapter: Path | None = None
) -> None:
    """Write the model without the blocks `removed`, in its own dtype and with its tokenizer, and check it.

    Args:
        adapter: an adapter on the blocks that stay, which is merged; None for none.

    Raises:
        RecipeError: `target` is not empty.
        ModelError: the checkpoint, loaded by transformers alone, gives other log-probabilities than the whole model
            with these blocks skipped; nothing is left of it.
        EavssError: see `eavss.surgery.remove_blocks`.
    """
    exact = replace(base, dtype="float32", attn_implementation=None)
    model, tokenizer = read_model(exact), load_tokenizer(exact)
    adapted = model if adapter is None else load_adapter(model, str(adapter))
    with skip_blocks(adapted, removed):
        expected = fixed_logprobs(adapted, tokenizer)
    if isinstance(adapted, PeftModel):
        model = adapted.merge_and_unload(safe_merge=True)
    remove_blocks(model, removed)
    tolerance = PROCESS_TOLERANCE if adapter is None else MERGE_TOLERANCE
    require_close(fixed_logprobs(model, tokenizer), expected, tolerance, "the cut model")
    dtype = own_dtype(base)
    with new_folder(target) as folder:
        expected = save_checkpoint(model, tokenizer, base, folder, dtype=dtype, max_shard_size=max_shard_size)
        del model, adapted
        check_checkpoint(folder, expected, dtype, "the cut checkpoint")


def read_cut(folder: Path, model: str) -> CutRecord:
    """Read the `cut.json` in a folder.

    Args:
        model: the name of the whole model, which has to be the one that was cut.

    Raises:
        RecipeError: there is none, it is broken, or another model was cut.
    """
    path = folder / "cut.json"
    if not path.exists():
        raise RecipeError(f"--cut: no file {path}; scripts/cut_layers.py writes it")
    try:
        cut = read_record(path, CutRecord)
        whole, removed = cut["model"], cut["removed"]
        if removed != sorted(set(removed)) or not removed or removed[0] < 0:
            raise ValueError(f"removed is {shown(removed)}, where the indices of blocks in order would be right")
    except ValueError as error:
        raise RecipeError(f"--cut: {path} is no cut.json: {error}") from None
    if whole != model:
        raise RecipeError(f"model_name_or_path: {model} should be {whole}, which {folder} was cut from")
    return cut


def write_cut_card(folder: Path, cut: CutRecord) -> None:
    """Write `cut.json`, and the model card from it."""
    is_folder = Path(cut["model"]).is_dir()
    data = ModelCardData(
        base_model=None if is_folder else cut["model"],
        library_name="transformers",
        model_name=folder.resolve().name,
        pipeline_tag="text-generation",
        tags=["eavss", "layer-pruning"],
    )
    environment = Environment(loader=PackageLoader("train.publishing"), undefined=StrictUndefined)
    text = environment.get_template("cut.md").render(
        card_data=data.to_yaml(),
        name=folder.resolve().name,
        repo_id=folder.resolve().name,
        base=Path(cut["model"]).name if is_folder else cut["model"],
        cut=cut,
        reasons=REASONS,
        table=kept_table(cut["kept"], {"changed": "cut"}) if "kept" in cut else "",
    )
    write_text(folder / "README.md", text)
    write_json(folder / "cut.json", cut)


def count_parameters(model: torch.nn.Module) -> int:
    """Return how many numbers a model's weights have, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
