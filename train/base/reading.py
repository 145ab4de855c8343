"""One pass of the frozen base over everything that will be trained on: the reference log-probabilities, what enters the
lowest selected block, and what enters the head on the base's own texts.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from eavss.batches import TokenSequence, group_by_length
from eavss.blocks import capture_block_input, find_blocks
from train.base.block_input_store import finish_cache, kept_references, map_states, start_cache
from train.base.block_inputs import BlockInputCache, Pieces, by_prompt, offsets_of, shape_of
from train.batching.packing import Group, PackedBatch, Packer, row_length
from train.model.loading import fingerprint
from train.model.logits import logits_at, target_logprobs
from train.runtime.distributed import from_main, is_main_process, map_sharded
from train.runtime.errors import ModelError
from train.runtime.files import cache_folder

_LONGEST_ROW = 512

Batches = list[list[Group]]


@dataclass(frozen=True)
class BaseOutputs:
    """What the base model, without an adapter, says of the training sequences.

    Args:
        references: each sequence's answer's summed log-probability, without its end-of-sequence.
        prefix: None where nothing is cached.
        head_inputs: for each text of the base's own, what enters its head before each token but the first,
            (T - 1, H), on the CPU.
    """

    references: dict[TokenSequence, float]
    prefix: BlockInputCache | None
    head_inputs: dict[TokenSequence, Tensor]


def read_base(
    model: PreTrainedModel,
    sequences: Sequence[TokenSequence],
    packer: Packer,
    token_budget: int,
    layer: int | None,
    limit_bytes: float,
    texts: Sequence[TokenSequence] = (),
    earlier: BaseOutputs | None = None,
) -> BaseOutputs:
    """Run the base once over all sequences, sharded over the ranks, unless an earlier run has left its cache.

    Args:
        model: the base, whole on each rank, without an adapter.
        sequences: the pairs' answers; repetitions count once.
        layer: the block whose input is kept; None: keep nothing.
        limit_bytes: how much all caches together may take; the longest unused ones make room.
        texts: of the base's own (`train.base.replay_texts`), which are read up to its head, cache or no cache.
        earlier: what a call with another layer has found: then the pass ends at `layer`.

    Raises:
        ValueError: the model has an adapter.
        ModelError: the cache's folder has no room or is not shared by all nodes, or a log-probability is NaN.
    """
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ValueError("references must come from the base, before an adapter is put on it")
    model.eval()
    together = by_prompt(sequences).values()
    groups = [part for group in together for part in packer.divide(group, _LONGEST_ROW)]
    of_pairs, of_texts = _batches(groups, token_budget), _batches([[text] for text in texts], token_budget)
    if layer is None:
        return replace(earlier, prefix=None) if earlier else _read(model, of_pairs, of_texts, packer, None)
    in_order = [sequence for group in together for sequence in group]  # whatever the token budget
    offsets = offsets_of([*sequences, *texts])
    shape = shape_of(model, offsets)
    key = from_main(lambda: _key(model, offsets, layer, packer))
    folder = cache_folder() / "prefix" / key
    kept = from_main(lambda: kept_references(folder))
    if kept is not None:
        prefix = BlockInputCache(layer, map_states(folder, shape, model.dtype), offsets)
        head_inputs = earlier.head_inputs if earlier else _read_texts(model, of_texts, packer, None)
        return BaseOutputs(dict(zip(in_order, kept, strict=True)), prefix, head_inputs)
    size = shape[0] * shape[1] * model.dtype.itemsize
    unfinished = Path(from_main(lambda: str(start_cache(folder, size, limit_bytes))))
    prefix = BlockInputCache(layer, map_states(unfinished, shape, model.dtype), offsets)
    try:
        if earlier is None:
            found = _read(model, of_pairs, of_texts, packer, prefix)
        else:
            fill = partial(_fill, model, packer, prefix)
            map_sharded(fill, of_pairs + of_texts, "reading up to the selected blocks")
            found = replace(earlier, prefix=prefix)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if is_main_process():
        finish_cache(unfinished, folder, [found.references[sequence] for sequence in in_order])
    return found


def _batches(groups: Sequence[Group], token_budget: int) -> Batches:
    lengths = [row_length(group) for group in groups]
    return [[groups[i] for i in batch] for batch in group_by_length(lengths, token_budget)]


def _read(
    model: PreTrainedModel, of_pairs: Batches, of_texts: Batches, packer: Packer, prefix: BlockInputCache | None
) -> BaseOutputs:
    """The whole pass; fills `prefix`."""
    references = _read_pairs(model, of_pairs, packer, prefix)
    return BaseOutputs(references, prefix, _read_texts(model, of_texts, packer, prefix))


def _read_pairs(
    model: PreTrainedModel, batches: Batches, packer: Packer, prefix: BlockInputCache | None
) -> dict[TokenSequence, float]:
    """The reference of each sequence, in the batches' order; fills `prefix`."""
    read = partial(_sums, model, packer, prefix)
    sums = [value for batch in map_sharded(read, batches, "reading the training sequences") for value in batch]
    if any(value != value for value in sums):
        raise ModelError("the model gives no log-probability (NaN) for some answer; its weights or dtype are broken")
    return dict(zip(_in_order(batches), sums, strict=True))


