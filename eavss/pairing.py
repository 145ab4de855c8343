"""Questions with truthful and hallucinated answers become paired batches, and these a profile."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from eavss.batches import TokenSequence, encode, group_by_length, pad
from eavss.profile import LayerProfile, PairedBatch, profile_model

# An answer's tokens after its prompt, and whether it is hallucinated.
LabelledAnswer = tuple[bool, TokenSequence]


class Question(NamedTuple):
    """A prompt, as the model is to see it, with answers that follow it as they stand: mostly " " and a text."""

    prompt: str
    truthful: Sequence[str]
    hallucinated: Sequence[str]


def profile_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    token_budget: int = 2048,
    max_length: int = 512,
) -> LayerProfile:
    """The profile of any causal LM on questions of one's own.

    Args:
        questions: at least two; plain tuples will do.
        token_budget: padded tokens in a batch.
        max_length: tokens of prompt and answer; the prompt's start is cut.

    Raises:
        EavssError: a question lacks a truthful or a hallucinated answer, or there are fewer than two.
    """
    judged = [
        [
            (hallucinated, encode(tokenizer, prompt, answer, max_length))
            for hallucinated, answers in ((False, truthful), (True, untruthful))
            for answer in answers
        ]
        for prompt, truthful, untruthful in questions
    ]
    return profile_model(model, batch_questions(judged, token_budget))


def batch_questions(questions: Sequence[Sequence[LabelledAnswer]], token_budget: int) -> list[PairedBatch]:
    """Whole questions of like length in batches of at most so many padded tokens (or of one question)."""
    # A question's padded size: its longest sequence times the number of its sequences.
    sizes = [max((len(sequence) for _, sequence in question), default=0) * len(question) for question in questions]
    return [_batch([questions[i] for i in group]) for group in group_by_length(sizes, token_budget)]


def _batch(questions: list[Sequence[LabelledAnswer]]) -> PairedBatch:
    flat = [(number, *answer) for number, question in enumerate(questions) for answer in question]
    return PairedBatch(
        pad([sequence for _, _, sequence in flat]),
        torch.tensor([number for number, _, _ in flat]),
        torch.tensor([hallucinated for _, hallucinated, _ in flat]),
    )
