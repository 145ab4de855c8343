"""The base's own answers become pairs: each beside words that decline the question."""

import math
import random
from collections.abc import Sequence
from itertools import chain

from train.batching.cuts import say_cuts
from train.batching.encoding import Encoder
from train.batching.pairs import ContrastPair, ContrastPairs
from train.declining.own_answers import OwnAnswer
from train.runtime.errors import RecipeError


def declining_pairs(
    answers: Sequence[OwnAnswer],
    encoder: Encoder,
    wordings: Sequence[str],
    *,
    share: float,
    count: int | None,
    seed: int,
) -> ContrastPairs:
    """Pair own answers with a wording that declines: known answers are preferred to it, and it to unknown ones.

    Args:
        answers: some `known` and some not.
        encoder: as questions are asked, `train.evaluation.free_answers.asking_encoder`.
        wordings: ways to decline.
        share: the share of pairs in which declining is preferred, whatever share of the answers is unknown.
        count: how many pairs; None for as many as there are answers. The rarer kind is taken again.
        seed: the seed of the order and of the wordings.

    Raises:
        RecipeError: no answer is known, or all are.
    """
    generator = random.Random(seed)
    known = [answer for answer in answers if answer.known]
    unknown = [answer for answer in answers if answer.known is False]
    if not known or not unknown:
        raise RecipeError(f"decline_weight: {len(known)} answers are known and {len(unknown)} are not; it should be 0")
    count = len(known) + len(unknown) if count is None else count
    declined = round(count * share)
    drawn = [*_draw(known, count - declined, generator), *_draw(unknown, declined, generator)]
    generator.shuffle(drawn)
    pairs = [_pair(answer, encoder, generator.choice(wordings)) for answer in drawn]
    kept = [pair for pair in pairs if pair.chosen != pair.rejected]
    say_cuts("declining pairs", [pair.sequences for pair in pairs], encoder.max_length, equal=len(pairs) - len(kept))
    return ContrastPairs(kept)


def _draw(answers: list[OwnAnswer], count: int, generator: random.Random) -> list[OwnAnswer]:
    """Draw answers, each as often as the others."""
    rounds = (generator.sample(answers, len(answers)) for _ in range(math.ceil(count / len(answers))))
    return list(chain.from_iterable(rounds))[:count]


def _pair(answer: OwnAnswer, encoder: Encoder, wording: str) -> ContrastPair:
    own, declining = encoder(answer.example, [answer.text, wording], end=True)
    return ContrastPair(*((own, declining) if answer.known else (declining, own)), declines=True)
