"""The block-input cache: the hidden states that enter the lowest selected block, so that training can start there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence
from train.batching.packing import PackedBatch
from train.batching.pieces import begun_by

Pieces = dict[tuple[tuple[int, ...], tuple[int, ...]], int]


@dataclass(frozen=True)
class BlockInputCache:
    """The hidden states that enter block `layer`, for each prompt and each tail after a prompt.

    Nothing below the lowest selected block is trained, so these states stay the same throughout training. This is no
    prefix cache in the usual sense, which keeps the keys and values of a shared prompt.

    Args:
        layer: the lowest selected block.
        states: (tokens, H), memory-mapped from disk (`train.base.block_input_store`).
        offsets: the first row in `states` of each (prompt, tail); a prompt itself has an empty tail, and stands before
            its tails. What prompts begin with is the first of them, and its tokens are not among the prompts'.
    """

    layer: int
    states: Tensor
    offsets: Pieces

    def keep(self, batch: PackedBatch, states: Tensor) -> None:
        """Write the states (R, T, H) of a packed batch to the disk."""
        kept_by_row = {(piece.row, self.offsets[piece.prompt, piece.tail]) for piece in batch.pieces}
        for piece in batch.pieces:
            offset, length = self.offsets[piece.prompt, piece.tail], len(piece.tokens)
            if not piece.tail and (piece.row, offset + length) not in kept_by_row:
                continue  # another row begins with this prompt, perhaps on another rank, and keeps its states
            self.states[offset : offset + length] = states[piece.row, piece.column : piece.column + length]

    def gather(self, batch: PackedBatch) -> Tensor:
        """Return the states of a packed batch, (R, T, H) on the CPU, 0 at padding."""
        shape = (*batch.answer_of.shape, self.states.shape[1])
        result = torch.zeros(shape, dtype=self.states.dtype, pin_memory=torch.cuda.is_available())
        for piece in batch.pieces:
            offset, length = self.offsets[piece.prompt, piece.tail], len(piece.tokens)
            result[piece.row, piece.column : piece.column + length] = self.states[offset : offset + length]
        return result


def by_prompt(sequences: Sequence[TokenSequence]) -> dict[tuple[int, ...], list[TokenSequence]]:
    """Group the sequences by their prompts, each sequence once."""
    found: dict[tuple[int, ...], list[TokenSequence]] = {}
    for sequence in dict.fromkeys(sequences):
        found.setdefault(sequence.prompt, []).append(sequence)
    return found


def offsets_of(sequences: Sequence[TokenSequence], preamble: tuple[int, ...] = ()) -> Pieces:
    """Return the first row of each prompt and tail in a cache of the sequences, after those of the preamble."""
    offsets: Pieces = {(preamble, ()): 0} if preamble else {}
    at = len(preamble)
    # First those that the preamble begins, since the row that holds the first of them keeps the preamble's states.
    groups = sorted(by_prompt(sequences).items(), key=lambda each: not begun_by(each[0], preamble))
    for prompt, group in groups:
        for tail in ((), *(sequence.ids[len(prompt) :] for sequence in group)):
            if (prompt, tail) not in offsets:
                offsets[prompt, tail] = at
                at += _size(prompt, tail, preamble)
    return offsets


def _size(prompt: tuple[int, ...], tail: tuple[int, ...], preamble: tuple[int, ...]) -> int:
    return len(tail) or len(prompt) - begun_by(prompt, preamble)


def _total(offsets: Pieces, preamble: tuple[int, ...]) -> int:
    return sum(_size(prompt, tail, preamble) for prompt, tail in offsets)


def tokens_to_read(sequences: Sequence[TokenSequence], preamble: tuple[int, ...] = ()) -> int:
    """Count the tokens of the sequences, each prompt once, and the preamble once for all of them."""
    return _total(offsets_of(sequences, preamble), preamble)


def shape_of(model: PreTrainedModel, offsets: Pieces, preamble: tuple[int, ...] = ()) -> tuple[int, int]:
    """Return the shape of a cache's states, (tokens, H)."""
    hidden: int = model.config.get_text_config(decoder=True).hidden_size
    return _total(offsets, preamble), hidden


def size_in_bytes(model: PreTrainedModel, sequences: Sequence[TokenSequence], preamble: tuple[int, ...] = ()) -> int:
    """Return the size on disk of a cache of the sequences, in bytes."""
    tokens, hidden = shape_of(model, offsets_of(sequences, preamble), preamble)
    return tokens * hidden * model.dtype.itemsize
