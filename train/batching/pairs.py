"""Examples become contrast pairs, and contrast pairs become training batches."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from data.examples import Example
from eavss.batches import TokenSequence
from train.batching.cuts import say_cuts
from train.batching.encoding import Encoder
from train.batching.packing import PackedBatch, Packer
from train.batching.row_filling import rows_of


@dataclass(frozen=True)
class ContrastPair:
    """One truthful and one hallucinated answer to a question, and another truthful one where there is one.

    Args:
        chosen, rejected: the truthful and the hallucinated sequence, with their end-of-sequence tokens.
        positive: InfoNCE's positive; None where the question has one truthful answer, or InfoNCE has weight 0.
        declines: one of the two is the model's own answer to the question, and the other one declines it.
    """

    chosen: TokenSequence
    rejected: TokenSequence
    positive: TokenSequence | None = None
    declines: bool = field(default=False, kw_only=True)

    @property
    def sequences(self) -> list[TokenSequence]:
        return [self.chosen, self.rejected, *([self.positive] if self.positive else [])]


class ContrastPairs(Dataset[ContrastPair]):
    """A fixed list of training pairs, so that a resumed run continues with the pairs it would have seen."""

    def __init__(self, pairs: list[ContrastPair]) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> ContrastPair:
        return self._pairs[index]

    def __iter__(self) -> Iterator[ContrastPair]:
        return iter(self._pairs)

    def at_most(self, count: int | None, seed: int) -> "ContrastPairs":
        """Draw `count` pairs by the seed and keep their order; keep all if there are no more or `count` is None."""
        if count is None or count >= len(self):
            return self
        return ContrastPairs(
            [self._pairs[index] for index in sorted(random.Random(seed).sample(range(len(self)), count))]
        )

    def joined(self, others: "ContrastPairs") -> "ContrastPairs":
        """Return these pairs and others."""
        return ContrastPairs([*self._pairs, *others])

    def sequences(self) -> list[TokenSequence]:
        """Return every sequence once."""
        return list(dict.fromkeys(sequence for pair in self._pairs for sequence in pair.sequences))

    def as_text(self, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
        """Return each pair as a row with the columns `prompt`, `chosen` and `rejected`, as TRL reads them."""
        return [_as_text(pair, tokenizer) for pair in self._pairs]


def _as_text(pair: ContrastPair, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    # Decoded as wholes, since the space before an answer belongs to its first token only after the prompt. The token
    # that begins a sequence is put there by the tokenizer.
    begun = pair.chosen.ids[0] == tokenizer.bos_token_id
    prompt, chosen, rejected = (
        str(tokenizer.decode(list(ids[begun:])))
        for ids in (pair.chosen.prompt, *(each.ids[: each.answer_end] for each in (pair.chosen, pair.rejected)))
    )
    return {"prompt": prompt, "chosen": chosen[len(prompt) :], "rejected": rejected[len(prompt) :]}


def make_pairs(
    examples: list[Example], encoder: Encoder, pairs_per_question: int, with_positive: bool, seed: int
) -> ContrastPairs:
    """Draw up to `pairs_per_question` different pairs from each example, and say what had to be cut from them.

    A pair whose two answers have equal tokens, before or after the cut, teaches nothing and is left out.

    Args:
        with_positive: also draw a second truthful answer where there is one, for InfoNCE.

    Raises:
        RecipeError: no pair is left.
    """
    drawn = [
        ContrastPair(*encoder(example, answers if with_positive else answers[:2], end=True))
        for example in examples
        for answers in _draw(example, pairs_per_question, seed)
    ]
    kept = [pair for pair in drawn if pair.chosen != pair.rejected]
    say_cuts("training pairs", [pair.sequences for pair in drawn], encoder.max_length, equal=len(drawn) - len(kept))
    return ContrastPairs(kept)


def _draw(example: Example, count: int, seed: int) -> Iterator[list[str]]:
    """Yield a truthful answer, a hallucinated one, and another truthful one where there is one."""
    # Seeded by the question, so that a question's pairs do not depend on which other questions are there.
    generator = random.Random(f"{seed}:{example.conversation}")
    for right, wrong in generator.sample(example.contrasts, min(count, len(example.contrasts))):
        # An answer that another row rejects is no second truth.
        others = [answer for answer in example.truthful if answer != right and answer not in example.hallucinated]
        yield [right, wrong, *([generator.choice(others)] if others else [])]


@dataclass(frozen=True)
class ReplayText:
    """A text that the base wrote, on which training is held to the base's next-token distribution.

    Args:
        sequence: its first token stands for a prompt, the others for the answer.
        head_inputs: (T - 1, H) what enters the base's head before each token but the first, on the CPU.
    """

    sequence: TokenSequence
    head_inputs: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """The part of a batch that one forward and backward pass takes.

    Args:
        pairs: at least one, with all of them or none `declines`.
        share: its share of the batch's pairs.
        replay: a text that is read beside the pairs; None in every part but the first, and where nothing is replayed.
    """

    pairs: list[ContrastPair]
    share: float = 1.0
    replay: ReplayText | None = None


@dataclass(frozen=True)
class PairBatch:
    """A micro-batch of B pairs as one packed batch.

    Args:
        packed: the sequences of the pairs, and the replayed text's last, if there is one.
        chosen, rejected: (B,) the numbers of the pairs' sequences in `packed`.
        anchors, positives: (P,) the numbers of two truthful answers, for the pairs that have both.
        reference_chosen, reference_rejected: (B,) the base's summed log-probabilities.
        base_head_inputs: (M, H) what enters the base's head at the M predicted tokens of the replayed text; None
            where no text is replayed.
        declines: whether the pairs decline.
    """

    packed: PackedBatch
    chosen: Tensor
    rejected: Tensor
    anchors: Tensor
    positives: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    base_head_inputs: Tensor | None
    declines: bool

    def to(self, device: torch.device | str) -> "PairBatch":
        """Return the same batch with its tensors on `device`."""
        return PairBatch(
            packed=self.packed.to(device),
            chosen=self.chosen.to(device),
            rejected=self.rejected.to(device),
            anchors=self.anchors.to(device),
            positives=self.positives.to(device),
            reference_chosen=self.reference_chosen.to(device),
            reference_rejected=self.reference_rejected.to(device),
            base_head_inputs=None if self.base_head_inputs is None else self.base_head_inputs.to(device),
            declines=self.declines,
        )

    @property
    def replayed_tokens(self) -> Tensor:
        """(M,) Which of the packed batch's predicted tokens are the replayed text's."""
        return (self.packed.sequence == self.packed.count - 1).nonzero().flatten()


def collate(part: MicroBatch, packer: Packer, references: dict[TokenSequence, float]) -> PairBatch:
    """Pack a micro-batch on the CPU. If the packer packs, a prompt that a pair's answers share is read once.

    Args:
        references: the base's summed log-probability of each sequence.
    """
    pairs, replay = part.pairs, part.replay
    firsts = list(accumulate((len(pair.sequences) for pair in pairs), initial=0))[:-1]
    with_positive = [first for first, pair in zip(firsts, pairs, strict=True) if pair.positive]
    anchors = torch.tensor(with_positive, dtype=torch.long)
    positives = anchors + 2
    chosen = torch.tensor(firsts)
    groups = [pair.sequences for pair in pairs] + ([[replay.sequence]] if replay else [])
    return PairBatch(
        packed=packer(groups, unscored=set(positives.tolist())),
        chosen=chosen,
        rejected=chosen + 1,
        anchors=anchors,
        positives=positives,
        reference_chosen=torch.tensor([references[pair.chosen] for pair in pairs]),
        reference_rejected=torch.tensor([references[pair.rejected] for pair in pairs]),
        base_head_inputs=replay.head_inputs if replay else None,
        declines=pairs[0].declines,
    )


def split_by_tokens(pairs: list[ContrastPair], token_budget: int, parts: int = 1) -> list[list[ContrastPair]]:
    """Divide the pairs into at least `parts` parts, each within the budget; a longer pair is a part of its own.

    Pairs that decline are in parts of their own.
    """
    found: list[list[ContrastPair]] = []
    for alike in ([p for p in pairs if not p.declines], [p for p in pairs if p.declines]):
        rows = rows_of([sum(map(len, pair.sequences)) for pair in alike], token_budget)
        found += [[alike[i] for i in row] for row in rows]
    while len(found) < min(parts, len(pairs)):
        found.sort(key=len)
        largest = found.pop()
        found += [largest[::2], largest[1::2]]
    return found
