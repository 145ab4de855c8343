"""Packing: the answers to one prompt share a row, the prompt is read once, and no answer sees another.

    prompt a a a b b      tokens
    0 1 2  3 4 5 3 4      positions, restarted after the prompt

A block mask hides `a` from `b`, and one question's tokens from those of the next in the same row. What most prompts
begin with, such as answered questions, is read once a row, and the questions there see it.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain, groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.batches import TokenSequence
from eavss.prompt_cache import keeps_keys
from eavss.rewiring import is_rewired
from eavss.shortcuts import agrees
from train.batching.pieces import PREAMBLE, Group, Piece, begun_by, place_row, preamble_of, predictions, row_length
from train.batching.row_filling import fill_rows
from train.model.attention import GROUPED
from train.model.logits import logits_at
from train.runtime.distributed import from_main

PACKED_ANSWERS = "packed answers"
# Whose token a place in a row is, where it is no group's.
_PADDING = -1


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
        pieces: every preamble, prompt and tail.
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
    Whether the model makes positions or masks of its own is found by trying (`eavss.shortcuts`).
    """
    attention = model.config._attn_implementation
    if attention not in ("sdpa", "eager", GROUPED) or not keeps_keys(model) or is_rewired(model):
        return False
    return agrees(model, PACKED_ANSWERS, partial(packed_logits, model))


def packed_logits(model: PreTrainedModel, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the logits (N, V) that predict the answers, all of them in one row; for `eavss.shortcuts`."""
    packer = Packer(model.dtype, model.config._attn_implementation, preamble_of(sequences))
    groups = packer.groups([sequences])
    batch = _pack(groups, [range(len(groups))], packer, ()).to(model.device)
    return logits_at(model, model, batch.inputs | {"use_cache": False}, batch.rows, batch.columns)


@dataclass(frozen=True)
class Packer:
    """Puts groups of sequences into batches, packed where the model allows it.

    Args:
        dtype: the model's dtype.
        attention: the model's attention implementation, `sdpa`, `eager` or `GROUPED`; None for one sequence a row.
        preamble: the tokens that most prompts begin with, which are read once a row; () for none.
    """

    dtype: torch.dtype
    attention: str | None
    preamble: tuple[int, ...] = ()

    @staticmethod
    def of(model: PreTrainedModel, enabled: bool = True, sequences: Sequence[TokenSequence] = ()) -> "Packer":
        """Return a packer that packs if `enabled` and if `model` can be packed, on all ranks if on rank 0.

        Args:
            sequences: all that will be packed; what most of their prompts begin with becomes the preamble.
        """
        if not enabled or not from_main(lambda: can_pack(model)):
            return Packer(model.dtype, None)
        return Packer(model.dtype, model.config._attn_implementation, preamble_of(sequences))

    @property
    def packs(self) -> bool:
        return self.attention is not None

    def length(self, group: Group) -> int:
        """Count the tokens that a group adds to a row."""
        return row_length(group, self.preamble)

    def rows(self, groups: Sequence[Group]) -> list[list[int]]:
        """Divide the groups among rows, and return the indices of each row's groups."""
        if not self.packs:
            return [[index] for index in range(len(groups))]
        shared = any(begun_by(group[0].prompt, self.preamble) for group in groups)
        return fill_rows([self.length(group) for group in groups], len(self.preamble) if shared else 0)

    def divide(self, group: Group, longest: int) -> list[Group]:
        """Divide a group that is over `longest` tokens, or that cannot be packed, into groups that are read at once."""
        parts: list[list[TokenSequence]] = []
        for sequence in group:
            if self.packs and parts and self.length([*parts[-1], sequence]) <= longest:
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
        return _pack(groups, self.rows(groups), self, unscored)


def _pack(
    groups: Sequence[Group], rows: Sequence[Sequence[int]], packer: Packer, unscored: Container[int]
) -> PackedBatch:
    """Pack the groups; `rows` holds the indices of each row's groups."""
    firsts = list(accumulate((len(group) for group in groups), initial=0))
    placed = [list(place_row(groups, members, firsts, row, packer.preamble)) for row, members in enumerate(rows)]
    pieces = [piece for of_row in placed for _, of_group in of_row for piece in of_group]
    shape = (len(rows), max(piece.column + len(piece.tokens) for piece in pieces))
    ids, positions, branch = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
    owner, answer_of = (torch.full(shape, _PADDING) for _ in range(2))
    begun = torch.zeros(shape, dtype=torch.bool)
    predicted: list[tuple[int, int, int, int, bool]] = []
    for index, of_group in chain(*placed):
        for piece in of_group:
            place = (piece.row, slice(piece.column, piece.column + len(piece.tokens)))
            ids[place] = torch.tensor(piece.tokens)
            positions[place] = torch.arange(len(piece.tokens)) + piece.position
            owner[place] = index
            branch[place] = piece.sequence + 1
            begun[place] = index == PREAMBLE or of_group[0].begun > 0
            answer_of[piece.row, piece.column : piece.column + piece.answer] = piece.sequence
        for piece in of_group[1:]:
            if piece.sequence not in unscored:
                predicted += predictions(of_group[0], piece)
    inputs = {"input_ids": ids}
    if packer.attention is None:
        inputs["attention_mask"] = (owner >= 0).long()
    else:
        seen = _block_mask(owner, branch, begun)
        inputs |= {"position_ids": positions, "attention_mask": _as_mask(seen, packer.dtype, packer.attention)}
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


def _block_mask(owner: Tensor, branch: Tensor, begun: Tensor) -> Tensor:
    """Return which tokens each token sees (R, T, T): the earlier ones of its own group's prompt and of its own branch.

    A group that the preamble begins sees the preamble too. Padding sees padding, so that no row of the softmax is
    empty.
    """
    same_group = owner.unsqueeze(2) == owner.unsqueeze(1)  # (R, T, T)
    same_branch = (branch.unsqueeze(2) == branch.unsqueeze(1)) | (branch == 0).unsqueeze(1)  # 0: the prompt
    of_preamble = begun.unsqueeze(2) & (owner == PREAMBLE).unsqueeze(1)
    return ((same_group & same_branch) | of_preamble).tril()


def _as_mask(seen: Tensor, dtype: torch.dtype, attention: str) -> Tensor:
    """Return the mask (R, 1, T, T) that an attention takes: booleans for SDPA, but the others add their mask."""
    seen = seen.unsqueeze(1)
    if attention != "sdpa":
        return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
    return seen
