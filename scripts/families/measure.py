"""Take a family's tiny model through the steps of the job, and compare what its shortcuts give with the plain path."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from data.examples import Example, wrong_answers
from eavss.blocks import find_blocks
from eavss.costs import forward_costs
from eavss.errors import EavssError
from eavss.prompt_cache import keeps_keys, shared_logits
from eavss.shortcuts import Shortcut, started_logits, trial
from scripts.families.configs import tiny
from train.base.reading import BaseReader
from train.batching.encoding import Encoder
from train.batching.packing import Packer, packed_logits
from train.batching.pairs import ContrastPairs
from train.evaluation.likelihood import AnswerScorer
from train.model.loading import load_adapted, load_model
from train.model.lora_counts import adapted_share
from train.model.tokenizer import load_tokenizer
from train.model.trial import require_trainable
from train.publishing.checkpoints import Adapter, export_merged
from train.recipe.parse import parse
from train.runtime.errors import ModelError
from train.selection.scoring import score, select
from train.training import TrainingSetup, fine_tune, make_scoring_batches, make_training_pairs

_EXAMPLES = [
    Example("toy", f"which number follows {n}?", (f"it is {n + 1}", f"{n + 1}"), wrong_answers([f"{n + 2}"], "dataset"))
    for n in range(6)
]
_SELECTED = [2, 3]
_WORDS = ("--dtype", "float32", "--max_steps", "2", "--save_strategy", "no", "--logging_steps", "1")
_QUIET = ("--report_to", "none", "--disable_tqdm", "true", "--replay_weight", "0.1")


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
    counted_flops: float | None = None
    hand_flops: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measure(family: str, folder: Path, export: bool = True) -> FamilyRow:
    """Save a tiny model of the family; then load, score, select, adapt, train, save, load afresh and export it merged.

    Args:
        folder: where to work, empty.
        export: False to leave out the export, whose check in a fresh process takes most of the time.
    """
    row = FamilyRow(family)
    try:
        adapter = _train(row, tiny(family), folder)
        if export:
            export_merged(adapter, folder / "merged", "float32", "5GB")
    except Exception as error:  # whatever the family raises is what the table is for
        early = row.adapted_share is None and isinstance(error, ModelError | EavssError)
        row.status = "refused" if early else "fails"
        row.reason = str(error) if early else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return row


def _train(row: FamilyRow, tiny_model: PreTrainedModel, folder: Path) -> Adapter:
    row.blocks = len(find_blocks(tiny_model).modules)
    base, run = folder / "base", folder / "run"
    tiny_model.save_pretrained(base)
    _tokenizer().save_pretrained(base)
    where = ["--model_name_or_path", str(base), "--output_dir", str(run), "--layers", *map(str, _SELECTED)]
    args, training = parse([*where, *_WORDS, *_QUIET])
    model, tokenizer = load_model(args.base_model, training).eval(), load_tokenizer(args.base_model)
    share = adapted_share(model, args.lora, _SELECTED)
    blocks = find_blocks(model)
    args = replace(args, lora_experts=any(blocks.fused_experts(layer) for layer in _SELECTED))
    require_trainable(model, args.lora)
    row.adapted_share = share
    row.experts_share = adapted_share(model, args.lora, _SELECTED) if args.lora_experts else None
    row.counted_flops, row.hand_flops = sum(forward_costs(model).blocks), active_flops(model)
    encoder = Encoder.of(tokenizer, args)
    choice = select(score(model, make_scoring_batches(_EXAMPLES, encoder, args, 0)), args.selection, 0)
    pairs = make_training_pairs(_EXAMPLES, encoder, args, training)
    setup = TrainingSetup(model, tokenizer, pairs, args, 0)
    _compare(row, model, encoder, pairs)
    figures = fine_tune(setup, choice.selection, training, None)
    row.replay = all(math.isfinite(entry["loss/replay"]) for entry in figures["log"])
    load_adapted(args.base_model, training, run / "adapter")
    return Adapter(run / "adapter", args.base_model)


def _compare(row: FamilyRow, model: PreTrainedModel, encoder: Encoder, pairs: ContrastPairs) -> None:
    """Compare what a run computes of the pairs' answers with the plain path, and note which shortcuts it takes."""
    sequences = list(dict.fromkeys(pairs.sequences()))
    plain = AnswerScorer(model, encoder, 1, share_prompts=False).score_sequences(sequences, "alone")
    shared = AnswerScorer(model, encoder, 512).score_sequences(sequences, "shared prompts")
    packed = BaseReader(model, Packer.of(model, True, sequences), sequences, [], 512).read(None, 0).references
    row.shared_prompt_difference = max(abs(a.total - b.total) for a, b in zip(plain, shared, strict=True))
    row.packed_difference = max(abs(a.total - packed[s]) for a, s in zip(plain, sequences, strict=True))
    row.shared_prompts = _state(model, partial(shared_logits, model), keeps_keys(model))
    row.packed = _state(model, partial(packed_logits, model), keeps_keys(model))
    start = partial(started_logits, model, layer=min(_SELECTED))
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


def _tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a byte, and an end-of-sequence token, 256."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
