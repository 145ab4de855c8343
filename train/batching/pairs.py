"""Examples become contrast pairs, and contrast pairs become training batches."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, product

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from data.examples import Example
from eavss.batches import TokenSequence
from eavss.pairing import batch_questions
from eavss.profile import PairedBatch
from train.batching.encoding import Encoder
from train.batching.packing import PackedBatch, Packer
from train.batching.row_filling import rows_of


@dataclass(frozen=True)
class ContrastPair:
    """One truthful and one hallucinated answer to a question, and another truthful one where there is any.

    Args:
        chosen, rejected: sequences with their end-of-sequence.
        positive: InfoNCE's positive, with its own; None where the question has one truthful answer, or mu is 0.
    """

    chosen: TokenSequence
    rejected: TokenSequence
    positive: TokenSequence | None = None

    @property
    def sequences(self) -> list[TokenSequence]:
        return [self.chosen, self.rejected, *([self.positive] if self.positive else [])]


class ContrastPairs(Dataset[ContrastPair]):
    """The training pairs, a fixed list, so that a resumed run continues with the pairs it would have seen."""

    def __init__(self, pairs: list[ContrastPair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> ContrastPair:
        return self._pairs[index]

    def __iter__(self) -> Iterator[ContrastPair]:
        return iter(self._pairs)

    def at_most(self, count: int | None, seed: int) -> "ContrastPairs":
        """So many of them, drawn by the seed, in their order; all, if there are no more or `count` is None."""
        if count is None or count >= len(self):
            return self
        return ContrastPairs(
            [self._pairs[index] for index in sorted(random.Random(seed).sample(range(len(self)), count))]
        )

    def sequences(self) -> list[TokenSequence]:
        """Every sequence once."""
        return list(dict.fromkeys(sequence for pair in self._pairs for sequence in pair.sequences))

    def as_text(self, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
        """`prompt`, `chosen` and `rejected` of each pair, as TRL wants them."""
        return [
            {
                "prompt": str(tokenizer.decode(list(pair.chosen.prompt))),
                "chosen": str(tokenizer.decode(list(pair.chosen.answer))),
                "rejected": str(tokenizer.decode(list(pair.rejected.answer))),
            }
            for pair in self._pairs
        ]


def make_pairs(
    examples: list[Example], encoder: Encoder, pairs_per_question: int, with_positive: bool, seed: int
) -> ContrastPairs:
    """Draw up to `pairs_per_question` different pairs from each example."""
    return ContrastPairs(
        [
            ContrastPair(
                encoder(example, right, end=True),
                encoder(example, wrong, end=True),
                encoder(example, positive, end=True) if with_positive and positive is not None else None,
            )
            for example in examples
            for right, wrong, positive in _draw(example, pairs_per_question, seed)
        ]
    )


def _draw(example: Example, count: int, seed: int) -> Iterator[tuple[str, str, str | None]]:
    # Seeded by the question, so that a question's pairs do not depend on which other questions are there.
    generator = random.Random(f"{seed}:{example.question}")
    combinations = list(product(example.truthful, example.hallucinated))
    for right, wrong in generator.sample(combinations, min(count, len(combinations))):
        others = [answer for answer in example.truthful if answer != right]
        yield right, wrong, generator.choice(others) if others else None


@dataclass(frozen=True)
class PairBatch:
    """B pairs as one packed batch.

    Args:
        packed: the sequences of the pairs.
        chosen, rejected: (B,) the numbers of their sequences in `packed`.
        anchors, positives: (P,) those of a truthful answer and another one, of the pairs that have both.
        reference_chosen, reference_rejected: (B,) the base's summed log-probabilities.
    """

    packed: PackedBatch
    chosen: Tensor
    rejected: Tensor
    anchors: Tensor
    positives: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor

    def to(self, device: torch.device | str) -> "PairBatch":
        return PairBatch(*(getattr(self, f.name).to(device) for f in fields(self)))


def collate(
    pairs: list[ContrastPair],
    packer: Packer,
    references: dict[TokenSequence, float],
    more: Sequence[TokenSequence] = (),
) -> PairBatch:
    """Pack the pairs, and `more` sequences after theirs, on the CPU. A prompt that a pair's answers share is read once,
    if the packer packs."""
    firsts = list(accumulate((len(pair.sequences) for pair in pairs), initial=0))[:-1]
    with_positive = [first for first, pair in zip(firsts, pairs, strict=True) if pair.positive]
    anchors = torch.tensor(with_positive, dtype=torch.long)
    positives = anchors + 2
    chosen = torch.tensor(firsts)
    return PairBatch(
        packer([*(pair.sequences for pair in pairs), *([text] for text in more)], unscored=set(positives.tolist())),
        chosen,
        chosen + 1,
        anchors,
        positives,
        torch.tensor([references[pair.chosen] for pair in pairs]),
        torch.tensor([references[pair.rejected] for pair in pairs]),
    )


def split_by_tokens(pairs: list[ContrastPair], token_budget: int, parts: int = 1) -> list[list[ContrastPair]]:
    """The pairs in at least so many parts, each within the budget of tokens (a longer pair is a part of its own)."""
    rows = rows_of([sum(map(len, pair.sequences)) for pair in pairs], token_budget)
    while len(rows) < min(parts, len(pairs)):
        rows.sort(key=len)
        largest = rows.pop()
        rows += [largest[::2], largest[1::2]]
    return [[pairs[i] for i in row] for row in rows]


def paired_batches(
    examples: list[Example], encoder: Encoder, answers: int, token_budget: int, seed: int
) -> list[PairedBatch]:
    """Batches for the profile: up to `answers` truthful and as many hallucinated answers of each example."""
    questions = []
    for example in examples:
        generator = random.Random(f"{seed}:{example.question}")
        sides = (example.truthful, example.hallucinated)
        chosen = [generator.sample(side, min(answers, len(side))) for side in sides]
        questions.append([(kind == 1, encoder(example, a)) for kind, side in enumerate(chosen) for a in side])
    return batch_questions(questions, token_budget)