def _read_texts(
    model: PreTrainedModel, batches: Batches, packer: Packer, prefix: BlockInputCache | None
) -> dict[TokenSequence, Tensor]:
    """What enters the head, for each text, in the batches' order; fills `prefix`."""
    read = partial(_head_inputs, model, packer, prefix)
    states = [each for batch in map_sharded(read, batches, "reading the texts to replay") for each in batch]
    return dict(zip(_in_order(batches), states, strict=True))


def _in_order(batches: Batches) -> Iterator[TokenSequence]:
    return (sequence for groups in batches for group in groups for sequence in group)


@torch.no_grad()
def _sums(model: PreTrainedModel, packer: Packer, prefix: BlockInputCache | None, groups: list[Group]) -> list[float]:
    batch = packer(groups)
    moved = batch.to(model.device)
    with _filling(model, batch, prefix):
        logits = logits_at(model, model, moved.inputs | {"use_cache": False}, moved.rows, moved.columns)
    sums: list[float] = moved.answer_sums(target_logprobs(logits, moved.targets)[0]).tolist()
    return sums


@torch.no_grad()
def _head_inputs(
    model: PreTrainedModel, packer: Packer, prefix: BlockInputCache | None, groups: list[Group]
) -> list[Tensor]:
    batch = packer(groups)
    entering: list[Tensor] = []

    def keep(_head: nn.Module, args: tuple[Tensor, ...]) -> None:
        entering.append(args[0].cpu()[batch.rows, batch.columns])
        raise _StopForward

    hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        with _filling(model, batch, prefix), suppress(_StopForward):
            model(**batch.to(model.device).inputs, use_cache=False)
    finally:
        hook.remove()
    # Apart, since a view would take all of them along when it is sent to another rank.
    return [entering[0][batch.sequence == number].clone() for number in range(batch.count)]


@torch.no_grad()
def _fill(model: PreTrainedModel, packer: Packer, prefix: BlockInputCache, groups: list[Group]) -> None:
    """The pass that ends where the prefix does."""
    batch = packer(groups)
    with _filling(model, batch, prefix, then_stop=True), suppress(_StopForward):
        model(**batch.to(model.device).inputs, use_cache=False)


def _filling(
    model: PreTrainedModel, batch: PackedBatch, prefix: BlockInputCache | None, then_stop: bool = False
) -> AbstractContextManager[None]:
    """Forward passes of the batch inside fill `prefix`."""
    if prefix is None:
        return nullcontext()

    def keep(states: Tensor) -> None:
        prefix.keep(batch, states.cpu())
        if then_stop:
            raise _StopForward

    return capture_block_input(find_blocks(model), prefix.layer, keep)


class _StopForward(Exception):  # noqa: N818 - not an error
    """All that is wanted of a forward pass is there."""


def _key(model: PreTrainedModel, offsets: Pieces, layer: int, packer: Packer) -> str:
    # The token ids stand for the tokenizer and the data.
    digest = hashlib.sha256(fingerprint(model))
    digest.update(json.dumps([layer, str(model.dtype), packer.attention, list(offsets)]).encode())
    return digest.hexdigest()[:32]
