"""Turn questions with truthful and hallucinated answers into paired batches, and these into a profile."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from eavss.batches import TokenSequence, group_by_length, pad
from eavss.encoding import encode_answers
from eavss.profile import LayerProfile, PairedBatch, profile_model

# Whether an answer is hallucinated, and the answer's tokens after its prompt.
LabelledAnswer = tuple[bool, TokenSequence]


class Question(NamedTuple):
    """A question with its answers.

    Args:
        prompt: the text that the model reads before each answer.
        truthful, hallucinated: the answers. They follow the prompt unchanged, so most begin with a space.
    """

    prompt: str
    truthful: Sequence[str]
    hallucinated: Sequence[str]


def profile_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    token_budget: int = 2048,
    max_length: int = 512,
) -> LayerProfile:
    """Profile a causal LM on questions of your own.

    Args:
        model: any causal LM of transformers.
        tokenizer: its tokenizer.
        questions: at least two. Plain tuples also work.
        token_budget: padded tokens in a batch.
        max_length: tokens of prompt and answer; a longer prompt loses its start.

    Raises:
        EavssError: a question lacks a truthful or a hallucinated answer, or there are fewer than two questions.
    """
    labelled = []
    for prompt, truthful, untruthful in questions:
        kinds = [False] * len(truthful) + [True] * len(untruthful)
        answers = encode_answers(tokenizer, prompt, [*truthful, *untruthful], max_length)
        labelled.append(list(zip(kinds, answers, strict=True)))
    return profile_model(model, batch_questions(labelled, token_budget))


def batch_questions(
    questions: Sequence[Sequence[LabelledAnswer]], token_budget: int, pairs: Sequence[int] | None = None
) -> list[PairedBatch]:
    """Group whole questions of similar length into batches.

    A batch has at most `token_budget` padded tokens, unless one question alone exceeds the budget.

    Args:
        pairs: how many pairs each question's answers make; None where each truthful answer makes a pair with each
            hallucinated one.
    """
    # A question's padded size: its longest sequence times the number of its sequences.
    sizes = [max((len(sequence) for _, sequence in question), default=0) * len(question) for question in questions]
    return [
        _batch([questions[i] for i in group], None if pairs is None else sum(pairs[i] for i in group))
        for group in group_by_length(sizes, token_budget)
    ]


def _batch(questions: list[Sequence[LabelledAnswer]], pairs: int | None) -> PairedBatch:
    flat = [(number, *answer) for number, question in enumerate(questions) for answer in question]
    return PairedBatch(
        pad([sequence for _, _, sequence in flat]),
        torch.tensor([number for number, _, _ in flat]),
        torch.tensor([hallucinated for _, hallucinated, _ in flat]),
        pairs,
    )
