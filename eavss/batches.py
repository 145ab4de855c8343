"""A prompt and its answer as token ids, and many of them padded to one batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal

import torch
from torch import Tensor

# What a sequence has lost: the start of its prompt alone, or also the end of its answer.
Cut = Literal["prompt", "answer"]


@dataclass(frozen=True)
class TokenSequence:
    """The token ids of a prompt and its answer, which spans `answer_start` to `answer_end`.

    An end-of-sequence token may follow the answer. Sequences of equal tokens are equal, whatever was cut from them.
    """

    ids: tuple[int, ...]
    answer_start: int
    answer_end: int
    cut: Cut | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.ids[: self.answer_start]

    @property
    def answer(self) -> tuple[int, ...]:
        return self.ids[self.answer_start : self.answer_end]


@dataclass(frozen=True)
class Batch:
    """A batch of B sequences, padded on the right to T tokens.

    Args:
        input_ids: (B, T) integers.
        attention_mask: (B, T) integers, 1 for real tokens. It is made from the lengths, because the pad id is often
            that of the end-of-sequence token.
        answer_mask: (B, T) booleans, True for the answer's tokens.
    """

    input_ids: Tensor
    attention_mask: Tensor
    answer_mask: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def pad(sequences: list[TokenSequence], pad_id: int = 0) -> Batch:
    """Pad sequences on the right to the length of the longest, and return them as one batch."""
    width = max(len(sequence) for sequence in sequences)
    positions = torch.arange(width).unsqueeze(0)  # (1, T)
    lengths, starts, ends = (
        torch.tensor(values).unsqueeze(1)  # (B, 1)
        for values in zip(*((len(s), s.answer_start, s.answer_end) for s in sequences), strict=True)
    )
    ids = torch.tensor([[*sequence.ids, *[pad_id] * (width - len(sequence))] for sequence in sequences])
    return Batch(ids, (positions < lengths).long(), (positions >= starts) & (positions < ends))


def group_by_length(lengths: list[int], token_budget: int) -> Iterator[list[int]]:
    """Yield groups of indices of similar length, the longest first.

    A group has at most `token_budget` tokens once padded. An index that alone exceeds the budget gets its own group.
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if group and (len(group) + 1) * lengths[group[0]] > token_budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
