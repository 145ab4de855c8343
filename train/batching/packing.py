"""Packing: the answers to one prompt share a row, the prompt is read once, and no answer sees another.

    prompt a a a b b      tokens
    0 1 2  3 4 5 3 4      positions, restarted after the prompt

A block mask hides `a` from `b`, and one question's tokens from those of the next in the same row.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import accumulate, groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence
from eavss.prompt_cache import can_share
from train.batching.row_filling import fill_rows

# The sequences of one prompt: TokenSequences with equal `prompt`.
Group = Sequence[TokenSequence]


@dataclass(frozen=True)
class Piece:
    """A prompt, or the tokens that follow one (the tail), and its place in a batch.

    Args:
        row, column: the place of its first token.
        prompt, tail: token ids; a prompt itself has no tail.
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
        inputs: the model's keyword arguments: input_ids (R, T), and the attention mask and positions that fit.
        rows, columns: (N,) the place of the token before each of the N.
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
        """Sum the log-probabilities of each sequence's answer, without its end-of-sequence; (N,) -> (S,)."""
        return logprobs.new_zeros(self.count).index_add(0, self.sequence, logprobs * self.in_answer)

    def answer_means(self, states: Tensor) -> Tensor:
        """Average `states` (R, T, H) over each sequence's answer, in float32; (S, H)."""
        rows, columns = (self.answer_of >= 0).nonzero(as_tuple=True)
        sequence = self.answer_of[rows, columns]
        totals = torch.zeros(self.count, states.shape[-1], device=states.device)
        totals = totals.index_add(0, sequence, states[rows, columns].float())
        return totals / torch.bincount(sequence, minlength=self.count).unsqueeze(1)

    def to(self, device: torch.device | str) -> "PackedBatch":
        """Return the same batch with its tensors on `device`."""
        return replace(
            self,
            inputs={name: value.to(device) for name, value in self.inputs.items()},
            rows=self.rows.to(device),
            columns=self.columns.to(device),
            targets=self.targets.to(device),
            sequence=self.sequence.to(device),
            in_answer=self.in_answer.to(device),
            answer_of=self.answer_of.to(device),
        )


def can_pack(model: PreTrainedModel) -> bool:
    """Return whether `model` obeys a block mask with restarted positions.

    Flash attention takes no such mask. A sliding window or a recurrent state would count the answers in between.
    Positions that a model makes itself (ALiBi) cannot be restarted.
    """
    takes_masks = model.config._attn_implementation in ("sdpa", "eager")
    takes_positions = "position_ids" in signature(model.forward).parameters
    return takes_masks and takes_positions and not getattr(model.config, "alibi", False) and can_share(model)


@dataclass(frozen=True)
class Packer:
    """Puts groups of sequences into batches, packed where the model allows it.

    Args:
        dtype: the model's dtype.
        attention: the model's attention implementation, `sdpa` or `eager`; None for one sequence a row.
    """

    dtype: torch.dtype
    attention: str | None

    @staticmethod
    def of(model: PreTrainedModel, enabled: bool = True) -> "Packer":
        """Return a packer that packs if `enabled` and if `model` can be packed."""
        return Packer(model.dtype, model.config._attn_implementation if enabled and can_pack(model) else None)

    @property
    def packs(self) -> bool:
        return self.attention is not None

    def divide(self, group: Group, longest: int) -> list[Group]:
        """Divide a group that is over `longest` tokens, or that cannot be packed, into groups that are read at once."""
        parts: list[list[TokenSequence]] = []
        for sequence in group:
            if self.packs and parts and row_length([*parts[-1], sequence]) <= longest:
                parts[-1].append(sequence)
            else:
                parts.append([sequence])
        return list(parts)

    def groups(self, groups: Sequence[Group]) -> list[Group]:
        """Regroup the sequences, in the same order, so that each group can be read at once."""
        if not self.packs:
            return [[sequence] for group in groups for sequence in group]
        # A long answer may have cut the start of its prompt, so that it no longer shares it.
        return [list(same) for group in groups for _, same in groupby(group, key=lambda sequence: sequence.prompt)]

    def __call__(self, groups: Sequence[Group], unscored: Container[int] = ()) -> PackedBatch:
        """Pack the groups into one batch on the CPU; their sequences are numbered in their order.

        Args:
            unscored: numbers of the sequences whose tokens are not to be predicted.
        """
        groups = self.groups(groups)
        lengths = [row_length(group) for group in groups]
        rows = fill_rows(lengths) if self.packs else [[index] for index in range(len(groups))]
        return _pack(groups, rows, self.dtype, self.attention, unscored)


def row_length(group: Group) -> int:
    """Count a group's tokens: its prompt once, and every tail."""
    start = group[0].answer_start
    return start + sum(len(sequence) - start for sequence in group)


def _pack(
    groups: Sequence[Group],
    rows: Sequence[Sequence[int]],
    dtype: torch.dtype,
    attention: str | None,
    unscored: Container[int],
) -> PackedBatch:
    """Pack the groups; `rows` holds the indices of each row's groups."""
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
    return PackedBatch(
        inputs=inputs,
        rows=rows_,
        columns=columns,
        targets=targets,
        sequence=sequence,
        in_answer=in_answer.bool(),
        answer_of=answer_of,
        count=firsts[-1],
        pieces=pieces,
    )


def _place(group: Group, row: int, column: int, first: int) -> list[Piece]:
    """Place the group's prompt and tails side by side from `column` on; its sequences are numbered from `first`."""
    prompt = group[0].prompt
    pieces = [Piece(row, column, prompt)]
    for number, sequence in enumerate(group, first):
        end = pieces[-1].column + len(pieces[-1].tokens)
        tail = sequence.ids[len(prompt) :]
        pieces.append(Piece(row, end, prompt, tail, sequence=number, answer=len(sequence.answer)))
    return pieces


def _predictions(prompt: Piece, tail: Piece) -> Iterator[tuple[int, int, int, int, bool]]:
    """Yield row, column, target, sequence and in_answer of a tail's tokens; the prompt predicts the first."""
    columns = [prompt.column + len(prompt.tokens) - 1, *range(tail.column, tail.column + len(tail.tokens) - 1)]
    for step, (column, token) in enumerate(zip(columns, tail.tail, strict=True)):
        yield tail.row, column, token, tail.sequence, step < tail.answer


def _block_mask(owner: Tensor, branch: Tensor, dtype: torch.dtype, attention: str) -> Tensor:
    """Make the mask (R, 1, T, T): a token sees the earlier tokens of its own group's prompt and of its own branch.

    Padding sees padding, so that no row of the softmax is empty. SDPA takes booleans. Eager attention adds its mask,
    so it would read True as 1.
    """
    same_group = owner.unsqueeze(2) == owner.unsqueeze(1)  # (R, T, T)
    same_branch = (branch.unsqueeze(2) == branch.unsqueeze(1)) | (branch == 0).unsqueeze(1)  # 0: the prompt
    seen = (same_group & same_branch).tril().unsqueeze(1)
    if attention == "eager":
        return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    return seen
