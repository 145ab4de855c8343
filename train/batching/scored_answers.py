"""Examples become the batches that the profile is made from."""

import random
from typing import NamedTuple

from data.examples import Example
from eavss.batches import TokenSequence
from eavss.pairing import batch_questions
from eavss.profile import PairedBatch
from train.batching.cuts import say_cuts
from train.batching.encoding import Encoder


def paired_batches(
    examples: list[Example], encoder: Encoder, answers: int, token_budget: int, seed: int
) -> list[PairedBatch]:
    """Make the profile's batches from up to `answers` truthful and as many hallucinated answers of each example.

    Where the data say which answers are pairs, up to `answers` pairs are taken. What had to be cut is said. Answers
    that are truthful and hallucinated alike, before or after the cut, are left out.

    Raises:
        RecipeError: no question is left.
    """
    scored = [_scored_answers(example, encoder, answers, seed) for example in examples]
    kept = [question for question in scored if question.truthful and question.hallucinated]
    sequences = [[*question.truthful, *question.hallucinated] for question in scored]
    say_cuts("questions to score", sequences, encoder.max_length, equal=len(scored) - len(kept))
    labelled = [
        [(False, s) for s in question.truthful] + [(True, s) for s in question.hallucinated] for question in kept
    ]
    return batch_questions(labelled, token_budget, [question.pairs for question in kept])


class _ScoredAnswers(NamedTuple):
    """The answers of one question that are scored, and how many pairs they make."""

    truthful: list[TokenSequence]
    hallucinated: list[TokenSequence]
    pairs: int


def _scored_answers(example: Example, encoder: Encoder, count: int, seed: int) -> _ScoredAnswers:
    generator = random.Random(f"{seed}:{example.conversation}")
    if example.pairs:
        texts = generator.sample(example.pairs, min(count, len(example.pairs)))
        sequences = encoder(example, [text for pair in texts for text in pair])
        pairs = [pair for pair in zip(sequences[::2], sequences[1::2], strict=True) if pair[0] != pair[1]]
        return _ScoredAnswers([right for right, _ in pairs], [wrong for _, wrong in pairs], len(pairs))
    kinds = (example.truthful, example.hallucinated)
    right, wrong = (generator.sample(kind, min(count, len(kind))) for kind in kinds)
    sequences = encoder(example, [*right, *wrong])
    truthful = sequences[: len(right)]
    hallucinated = [sequence for sequence in sequences[len(right) :] if sequence not in truthful]
    return _ScoredAnswers(truthful, hallucinated, len(truthful) * len(hallucinated))
