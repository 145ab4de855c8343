"""Examples become contrast pairs, and pairs batches."""

import pytest
import torch

from tests.toys import EXAMPLES, naive_logprobs, toy_scorer
from train.pairs import collate, make_pairs, paired_batches


def test_reference_logprobs_are_the_base_models() -> None:
    scorer = toy_scorer()
    pair = make_pairs(EXAMPLES[:2], scorer, 1, with_positive=False, seed=0)[0]
    for sequence, reference in ((pair.chosen, pair.reference_chosen), (pair.rejected, pair.reference_rejected)):
        expected = naive_logprobs(scorer.model, sequence.ids, sequence.answer_start, sequence.answer_end)
        assert reference == pytest.approx(expected.sum().item(), abs=1e-4)


def test_pairs_are_different_seeded_and_independent_of_other_questions() -> None:
    several = make_pairs(EXAMPLES, toy_scorer(), 4, with_positive=True, seed=3)
    assert len(several) == 12  # two truthful answers times one hallucinated one, six questions
    assert all(pair.positive is not None and pair.positive.ids != pair.chosen.ids[:-1] for pair in several)
    alone = make_pairs(EXAMPLES[3:4], toy_scorer(), 4, with_positive=True, seed=3)
    assert [pair.chosen for pair in alone] == [pair.chosen for pair in several][6:8]


def test_collate_marks_answers_and_ends() -> None:
    pairs = make_pairs(EXAMPLES[:2], toy_scorer(), 1, with_positive=True, seed=0)
    first, second = pairs
    batch = collate([first, second], pad_id=0)
    sequences = (first.chosen, second.chosen, first.rejected, second.rejected, first.positive, second.positive)
    assert batch["input_ids"].shape[0] == len(sequences)
    assert batch["end_mask"].sum(1).tolist() == [1, 1, 1, 1, 0, 0]
    assert not (batch["end_mask"] & batch["answer_mask"]).any()
    assert batch["answer_mask"].sum(1).tolist() == [s.answer_end - s.answer_start for s in sequences if s]


def test_profile_batches_keep_a_question_together() -> None:
    batches = paired_batches(EXAMPLES, toy_scorer().encoder, answers=1, token_budget=200, seed=0)
    assert len(batches) > 1
    assert sum(int(batch.question.max()) + 1 for batch in batches) == len(EXAMPLES)
    for batch in batches:
        assert torch.bincount(batch.question).tolist() == [2] * (int(batch.question.max()) + 1)
        assert batch.batch.input_ids.numel() <= 200
