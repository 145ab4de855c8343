"""One pass of the frozen base over everything that will be trained on: the reference log-probabilities, and what enters
the lowest selected block, kept on disk (`train.prefix_store`) so that training can start there.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence, group_by_length
from eavss.blocks import capture_block_input, find_blocks
from train.distributed import from_main, map_sharded
from train.errors import ModelError
from train.files import cache_folder
from train.hardware import is_main_process
from train.logits import judge, logits_at
from train.models import fingerprint
from train.packing import Group, PackedBatch, Packer, row_length
from train.prefix_store import finish_cache, kept_references, map_states, start_cache

_LONGEST_ROW = 512

References = dict[TokenSequence, float]
Pieces = dict[tuple[tuple[int, ...], tuple[int, ...]], int]


@dataclass(frozen=True)
class PrefixCache:
    """What enters block `layer`, for each prompt and each tail after a prompt.

    Args:
        layer: the lowest selected block.
        states: (tokens, H), memory-mapped.
        offsets: (prompt, tail) -> its first row in `states`; the tail of a prompt itself is empty. Each prompt stands
            before its tails.
    """

    layer: int
    states: Tensor
    offsets: Pieces

    def keep(self, batch: PackedBatch, states: Tensor) -> None:
        """Write the states (R, T, H) of a packed batch, read before, to the disk."""
        for piece, following in zip(batch.pieces, [*batch.pieces[1:], None], strict=True):
            offset, length = self.offsets[piece.prompt, piece.tail], len(piece.tokens)
            if following and not piece.tail and self.offsets[piece.prompt, following.tail] != offset + length:
                continue  # another row, perhaps another rank's, begins with this prompt and keeps it
            self.states[offset : offset + length] = states[piece.row, piece.column : piece.column + length]

    def gather(self, batch: PackedBatch) -> Tensor:
        """The states of a packed batch (R, T, H), 0 where it is padded, on the CPU."""
        shape = (*batch.answer_of.shape, self.states.shape[1])
        result = torch.zeros(shape, dtype=self.states.dtype, pin_memory=torch.cuda.is_available())
        for piece in batch.pieces:
            offset, length = self.offsets[piece.prompt, piece.tail], len(piece.tokens)
            result[piece.row, piece.column : piece.column + length] = self.states[offset : offset + length]
        return result


@dataclass(frozen=True)
class FrozenBase:
    """What the base model, without an adapter, says of the training sequences.

    Args:
        references: each sequence's answer's summed log-probability, without its end-of-sequence.
        prefix: None where nothing is cached.
    """

    references: References
    prefix: PrefixCache | None


def tokens_to_read(sequences: Sequence[TokenSequence]) -> int:
    """Tokens of the sequences, each prompt counted once."""
    return _tokens(_offsets(_by_prompt(sequences)))


def size_in_bytes(model: PreTrainedModel, sequences: Sequence[TokenSequence]) -> int:
    """How much the cache of these sequences takes on disk."""
    return tokens_to_read(sequences) * _width(model) * model.dtype.itemsize


def read_base(
    model: PreTrainedModel,
    sequences: Sequence[TokenSequence],
    packer: Packer,
    token_budget: int,
    layer: int | None,
    limit_bytes: float,
    references: References | None = None,
) -> FrozenBase:
    """Run the base once over all sequences, sharded over the ranks, unless an earlier run has left its cache.

    Args:
        model: the base, whole on each rank, without an adapter.
        sequences: everything that will be trained on; repetitions count once.
        layer: the block whose input is kept; None: keep nothing.
        limit_bytes: how much all caches together may take; the longest unused ones make room.
        references: of all sequences, where an earlier pass has read them: then this one ends at `layer`.

    Raises:
        ValueError: the model has an adapter.
        ModelError: the cache's folder has no room or is not shared by all nodes, or a log-probability is NaN.
    """
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ValueError("references must come from the base, before an adapter is put on it")
    model.eval()
    by_prompt = _by_prompt(sequences)
    groups = [part for group in by_prompt.values() for part in packer.divide(group, _LONGEST_ROW)]
    batches = [
        [groups[i] for i in batch] for batch in group_by_length([row_length(group) for group in groups], token_budget)
    ]
    if layer is None:
        return FrozenBase(references or _run(model, batches, packer, None), None)
    in_order = [sequence for group in by_prompt.values() for sequence in group]  # whatever the token budget
    offsets = _offsets(by_prompt)
    shape = (_tokens(offsets), _width(model))
    key = from_main(lambda: _key(model, offsets, layer, packer))
    folder = cache_folder() / "prefix" / key
    kept = from_main(lambda: kept_references(folder))
    if kept is None:
        size = shape[0] * shape[1] * model.dtype.itemsize
        partial = Path(from_main(lambda: str(start_cache(folder, size, limit_bytes))))
        prefix = PrefixCache(layer, map_states(partial, shape, model.dtype), offsets)
        try:
            if references is None:
                references = _run(model, batches, packer, prefix)
            else:
                map_sharded(lambda groups: _keep(model, packer(groups), prefix), batches, "reading up to the blocks")
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if is_main_process():
            finish_cache(partial, folder, [references[sequence] for sequence in in_order])
        return FrozenBase(references, prefix)
    prefix = PrefixCache(layer, map_states(folder, shape, model.dtype), offsets)
    return FrozenBase(dict(zip(in_order, kept, strict=True)), prefix)


def _by_prompt(sequences: Sequence[TokenSequence]) -> dict[tuple[int, ...], list[TokenSequence]]:
    by_prompt: dict[tuple[int, ...], list[TokenSequence]] = {}
    for sequence in dict.fromkeys(sequences):
        by_prompt.setdefault(sequence.prompt, []).append(sequence)
    return by_prompt


def _offsets(by_prompt: dict[tuple[int, ...], list[TokenSequence]]) -> Pieces:
    offsets: Pieces = {}
    at = 0
    for prompt, group in by_prompt.items():
        for tail in ((), *(sequence.ids[len(prompt) :] for sequence in group)):
            if (prompt, tail) not in offsets:
                offsets[prompt, tail] = at
                at += len(tail or prompt)
    return offsets


def _tokens(offsets: Pieces) -> int:
    return sum(len(tail or prompt) for prompt, tail in offsets)


def _width(model: PreTrainedModel) -> int:
    width: int = model.config.get_text_config(decoder=True).hidden_size
    return width


def _run(model: PreTrainedModel, batches: list[list[Group]], packer: Packer, prefix: PrefixCache | None) -> References:
    """The reference of each sequence, in the batches' order; fills `prefix`."""
    work = map_sharded(lambda groups: _read(model, groups, packer, prefix), batches, "reading the training sequences")
    sums = [value for batch in work for value in batch]
    if any(value != value for value in sums):
        raise ModelError("the model gives no log-probability (NaN) for some answer; its weights or dtype are broken")
    flat = (sequence for groups in batches for group in groups for sequence in group)
    return dict(zip(flat, sums, strict=True))


