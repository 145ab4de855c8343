"""Answers to one prompt in one row: the prompt is read once, and no answer sees another.

    prompt a a a b b      tokens
    0 1 2  3 4 5 3 4      positions, restarted after the prompt

A block mask hides `a` from `b`, and one question's tokens from those of the next in the same row.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence
from train.batching.row_filling import fill_rows
from train.model.prompt_cache import can_share

# The sequences of one prompt: TokenSequences with equal `prompt`.
Group = Sequence[TokenSequence]


@dataclass(frozen=True)
class Piece:
    """A prompt (no tail), or the tokens that follow it (the tail), and where they stand in a batch.

    Args:
        row, column: of its first token.
        prompt, tail: token ids.
        sequence: the number of the tail's sequence; -1 for a prompt.
        answer: how many of the tail's tokens are the answer; an end-of-sequence may follow.
    """

    row: int
    column: int
    prompt: tuple[int, ...]
    tail: tuple[int, ...] = ()
    sequence: int = -1
    answer: int = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.tail or self.prompt


@dataclass(frozen=True)
class PackedBatch:
    """S sequences in R rows of T tokens, of which N tokens are to be predicted.

    Args:
        inputs: what a model is called with: input_ids (R, T), and the attention mask and positions that fit.
        rows, columns: (N,) where the token before each of the N stands.
        targets: (N,) the tokens to predict.
        sequence: (N,) which of the S sequences each belongs to, in the order of the groups.
        in_answer: (N,) booleans; False for an end-of-sequence.
        answer_of: (R, T) which sequence's answer a token is part of; -1 for prompts, ends and padding.
        count: S.
        pieces: every prompt and tail.
    """

    inputs: dict[str, Tensor]
    rows: Tensor
    columns: Tensor
    targets: Tensor
    sequence: Tensor
    in_answer: Tensor
    answer_of: Tensor
    count: int
    pieces: list[Piece]

    def answer_sums(self, logprobs: Tensor) -> Tensor:
        """The summed log-probability of each sequence's answer, without its end-of-sequence; (N,) -> (S,)."""
        return logprobs.new_zeros(self.count).index_add(0, self.sequence, logprobs * self.in_answer)

    def answer_means(self, states: Tensor) -> Tensor:
        """The mean of `states` (R, T, H) over each sequence's answer, in float32; (S, H)."""
        rows, columns = (self.answer_of >= 0).nonzero(as_tuple=True)
        sequence = self.answer_of[rows, columns]
        totals = torch.zeros(self.count, states.shape[-1], device=states.device)
        totals = totals.index_add(0, sequence, states[rows, columns].float())
        return totals / torch.bincount(sequence, minlength=self.count).unsqueeze(1)

    def tokens_of_last(self, sequences: int) -> Tensor:
        """Which of the N tokens belong to the last sequences, one sequence after the other."""
        numbers = range(self.count - sequences, self.count)
        return torch.cat([(self.sequence == number).nonzero().flatten() for number in numbers])

    def to(self, device: torch.device | str) -> "PackedBatch":
        """The same batch with its tensors on `device`."""
        moved: dict[str, Any] = {k: value.to(device) for k, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved, inputs={name: value.to(device) for name, value in self.inputs.items()})


def can_pack(model: PreTrainedModel) -> bool:
    """Whether `model` obeys a block mask with restarted positions.

    Flash attention takes no such mask, a window or a recurrent state would count the answers between, and positions
    that a model makes itself (ALiBi) cannot be restarted.
    """
    takes_masks = model.config._attn_implementation in ("sdpa", "eager")
    takes_positions = "position_ids" in signature(model.forward).parameters
    return takes_masks and takes_positions and not getattr(model.config, "alibi", False) and can_share(model)


