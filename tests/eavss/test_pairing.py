"""Questions become batches, and these a profile."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from eavss.batches import TokenSequence
from eavss.errors import EavssError
from eavss.pairing import Question, batch_questions, profile_answers
from tests.toys import BLOCKS, HIDDEN, tiny_model

QUESTIONS = [
    Question("Which gas do plants take in?", [" carbon dioxide", " CO2"], [" oxygen"]),
    Question("How many sides has a hexagon?", [" six"], [" five", " seven", " eight"]),
]


def test_a_profile_of_your_own_questions(tokenizer: PreTrainedTokenizerFast) -> None:
    """2 * 1 + 1 * 3 pairs; plain tuples do as well, and so does a batch for each question."""
    model = tiny_model("llama")
    profile = profile_answers(model, tokenizer, QUESTIONS)
    assert profile.states.shape == (2, 2, BLOCKS, HIDDEN)
    assert profile.pairs == 5
    apart = profile_answers(model, tokenizer, [tuple(question) for question in QUESTIONS], token_budget=1)  # type: ignore[misc]
    # A batch takes the questions in the order of their length.
    torch.testing.assert_close(apart.states, profile.states, rtol=1e-4, atol=1e-5)


def test_a_question_without_wrong_answers_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    questions = [*QUESTIONS, Question("Who wrote it?", [" nobody"], [])]
    with pytest.raises(EavssError, match="has no hallucinated answer"):
        profile_answers(tiny_model("llama"), tokenizer, questions)


def sequence(length: int) -> TokenSequence:
    return TokenSequence(tuple(range(length)), 1, length)


def test_a_batch_holds_whole_questions_within_the_budget() -> None:
    """Padded sizes: 2 answers of at most 5 tokens take 10, 3 of 4 take 12, 2 of 2 take 4. Only 10 + 4 fit in 20.

    Two questions cost their number times the larger size: 12 + 10 would be 2 * 12, and 10 + 4 is 2 * 10.
    """
    questions = [
        [(False, sequence(5)), (True, sequence(3))],
        [(False, sequence(4)), (True, sequence(4)), (True, sequence(2))],
        [(False, sequence(2)), (True, sequence(2))],
    ]
    first, second = batch_questions(questions, token_budget=20)
    assert first.batch.input_ids.shape == (3, 4)
    assert second.batch.input_ids.shape == (4, 5)
    assert second.question.tolist() == [0, 0, 1, 1]
    assert second.hallucinated.tolist() == [False, True, False, True]
