"""Examples become contrast pairs, and contrast pairs become training batches."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.examples import Example
from eavss.batches import TokenSequence, group_by_length, pad
from eavss.profile import PairedBatch
from train.encoding import Encoder
from train.likelihood import AnswerScorer


@dataclass(frozen=True)
class ContrastPair:
    """One truthful and one hallucinated answer to a question, and another truthful one where there is any.

    Args:
        chosen, rejected: sequences with their end-of-sequence.
        positive: InfoNCE's positive, without; None where the question has one truthful answer, or mu is 0.
        reference_chosen, reference_rejected: summed log-probabilities with the adapter off.
    """

    chosen: TokenSequence
    rejected: TokenSequence
    positive: TokenSequence | None
    reference_chosen: float
    reference_rejected: float


class ContrastPairs(Dataset[ContrastPair]):
    """The training pairs, a fixed list, so that a resumed run continues with the pairs it would have seen."""

    def __init__(self, pairs: list[ContrastPair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> ContrastPair:
        return self._pairs[index]


def make_pairs(
    examples: list[Example], scorer: AnswerScorer, pairs_per_question: int, with_positive: bool, seed: int
) -> ContrastPairs:
    """Draw up to `pairs_per_question` different pairs from each example, with reference log-probabilities.

    Every answer that is drawn is scored once, by `scorer`, whose model must be the base without an adapter.
    """
    draws = [
        (example, right, wrong, positive)
        for example in examples
        for right, wrong, positive in _draw(example, pairs_per_question, seed)
    ]
    used = list(dict.fromkeys((e, answer) for e, right, wrong, _ in draws for answer in (right, wrong)))
    reference = dict(zip(used, scorer.score(used, "reference log-probabilities"), strict=True))
    encoder = scorer.encoder
    return ContrastPairs(
        [
            ContrastPair(
                encoder(example, right, end=True),
                encoder(example, wrong, end=True),
                encoder(example, positive) if with_positive and positive is not None else None,
                reference[example, right].total,
                reference[example, wrong].total,
            )
            for example, right, wrong, positive in draws
        ]
    )


def _draw(example: Example, count: int, seed: int) -> Iterator[tuple[str, str, str | None]]:
    # Seeded by the question, so that a question's pairs do not depend on which other questions are there.
    generator = random.Random(f"{seed}:{example.question}")
    combinations = list(product(example.truthful, example.hallucinated))
    for right, wrong in generator.sample(combinations, min(count, len(combinations))):
        others = [answer for answer in example.truthful if answer != right]
        yield right, wrong, generator.choice(others) if others else None


def collate(pairs: list[ContrastPair], pad_id: int) -> dict[str, Tensor]:
    """One batch of B pairs: B chosen, B rejected and P positive sequences, in this order, padded to T tokens.

    Returns:
        input_ids, attention_mask, answer_mask, and end_mask (the end-of-sequence tokens): (2B + P, T);
        has_positive: (B,) booleans, P of them True; reference_chosen, reference_rejected: (B,).
    """
    positives = [pair.positive for pair in pairs if pair.positive is not None]
    sequences = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs] + positives
    batch = pad(sequences, pad_id)
    ends = torch.tensor([[sequence.answer_end, len(sequence)] for sequence in sequences])
    positions = torch.arange(batch.input_ids.shape[1])
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "answer_mask": batch.answer_mask,
        "end_mask": (positions >= ends[:, :1]) & (positions < ends[:, 1:]),
        "has_positive": torch.tensor([pair.positive is not None for pair in pairs]),
        "reference_chosen": torch.tensor([pair.reference_chosen for pair in pairs]),
        "reference_rejected": torch.tensor([pair.reference_rejected for pair in pairs]),
    }


def paired_batches(
    examples: list[Example], encoder: Encoder, answers: int, token_budget: int, seed: int
) -> list[PairedBatch]:
    """Batches for the profile: up to `answers` truthful and as many hallucinated answers of each example."""
    questions = []
    for example in examples:
        generator = random.Random(f"{seed}:{example.question}")
        sides = (example.truthful, example.hallucinated)
        chosen = [generator.sample(side, min(answers, len(side))) for side in sides]
        questions.append([(kind, encoder(example, answer)) for kind, side in enumerate(chosen) for answer in side])
    # A question's padded size: its longest sequence times the number of its sequences.
    sizes = [max(len(sequence) for _, sequence in question) * len(question) for question in questions]
    return [_paired([questions[i] for i in group]) for group in group_by_length(sizes, token_budget)]


def _paired(questions: list[list[tuple[int, TokenSequence]]]) -> PairedBatch:
    flat = [(number, kind, sequence) for number, question in enumerate(questions) for kind, sequence in question]
    return PairedBatch(
        pad([sequence for _, _, sequence in flat]),
        torch.tensor([number for number, _, _ in flat]),
        torch.tensor([kind == 1 for _, kind, _ in flat]),
    )
