"""Answer triggering: the best sentence of each question, and what a threshold gives."""

import math
from dataclasses import replace

import pytest

from data.examples import Example
from data.wikiqa import Candidates
from tests.toys import tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.evaluation.likelihood import AnswerScorer
from train.evaluation.triggering import Best, at_threshold, best_sentences, best_threshold

WORDINGS = ("I don't know", "no idea")
ASKED = [
    Candidates("what is tin", ("Tin is a metal.",), ("Lead is heavy.", "Tea is a drink, and it is hot.")),
    Candidates("who wrote it", (), ("It was written.", "Nobody knows.")),
]
# Scores fall; the second best sentence is wrong, and the third question has no answer.
FOUND = [Best(4.0, True, True), Best(3.0, False, True), Best(2.0, False, False), Best(1.0, True, True)]


def example_of(each: Candidates, text: str) -> Example:
    return Example("wikiqa", each.question, (text,))


def scorer() -> AnswerScorer:
    return AnswerScorer(tiny_model("llama"), Encoder(tiny_tokenizer(), "plain", 256, passages=True), 4096)


def test_a_sentence_is_scored_by_its_own_likelihood_a_character() -> None:
    by_hand = [
        scorer().score_sequences(
            [
                replace(scorer().encoder, passages=False)(example_of(each, text), [text])[0]
                for text in (*each.right, *each.wrong)
            ],
            "",
        )
        for each in ASKED
    ]
    for each, scores, found in zip(ASKED, by_hand, best_sentences(scorer(), ASKED, "likelihood", (), ""), strict=True):
        values = [one.total / len(text) for one, text in zip(scores, (*each.right, *each.wrong), strict=True)]
        assert found.score == pytest.approx(max(values), abs=1e-4)
        assert found.right == (bool(each.right) and values.index(max(values)) == 0)
        assert found.answerable == bool(each.right)


def test_a_sentence_is_scored_by_how_unlikely_the_model_is_to_decline_with_it() -> None:
    found = best_sentences(scorer(), ASKED, "declining", WORDINGS, "")
    for each, best in zip(ASKED, found, strict=True):
        sentences = (*each.right, *each.wrong)
        values = []
        for text in sentences:
            sequences = scorer().encoder(replace(example_of(each, text), support=text), WORDINGS)
            scored = scorer().score_sequences(sequences, "")
            values.append(-math.log(sum(math.exp(one.total) for one in scored)))
        assert best.score == pytest.approx(max(values), rel=1e-4)
        assert best.right == (bool(each.right) and values.index(max(values)) == 0)


def test_a_threshold_is_judged_by_the_questions_that_it_answers() -> None:
    at = at_threshold(FOUND, 3.0)
    assert (at["precision"], at["recall"], at["f1"]) == (1 / 2, 1 / 3, pytest.approx(0.4))
    assert at_threshold(FOUND, 9.0) == {"threshold": 9.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert at_threshold(FOUND[2:3], 1.0)["recall"] == 0.0


def test_the_threshold_has_the_highest_f1() -> None:
    assert best_threshold(FOUND) == 1.0
    assert best_threshold([*FOUND[:3], Best(1.0, False, True), Best(0.5, False, False)]) == 4.0