@dataclass(frozen=True)
class Packer:
    """Puts groups of sequences into batches, packed where the model allows it.

    Args:
        dtype: the model's.
        attention: its attention implementation, `sdpa` or `eager`; None: one sequence a row.
    """

    dtype: torch.dtype
    attention: str | None

    @staticmethod
    def of(model: PreTrainedModel, wanted: bool = True) -> "Packer":
        """One that packs if it is wanted and `model` can."""
        return Packer(model.dtype, model.config._attn_implementation if wanted and can_pack(model) else None)

    @property
    def packs(self) -> bool:
        return self.attention is not None

    def divide(self, group: Group, longest: int) -> list[Group]:
        """The group as one that is read at once; or as several, if it is over `longest` tokens or cannot be packed."""
        parts: list[list[TokenSequence]] = []
        for sequence in group:
            if self.packs and parts and row_length([*parts[-1], sequence]) <= longest:
                parts[-1].append(sequence)
            else:
                parts.append([sequence])
        return list(parts)

    def groups(self, groups: Sequence[Group]) -> list[Group]:
        """The same sequences in the same order, in groups that can be read at once."""
        if not self.packs:
            return [[sequence] for group in groups for sequence in group]
        # A long answer may have cut the start of its prompt, which it then shares no more.
        return [list(same) for group in groups for _, same in groupby(group, key=lambda sequence: sequence.prompt)]

    def __call__(self, groups: Sequence[Group], unscored: Container[int] = ()) -> PackedBatch:
        """The groups, whose sequences are numbered in their order, as one batch on the CPU.

        Args:
            unscored: numbers of sequences of which nothing is to be predicted.
        """
        groups = self.groups(groups)
        lengths = [row_length(group) for group in groups]
        rows = fill_rows(lengths) if self.packs else [[index] for index in range(len(groups))]
        return _pack(groups, rows, self.dtype, self.attention, unscored)


def row_length(group: Group) -> int:
    """The tokens that a group takes up: its prompt once, and every tail."""
    start = group[0].answer_start
    return start + sum(len(sequence) - start for sequence in group)


def _pack(
    groups: Sequence[Group],
    rows: Sequence[Sequence[int]],
    dtype: torch.dtype,
    attention: str | None,
    unscored: Container[int],
) -> PackedBatch:
    """`rows` holds the indices of each row's groups."""
    firsts = list(accumulate((len(group) for group in groups), initial=0))
    shape = (len(rows), max(sum(row_length(groups[i]) for i in row) for row in rows))
    ids, positions, branch = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    owner, answer_of = (torch.full(shape, -1) for _ in range(2))
    pieces: list[Piece] = []
    predicted: list[tuple[int, int, int, int, bool]] = []
    for row, members in enumerate(rows):
        column = 0
        for index in members:
            placed = _place(groups[index], row, column, firsts[index])
            column += row_length(groups[index])
            pieces += placed
            for piece in placed:
                place = (row, slice(piece.column, piece.column + len(piece.tokens)))
                ids[place] = torch.tensor(piece.tokens)
                positions[place] = torch.arange(len(piece.tokens)) + (len(piece.prompt) if piece.tail else 0)
                owner[place] = index
                branch[place] = piece.sequence + 1
                answer_of[row, piece.column : piece.column + piece.answer] = piece.sequence
            for piece in placed[1:]:
                if piece.sequence not in unscored:
                    predicted += _predictions(placed[0], piece)
    inputs = {"input_ids": ids}
    if attention is None:
        inputs["attention_mask"] = (owner >= 0).long()
    else:
        inputs |= {"position_ids": positions, "attention_mask": _block_mask(owner, branch, dtype, attention)}
    rows_, columns, targets, sequence, in_answer = torch.tensor(predicted).unbind(1)
    return PackedBatch(inputs, rows_, columns, targets, sequence, in_answer.bool(), answer_of, firsts[-1], pieces)


def _place(group: Group, row: int, column: int, first: int) -> list[Piece]:
    """The group's prompt and tails side by side, from `column` on; its sequences are numbered from `first`."""
    prompt = group[0].prompt
    pieces = [Piece(row, column, prompt)]
    for number, sequence in enumerate(group, first):
        end = pieces[-1].column + len(pieces[-1].tokens)
        pieces.append(Piece(row, end, prompt, sequence.ids[len(prompt) :], number, len(sequence.answer)))
    return pieces


def _predictions(prompt: Piece, tail: Piece) -> Iterator[tuple[int, int, int, int, bool]]:
    """Row, column, target, sequence, in_answer of a tail's tokens; the prompt's last token predicts the first."""
    columns = [prompt.column + len(prompt.tokens) - 1, *range(tail.column, tail.column + len(tail.tokens) - 1)]
    for step, (column, token) in enumerate(zip(columns, tail.tail, strict=True)):
        yield tail.row, column, token, tail.sequence, step < tail.answer


def _block_mask(owner: Tensor, branch: Tensor, dtype: torch.dtype, attention: str) -> Tensor:
    """(R, 1, T, T): a token sees what stands before it in its own group's prompt and its own branch.

    Padding sees padding, so that no row of the softmax is empty. SDPA takes booleans; eager attention adds its mask,
    and would take True for 1.
    """
    same_group = owner.unsqueeze(2) == owner.unsqueeze(1)  # (R, T, T)
    same_branch = (branch.unsqueeze(2) == branch.unsqueeze(1)) | (branch == 0).unsqueeze(1)  # 0: the prompt
    seen = (same_group & same_branch).tril().unsqueeze(1)
    if attention == "eager":
        return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    return seen