@torch.no_grad()
def _read(model: PreTrainedModel, groups: list[Group], packer: Packer, prefix: PrefixCache | None) -> list[float]:
    batch = packer(groups)
    moved = batch.to(model.device)
    entering: list[Tensor] = []
    capture = capture_block_input(find_blocks(model), prefix.layer, entering.append) if prefix else nullcontext()
    with capture:
        inputs = moved.inputs | {"use_cache": False}
        logits = logits_at(model, model, inputs, moved.rows, moved.columns)
    if prefix:
        prefix.keep(batch, entering[0].cpu())
    sums: list[float] = moved.answer_sums(judge(logits, moved.targets)[0]).tolist()
    return sums


class _Reached(Exception):  # noqa: N818 - not an error
    """The block whose input is wanted is about to run."""


@torch.no_grad()
def _keep(model: PreTrainedModel, batch: PackedBatch, prefix: PrefixCache) -> None:
    """Fill `prefix` alone."""

    def keep(states: Tensor) -> None:
        prefix.keep(batch, states.cpu())
        raise _Reached

    with capture_block_input(find_blocks(model), prefix.layer, keep), suppress(_Reached):
        model(**batch.to(model.device).inputs, use_cache=False)


def _key(model: PreTrainedModel, offsets: Pieces, layer: int, packer: Packer) -> str:
    # The token ids stand for the tokenizer and the data.
    digest = hashlib.sha256(fingerprint(model))
    digest.update(json.dumps([layer, str(model.dtype), packer.attention, list(offsets)]).encode())
    return digest.hexdigest()[:32]
