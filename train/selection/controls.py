"""Score again under conditions that should not change a ranking, and under one that should.

The comparison shows how much of a ranking belongs to the blocks, and how much to the wording, the seed or the prompt.
"""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import TypedDict

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from data.examples import Example
from train.batching.encoding import Encoder

NOISE = 0.01


class Mismatched(TypedDict):
    """Kendall's tau of the mismatched ranking with the plain one, and its sum of scores as a share of the plain sum."""

    tau: float
    share: float


class Controls(TypedDict):
    """How the ranking changes under each control.

    Args:
        tau: Kendall's tau with the plain ranking by control; None where too few questions allow the control.
        equal_lengths_questions: the number of questions with answers of equal length.
        mismatched: the ranking with each question's answers under another question.
        matched_minus_mismatched: each block's plain score less its mismatched one.
    """

    tau: dict[str, float | None]
    equal_lengths_questions: int
    mismatched: Mismatched
    matched_minus_mismatched: list[float]


def under_other_questions(examples: list[Example]) -> list[Example]:
    """Put each question's answers under another question; what is systematic then is wording, not hallucination."""
    half = len(examples) // 2
    others = examples[half:] + examples[:half]
    return [
        replace(example, question=other.question, history=other.history)
        for example, other in zip(examples, others, strict=True)
    ]


def paraphrased(examples: list[Example]) -> list[Example]:
    """Pose the same questions in another prompt: "Q: ...", "A:"."""
    return [
        replace(
            example,
            question=f"{_turns(example)}Q: {example.question}\nA:",
            history=(),
            truthful=tuple(f" {answer}" for answer in example.truthful),
            wrong_answers=tuple(replace(wrong, text=f" {wrong.text}") for wrong in example.wrong_answers),
            pairs=tuple((f" {right}", f" {wrong}") for right, wrong in example.pairs),
            verbatim=True,
        )
        for example in examples
        if not example.verbatim
    ]


def _turns(example: Example) -> str:
    return "".join(f"Q: {said}\nA: {answered}\n\n" for said, answered in example.history)


def with_equal_lengths(examples: list[Example], encoder: Encoder) -> list[Example]:
    """Keep the truthful and the hallucinated answer of each question that are nearest in length.

    Questions whose answers are more than a token apart are left out, so that no block can tell them by their length.
    """
    found = []
    for example in examples:
        answers = (*example.truthful, *example.hallucinated)
        lengths = {a: len(s.answer) for a, s in zip(answers, encoder(example, answers), strict=True)}
        gap, right, wrong = min(
            (abs(lengths[right] - lengths[wrong]), right, wrong) for right, wrong in example.contrasts
        )
        if gap <= 1:
            kept = example.wrong_answers[example.hallucinated.index(wrong)]
            found.append(replace(example, truthful=(right,), wrong_answers=(kept,), pairs=()))
    return found


def halves(examples: list[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Draw two disjoint halves of the examples at random."""
    shuffled = random.Random(seed).sample(examples, len(examples))
    return shuffled[::2], shuffled[1::2]


@contextlib.contextmanager
def noisy_embeddings(model: PreTrainedModel, seed: int) -> Iterator[None]:
    """Add normal noise to the input embeddings in forward passes inside, of 1% of their root mean square."""
    generator = torch.Generator().manual_seed(seed)

    def add_noise(_module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        noise = torch.randn(output.shape, generator=generator).to(output)
        return output + NOISE * output.float().square().mean().sqrt().to(output) * noise

    handle = model.get_input_embeddings().register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()
