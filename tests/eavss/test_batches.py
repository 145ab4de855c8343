"""Prompts and answers as token ids. The toy tokenizer makes one token of each byte."""

import random

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from eavss.batches import TokenSequence, encode, group_by_length, pad
from eavss.errors import EavssError
from tests.toys import EOS, tiny_tokenizer


def parts(tokenizer: PreTrainedTokenizerFast, sequence: TokenSequence) -> tuple[str, str, str]:
    """The texts before, in and after the answer's span."""
    ids = list(sequence.ids)
    spans = ids[: sequence.answer_start], ids[sequence.answer_start : sequence.answer_end], ids[sequence.answer_end :]
    before, answer, after = (tokenizer.decode(span) for span in spans)
    return before, answer, after


@pytest.mark.parametrize(("end", "after"), [(False, ""), (True, EOS)])
def test_answer_span(tokenizer: PreTrainedTokenizerFast, end: bool, after: str) -> None:
    """14 bytes of prompt, 6 of answer; the end-of-sequence token is not of the answer."""
    sequence = encode(tokenizer, "Question?\nA: ", " Zürich"[:5], end=end)
    assert parts(tokenizer, sequence) == ("Question?\nA: ", " Züri", after)
    assert (sequence.answer_start, sequence.answer_end, len(sequence)) == (13, 19, 19 + bool(end))


def test_prompt_and_answer_are_tokenised_apart(tokenizer: PreTrainedTokenizerFast) -> None:
    """A tokenizer that merges "e" and " f" would do so in the joined text, not across the border."""
    sequence = encode(tokenizer, "abc", " def")
    prompt, answer = tokenizer("abc")["input_ids"], tokenizer(" def")["input_ids"]
    assert sequence == TokenSequence((*prompt, *answer), 3, 7)


@pytest.mark.parametrize(
    ("max_length", "end", "expected"),
    [
        (14, False, ("0123456789", "abcd", "")),
        (13, False, ("123456789", "abcd", "")),
        (14, True, ("123456789", "abcd", EOS)),
        (5, False, ("9", "abcd", "")),
        (6, True, ("9", "abcd", EOS)),
        (4, False, ("9", "abc", "")),
        (5, True, ("9", "abc", EOS)),
        (2, False, ("9", "a", "")),
        (3, True, ("9", "a", EOS)),
    ],
)
def test_truncation(
    tokenizer: PreTrainedTokenizerFast, max_length: int, end: bool, expected: tuple[str, str, str]
) -> None:
    """10 + 4 tokens: the prompt loses its start down to one token, and only then the answer its end."""
    sequence = encode(tokenizer, "0123456789", "abcd", max_length=max_length, end=end)
    assert parts(tokenizer, sequence) == expected
    assert len(sequence) == min(max_length, 14 + end)


@pytest.mark.parametrize(
    ("prompt", "answer", "what"),
    [("Q:", "", "no token in the answer of 'Q:'"), ("", " x", "no token in the prompt of ''"), ("", "", "the prompt")],
)
def test_nothing_to_tokenise_is_an_error(
    tokenizer: PreTrainedTokenizerFast, prompt: str, answer: str, what: str
) -> None:
    with pytest.raises(EavssError, match=what):
        encode(tokenizer, prompt, answer, end=True)


def tokenizer_that_adds(template: str) -> PreTrainedTokenizerFast:
    """The toy, with special tokens around every text."""
    made = tiny_tokenizer()
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(EOS, made.eos_token_id)]
    )
    return made


@pytest.mark.parametrize(("special_tokens", "before"), [(True, f"{EOS}ab"), (False, "ab")])
def test_token_that_starts_a_text_starts_the_prompt_alone(special_tokens: bool, before: str) -> None:
    starting = tokenizer_that_adds(f"{EOS} $A")
    assert parts(starting, encode(starting, "ab", " c", special_tokens=special_tokens)) == (before, " c", "")


@pytest.mark.parametrize("end", [False, True])
def test_token_that_ends_a_text_does_not_end_the_prompt(end: bool) -> None:
    ending = tokenizer_that_adds(f"$A {EOS}")
    assert parts(ending, encode(ending, "ab", " c", end=end)) == ("ab", " c", EOS * end)


def test_end_that_a_chat_template_writes_stays(tokenizer: PreTrainedTokenizerFast) -> None:
    sequence = encode(tokenizer, f"ab{EOS}", "c", special_tokens=False)
    assert parts(tokenizer, sequence) == (f"ab{EOS}", "c", "")


def test_tokenizer_without_an_end_adds_none() -> None:
    endless = tiny_tokenizer()
    endless.eos_token = None
    assert parts(endless, encode(endless, "ab", "c", end=True)) == ("ab", "c", "")


def test_pad() -> None:
    """Lengths 4 and 2, padded with 9, which is also a real token of the first sequence: the lengths decide."""
    batch = pad([TokenSequence((5, 9, 6, 9), 1, 3), TokenSequence((7, 8), 1, 2)], pad_id=9)
    assert batch.input_ids.tolist() == [[5, 9, 6, 9], [7, 8, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.answer_mask.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == torch.long
    assert batch.answer_mask.dtype == torch.bool


def test_pad_of_one_sequence_adds_nothing() -> None:
    batch = pad([TokenSequence((5, 6, 7), 2, 3)])
    assert batch.input_ids.tolist() == [[5, 6, 7]]
    assert batch.attention_mask.all()


def test_batch_moves_as_a_whole() -> None:
    moved = pad([TokenSequence((5, 6), 1, 2)]).to("meta")
    tensors = (moved.input_ids, moved.attention_mask, moved.answer_mask)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.parametrize(
    ("lengths", "budget", "groups"),
    [
        ([], 10, []),
        ([3], 10, [[0]]),
        ([2, 5, 3, 5], 10, [[1, 3], [2, 0]]),
        ([1, 1, 1, 1], 3, [[0, 1, 2], [3]]),
        ([5, 5], 9, [[0], [1]]),
        ([2, 30, 2], 10, [[1], [0, 2]]),
        ([20, 30], 10, [[1], [0]]),
    ],
)
def test_group_by_length(lengths: list[int], budget: int, groups: list[list[int]]) -> None:
    assert list(group_by_length(lengths, budget)) == groups


def test_groups_hold_every_index_once_and_keep_the_budget() -> None:
    lengths = random.Random(0).choices(range(1, 60), k=200)
    groups = list(group_by_length(lengths, 120))
    assert sorted(index for group in groups for index in group) == list(range(200))
    assert all(len(group) * max(lengths[i] for i in group) <= 120 for group in groups)
    flat = [lengths[index] for group in groups for index in group]
    assert flat == sorted(lengths, reverse=True)
    # No group could have taken the next one's first index.
    assert all((len(a) + 1) * lengths[a[0]] > 120 for a in groups[:-1])
