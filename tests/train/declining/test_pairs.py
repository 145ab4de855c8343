"""Own answers beside words that decline."""

from collections import Counter

import pytest

from data.examples import Example
from tests.toys import tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.pairs import ContrastPairs
from train.declining.own_answers import OwnAnswer
from train.declining.pairs import declining_pairs
from train.evaluation.free_answers import asking_encoder
from train.runtime.errors import RecipeError

WORDINGS = ["No idea", "I am not sure"]
# Two known answers, six unknown ones, and two that are uncertain.
KNOWN = [True, True, None, None, *[False] * 6]
ANSWERS = [OwnAnswer(Example("nq", f"what is {n}", (f"{n}",)), f"it is {n}", n == 0, k) for n, k in enumerate(KNOWN)]


def pairs(count: int | None, share: float = 0.5, seed: int = 0) -> ContrastPairs:
    encoder = Encoder(tiny_tokenizer(), "plain", 128)
    return declining_pairs(ANSWERS, encoder, WORDINGS, share=share, count=count, seed=seed)


def test_known_answers_are_given_and_unknown_ones_declined() -> None:
    found = pairs(40)
    assert all(pair.declines for pair in found)
    seen = set()
    for row in found.as_text(tiny_tokenizer()):
        chosen, rejected = row["chosen"].strip(), row["rejected"].strip()
        known = chosen.startswith("it is")
        own, wording = (chosen, rejected) if known else (rejected, chosen)
        number = int(own.removeprefix("it is "))
        assert row["prompt"] == f"Question: what is {number}\nAnswer:"
        assert KNOWN[number] is known
        seen.add(wording)
    assert seen == set(WORDINGS)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_share_that_declines_is_the_recipes(share: float) -> None:
    rows = pairs(48, share).as_text(tiny_tokenizer())
    assert sum(row["chosen"].strip() in WORDINGS for row in rows) == 48 * share
    counts = Counter(row["rejected"] for row in rows if row["chosen"].strip() in WORDINGS)
    assert max(counts.values()) - min(counts.values()) <= 1, "each unknown answer as often as the others"
    assert len(counts) == 6


def test_as_many_pairs_as_there_are_certain_answers() -> None:
    assert len(pairs(None)) == 8
    assert len(pairs(5)) == 5


def test_the_seed_decides() -> None:
    assert list(pairs(20)) == list(pairs(20))
    assert list(pairs(20)) != list(pairs(20, seed=1))


def test_without_known_answers_there_is_nothing_to_learn() -> None:
    encoder = Encoder(tiny_tokenizer(), "plain", 128)
    with pytest.raises(RecipeError, match="decline_weight: 0 answers are known and 6 are not; it should be 0"):
        declining_pairs(ANSWERS[2:], encoder, WORDINGS, share=0.5, count=None, seed=0)


def test_the_prompts_are_those_that_questions_are_asked_with() -> None:
    encoder = asking_encoder(Encoder(tiny_tokenizer(), "plain", 2048))
    (row, *_) = declining_pairs(ANSWERS, encoder, WORDINGS, share=0.5, count=2, seed=0).as_text(tiny_tokenizer())
    assert row["prompt"].count("Question: ") == 6
