"""Encode a prompt and its answer as token ids, and pad many of them to one batch."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from eavss.errors import EavssError


@dataclass(frozen=True)
class TokenSequence:
    """The token ids of a prompt and its answer, which spans `answer_start` to `answer_end`.

    An end-of-sequence token may follow the answer.
    """

    ids: tuple[int, ...]
    answer_start: int
    answer_end: int

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


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answer: str,
    max_length: int = 512,
    end: bool = False,
    special_tokens: bool = True,
) -> TokenSequence:
    """Tokenise the prompt and the answer separately, and join them.

    A sequence longer than `max_length` loses the start of its prompt. If that is not enough, it also loses the end of
    its answer. At least one prompt token stays, because the answer's first token is predicted from it.

    Args:
        end: add the end-of-sequence token after the answer.
        special_tokens: add the tokens that the tokenizer puts before a text. A chat template brings its own.

    Raises:
        EavssError: the prompt or the answer has no token, or `max_length` leaves no room for both.
    """
    prompt_ids: list[int] = tokenizer(prompt, add_special_tokens=special_tokens)["input_ids"]
    answer_ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    if special_tokens and prompt_ids and prompt_ids[-1] == tokenizer.eos_token_id:
        prompt_ids = prompt_ids[:-1]  # tokenizers that end every text with eos would end the prompt before its answer
    if not prompt_ids or not answer_ids:
        raise EavssError(f"no token in the {'answer' if prompt_ids else 'prompt'} of {prompt!r} + {answer!r}")
    ending = [tokenizer.eos_token_id] if end and tokenizer.eos_token_id is not None else []
    if max_length < 2 + len(ending):
        raise EavssError(f"max_length: {max_length} leaves no room for a prompt and an answer")
    answer_ids = answer_ids[: max_length - 1 - len(ending)]
    prompt_ids = prompt_ids[-(max_length - len(answer_ids) - len(ending)) :]
    start = len(prompt_ids)
    return TokenSequence(tuple(prompt_ids + answer_ids + ending), start, start + len(answer_ids))


def encode_as_one(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, max_length: int) -> TokenSequence:
    """Tokenise prompt and answer as one text, as lm-evaluation-harness does.

    The answer starts where the tokens of the prompt alone end. White space at the prompt's end belongs to the answer.
    A sequence longer than `max_length` loses its start.
    """
    start = len(tokenizer(prompt.rstrip())["input_ids"])
    ids: list[int] = tokenizer(prompt + answer)["input_ids"]
    cut = max(0, len(ids) - max_length)
    # An answer too long for the limit still leaves the first token kept to predict the rest from.
    return TokenSequence(tuple(ids[cut:]), max(1, start - cut), len(ids) - cut)


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
