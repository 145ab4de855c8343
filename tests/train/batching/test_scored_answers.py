"""Examples become the batches that the profile is made from."""

import torch

from data.examples import Example, wrong_answers
from tests.toys import EXAMPLES, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches

ENCODER = Encoder(tiny_tokenizer(), "plain", 128)


def test_a_question_stays_together() -> None:
    batches = paired_batches(EXAMPLES, ENCODER, answers=1, token_budget=200, seed=0)
    assert len(batches) > 1
    assert sum(int(batch.question.max()) + 1 for batch in batches) == len(EXAMPLES)
    for batch in batches:
        assert torch.bincount(batch.question).tolist() == [2] * (int(batch.question.max()) + 1)
        assert batch.batch.input_ids.numel() <= 200


def test_an_answer_that_is_also_truthful_is_not_scored_as_hallucinated() -> None:
    example = Example("toy", "which?", ("this", "that"), wrong_answers(["that", "none"], "dataset"))
    (batch,) = paired_batches([example, EXAMPLES[0]], ENCODER, 2, 1000, seed=0)
    assert batch.pairs == 2 + 2
    assert int(batch.hallucinated.sum()) == 2
