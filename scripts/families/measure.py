"""Take a family's tiny model through the steps of the job, and compare what its shortcuts give with the plain path."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from eavss.costs import forward_costs
from eavss.errors import EavssError
from eavss.prompt_cache import keeps_keys, shared_logits
from eavss.shortcuts import Shortcut, started_logits, trial
from scripts.families.configs import tiny
from scripts.families.job import SELECTED, TOKEN_BUDGET, Loaded, adapter_of, load, run, save_base, words
from scripts.families.zero3 import Divided, divided
from train.base.reading import BaseReader
from train.batching.packing import Packer, packed_logits
from train.evaluation.likelihood import AnswerScorer
from train.model.lora_counts import adapted_share
from train.publishing.checkpoints import Adapter, export_merged
from train.runtime.errors import ModelError


@dataclass
class FamilyRow:
    """What was found of a family; a figure that was not reached is None.

    Args:
        status: `works`; `refused` where a run ends with one line and exit status 2 before anything is scored; or
            `fails` where it ends later or otherwise.
        blocks: the number of decoder blocks.
        adapted_share: the share of the blocks' weights that LoRA adapts, without fused experts.
        experts_share: the same with them, as the model is trained here; None where it has none.
        packed_difference, shared_prompt_difference: how far the log-probability of an answer in a run is from that of
            the answer alone, in nats, for the answer that differs most.
        cache_difference: the same of a pass that starts at the lowest selected block, as a root mean square.
        packed, shared_prompts, cache: "on", or why a run does without the shortcut.
        zero3: "yes" where two ranks that divide the model by ZeRO-3 get the same, or why not
            (`scripts.families.zero3.Divided`, as for the three differences).
        replay: whether texts to replay were written and gave a finite loss.
        counted_flops, hand_flops: the FLOPs of all blocks for a token, counted, and as two for each active weight.
        reason: why the family is refused or fails.
    """

    family: str
    status: Literal["works", "refused", "fails"] = "works"
    blocks: int | None = None
    adapted_share: float | None = None
    experts_share: float | None = None
    packed_difference: float | None = None
    cache_difference: float | None = None
    shared_prompt_difference: float | None = None
    packed: str = ""
    cache: str = ""
    shared_prompts: str = ""
    replay: bool | None = None
    zero3: str = ""
    zero3_loss_difference: float | None = None
    zero3_answer_difference: float | None = None
    zero3_adapter_difference: float | None = None
    counted_flops: float | None = None
    hand_flops: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure(family: str, folder: Path, export: bool = True, zero3: bool = True) -> FamilyRow:
    """Save a tiny model of the family; then load, score, select, adapt, train, save, load afresh and export it merged.

    Args:
        folder: where to work, empty.
        export: False to leave out the export, whose check in a fresh process takes long.
        zero3: False to leave out the same on two ranks that divide the model, which takes longest.
    """
    row, base, output = FamilyRow(family), folder / "base", folder / "run"
    try:
        tiny_model = tiny(family)
        row.blocks = len(find_blocks(tiny_model).modules)
        save_base(tiny_model, base)
        loaded = load([*words(base, ranks=1), "--output_dir", str(output)])
        _count(row, loaded)
        _compare(row, loaded)
        outcome = run(loaded)
        row.replay = all(map(math.isfinite, outcome.replay))
        if export:
            export_merged(Adapter(adapter_of(output), loaded.args.base_model), folder / "merged", "float32", "5GB")
        if zero3:
            _divide(row, divided(base, output, outcome, folder / "zero3"))
    except Exception as error:  # whatever the family raises is what the table is for
        early = row.adapted_share is None and isinstance(error, ModelError | EavssError)
        row.status = "refused" if early else "fails"
        row.reason = str(error) if early else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return row


def _count(row: FamilyRow, loaded: Loaded) -> None:
    """Note the share of the selected blocks' weights that is adapted, and the FLOPs of a token."""
    model, args = loaded.model, loaded.args
    row.adapted_share = adapted_share(model, replace(args.lora, experts=False), SELECTED)
    row.experts_share = adapted_share(model, args.lora, SELECTED) if args.lora_experts else None
    row.counted_flops, row.hand_flops = sum(forward_costs(model).blocks), active_flops(model)


def _divide(row: FamilyRow, found: Divided) -> None:
    row.zero3 = found.state
    row.zero3_loss_difference, row.zero3_answer_difference = found.loss, found.answer
    row.zero3_adapter_difference = found.adapter


def _compare(row: FamilyRow, loaded: Loaded) -> None:
    """Compare what a run computes of the pairs' answers with the plain path, and note which shortcuts it takes."""
    model, encoder, sequences = loaded.model, loaded.encoder, loaded.sequences()
    plain = AnswerScorer(model, encoder, 1, share_prompts=False).score_sequences(sequences, "alone")
    shared = AnswerScorer(model, encoder, TOKEN_BUDGET).score_sequences(sequences, "shared prompts")
    packed = BaseReader(model, Packer.of(model, True, sequences), sequences, [], TOKEN_BUDGET).read(None, 0).references
    row.shared_prompt_difference = max(abs(a.total - b.total) for a, b in zip(plain, shared, strict=True))
    row.packed_difference = max(abs(a.total - packed[s]) for a, s in zip(plain, sequences, strict=True))
    row.shared_prompts = _state(model, partial(shared_logits, model), keeps_keys(model))
    row.packed = _state(model, partial(packed_logits, model), keeps_keys(model))
    start = partial(started_logits, model, layer=min(SELECTED))
    row.cache, found = _state(model, start), trial(model, start)
    row.cache_difference = found.difference if found.passed else 0.0


def _state(model: PreTrainedModel, shortcut: Shortcut, possible: bool = True) -> str:
    """Return "on", or why a run does without the shortcut."""
    if not possible:
        return "windows or states"
    found = trial(model, shortcut)
    if found.passed:
        return "on"
    return "not possible" if found.error else f"{found.difference:.1g} nats off"


def active_flops(model: PreTrainedModel) -> float:
    """Count by hand, for a token: two FLOPs for each weight of the blocks, of experts the share that is active."""
    config = model.config.get_text_config(decoder=True)
    active = getattr(config, "num_experts_per_tok", 1)
    return float(sum(2 * size * (active / experts if experts else 1) for size, experts in _weights(model)))


def _weights(model: PreTrainedModel) -> Iterator[tuple[int, int]]:
    """Yield the size of each matrix in the blocks, and how many experts it is one of; 0 for none."""
    for name, weight in find_blocks(model).modules.named_parameters(remove_duplicate=False):
        fused = weight.ndim == 3 and "conv" not in name
        if fused and weight.shape[0] > 1:
            yield weight.numel(), weight.shape[0]
        elif weight.ndim == 2 and name.endswith("weight"):
            yield weight.numel(), 0
