"""The metrics against values worked by hand, and the ranking ones against scikit-learn."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from data import nq, triviaqa
from data.judge import Verdict, judge
from train.evaluation.likelihood import AnswerLogprob
from train.evaluation.metrics import (
    ContrastAccuracy,
    compute,
    contrast,
    free_answer,
    length_rule,
    multiple_choice,
    ranking,
    single_choice,
    token_f1,
)


def answer(total: float, tokens: int) -> AnswerLogprob:
    return AnswerLogprob(total, tokens, False)


@pytest.mark.parametrize(
    ("truthful", "hallucinated", "right"),
    [
        (answer(-4, 4), answer(-3, 2), 1.0),  # -1 a token against -1.5, though the sum is the lower one
        (answer(-3, 2), answer(-4, 4), 0.0),
        (answer(-2, 2), answer(-3, 3), 0.0),  # a tie
    ],
)
def test_contrast_is_per_token_and_a_tie_is_wrong(
    truthful: AnswerLogprob, hallucinated: AnswerLogprob, right: float
) -> None:
    assert contrast(truthful, hallucinated) == {"contrast_accuracy": right}


def test_contrast_accuracy_is_the_share_that_is_right() -> None:
    """Of four questions the first is right, the second wrong, the third a tie, the fourth right: 2 of 4."""
    values = compute(ContrastAccuracy, truthful=[-1.0, -2.0, -3.0, -1.0], hallucinated=[-2.0, -1.0, -3.0, -1.5])
    assert values == {"contrast_accuracy": 0.5}


@pytest.mark.parametrize(
    ("true", "false", "mc1", "mc2"),
    [
        # Best .5, true .1, false .4: the best beats .4; .6 of the mass is true.
        ((0.5, 0.1), (0.4,), 1.0, 0.6),
        # Best .2, true .3, false .5: half of the mass is true, but the best one loses.
        ((0.2, 0.3), (0.5,), 0.0, 0.5),
        # The best one, .2, is less likely than another true one: only false ones count.
        ((0.2, 0.7), (0.1,), 1.0, 0.9),
        # A tie of the best with a false one is right: the harness takes the first of the likeliest.
        ((0.4,), (0.4, 0.2), 1.0, 0.4),
        # Probabilities that do not add up to 1: (.1 + .1) / (.1 + .1 + .2) = .5.
        ((0.1, 0.1), (0.2,), 0.0, 0.5),
    ],
)
@pytest.mark.parametrize("offset", [0, -900, -1e5])  # e to the power of these is 0, and 0 / 0 is no number
def test_truthfulqa_by_hand(
    true: tuple[float, ...], false: tuple[float, ...], mc1: float, mc2: float, offset: float
) -> None:
    logs = [[math.log(p) + offset for p in group] for group in (true, false)]
    assert multiple_choice(*logs) == {"mc1": mc1, "mc2": pytest.approx(mc2, abs=1e-9)}


def test_truthfulqa_choices_of_very_different_likelihood() -> None:
    """e^-2000 of e^0 is 0: no overflow the other way round either."""
    assert multiple_choice([0.0], [-2000.0]) == {"mc1": 1.0, "mc2": 1.0}
    assert multiple_choice([-2000.0], [0.0]) == {"mc1": 0.0, "mc2": 0.0}


@pytest.mark.parametrize(
    ("right", "distractors", "acc", "acc_norm"),
    [
        # Sums -4 against -3 and -5: wrong. Per character -4/8 = -.5 against -3/3 = -1 and -5/4 = -1.25: right.
        (("nitrogen", -4.0), [("tin", -3.0), ("iron", -5.0)], 0.0, 1.0),
        # Sums -2 against -3: right. Per character -2/3 = -.667 against -3/8 = -.375: wrong.
        (("tin", -2.0), [("nitrogen", -3.0)], 1.0, 0.0),
        # A tie of the sums at equal length loses both.
        (("iron", -2.0), [("lead", -2.0), ("zinc", -9.0)], 0.0, 0.0),
        # Sums -2 against -4: right. Per character -2/2 = -4/4: a tie.
        (("au", -2.0), [("iron", -4.0)], 1.0, 0.0),
        # Characters, not bytes: "é" is one of three, so -3/3 = -1 ties with -4/4 and loses; bytes would make it -.75.
        (("thé", -3.0), [("café", -4.0)], 1.0, 0.0),
    ],
)
def test_sciq_by_hand(
    right: tuple[str, float], distractors: list[tuple[str, float]], acc: float, acc_norm: float
) -> None:
    assert single_choice(right, distractors) == {"acc": acc, "acc_norm": acc_norm}


@pytest.mark.parametrize(
    ("scores", "labels", "ap", "rr", "first"),
    [
        ([0.9, 0.5, 0.1], [1, 0, 0], 1.0, 1.0, 1.0),
        ([0.1, 0.5, 0.9], [1, 0, 0], 1 / 3, 1 / 3, 0.0),
        # Ranked: wrong, right, wrong, right. Precisions at the right ones 1/2 and 2/4.
        ([-1.0, -2.0, -3.0, -4.0], [0, 1, 0, 1], 0.5, 0.5, 0.0),
        # Right ones at 1, 3 and 4 of five: (1 + 2/3 + 3/4) / 3 = 29/36.
        ([5.0, 4.0, 3.0, 2.0, 1.0], [1, 0, 1, 1, 0], 29 / 36, 1.0, 1.0),
        # Equal scores stand in the order given.
        ([1.0, 1.0], [1, 0], 1.0, 1.0, 1.0),
        ([1.0, 1.0], [0, 1], 0.5, 0.5, 0.0),
        ([0.3], [1], 1.0, 1.0, 1.0),
    ],
)
def test_ranking_by_hand(scores: list[float], labels: list[int], ap: float, rr: float, first: float) -> None:
    assert ranking(scores, labels) == {"map": pytest.approx(ap), "mrr": pytest.approx(rr), "p_at_1": first}


def test_ranking_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        size = int(generator.integers(2, 30))
        scores = generator.permutation(size) + generator.uniform(0, 0.5, size)  # no two are equal
        labels = generator.permutation(np.arange(size) < generator.integers(1, size))
        found = ranking(scores.tolist(), labels.astype(int).tolist())
        ranked = labels[np.argsort(-scores)]
        assert found["map"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        assert found["mrr"] == pytest.approx(1 / (1 + np.argmax(ranked)), abs=1e-12)
        assert found["p_at_1"] == pytest.approx(float(ranked[0]), abs=1e-12)


@pytest.mark.parametrize(
    ("found", "wanted", "f1"),
    [
        ("Jane Austen", "jane austen!", 1.0),
        ("the Austen", "Austen", 1.0),  # articles do not count
        ("Austen", "Jane Austen", 2 / 3),  # precision 1, recall 1/2
        ("it was Jane Austen", "Jane Austen", 2 / 3),  # precision 2/4, recall 1
        ("new new york", "new york york", 2 / 3),  # a word counts as often as both have it: 2 of 3 and 2 of 3
        ("Emma", "Austen", 0.0),
        ("", "Austen", 0.0),
        ("", "A", 0.0),  # an answer that says nothing is none
        ("", "The The", 0.0),
        ("beyonce\u0301", "Beyonc\u00e9", 1.0),
        ("USA", "U.S.A.", 1.0),  # the better of two forms
    ],
)
def test_token_f1_by_hand(found: str, wanted: str, f1: float) -> None:
    assert token_f1(found, wanted) == pytest.approx(f1)


RIGHT = {"exact_match": 1.0, "abstention_rate": 0.0, "hallucination_rate": 0.0}
WRONG = {"exact_match": 0.0, "abstention_rate": 0.0, "hallucination_rate": 1.0}
RIGHT_IN_A_SENTENCE = {"exact_match": 0.0, "abstention_rate": 0.0, "hallucination_rate": 0.0}
ABSTAINED = {"exact_match": 0.0, "abstention_rate": 1.0, "hallucination_rate": 0.0}
ALIASES = ("The Hague", "Den Haag")


def judged(text: str, aliases: Sequence[str], normalise: Callable[[str], str]) -> dict[str, float]:
    return free_answer(text, aliases, normalise, judge(text, aliases))


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("right", {"truthfulness": 1, "penalised_50": 1, "penalised_75": 1, "penalised_90": 1}),
        ("wrong", {"truthfulness": -1, "penalised_50": -1, "penalised_75": -3, "penalised_90": -9}),
        ("declined", {"truthfulness": 0, "penalised_50": 0, "penalised_75": 0, "penalised_90": 0}),
        ("empty", {"truthfulness": 0, "penalised_50": 0, "penalised_75": 0, "penalised_90": 0}),
    ],
)
def test_what_a_verdict_is_worth(verdict: Verdict, expected: dict[str, float]) -> None:
    found = free_answer("x", ["y"], str, verdict)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert {name: found[name] for name in ("right", "wrong", "declined", "empty") if found[name]} == {verdict: 1.0}


@pytest.mark.parametrize(
    ("text", "outcome", "rest"),
    [
        ("Den Haag", RIGHT, {"f1": 1.0, "empty_or_degenerate": 0.0, "answer_words": 2.0}),
        ("den haag.", RIGHT, {"f1": 1.0}),  # the second alias, without case and punctuation
        ("Hague", RIGHT, {"f1": 1.0, "answer_words": 1.0}),  # nq takes articles off
        ("Den", WRONG, {"f1": 2 / 3}),
        ("Rome", WRONG, {"f1": 0.0, "empty_or_degenerate": 0.0}),
        ("", ABSTAINED, {"f1": 0.0, "empty_or_degenerate": 1.0, "answer_words": 0.0}),
        (" \n", ABSTAINED, {"empty_or_degenerate": 1.0, "answer_words": 0.0}),
        ("I have no comment.", ABSTAINED, {"empty_or_degenerate": 0.0, "answer_words": 4.0}),
        (" I don't know the answer", ABSTAINED, {"empty_or_degenerate": 0.0}),
        ("i do not know", ABSTAINED, {}),
        ("I cannot answer that", ABSTAINED, {}),
        ("I'm not sure", ABSTAINED, {}),
        ("Unknown", ABSTAINED, {}),
        ("unknowns", WRONG, {}),  # the refusal is a whole word
        ("Who knows? I don't know", ABSTAINED, {}),
        ("The city is called the hague", RIGHT_IN_A_SENTENCE, {"f1": 0.4}),
        ("no no no no", WRONG, {"empty_or_degenerate": 1.0}),
        ("in Rome Rome rome ROME", WRONG, {"empty_or_degenerate": 1.0, "answer_words": 5.0}),
        ("no no no, no", WRONG, {"empty_or_degenerate": 0.0}),  # three times in a row, and another word
    ],
)
def test_free_answer_by_hand(text: str, outcome: dict[str, float], rest: dict[str, float]) -> None:
    found = judged(text, ALIASES, nq.SET.free_answers.normalise)
    assert {name: found[name] for name in outcome} == outcome
    assert {name: found[name] for name in rest} == pytest.approx(rest)


def test_exact_match_follows_the_sets_own_rule() -> None:
    """The harness takes articles off for NQ, where a capital letter follows or not, and leaves them for TriviaQA."""
    for text, in_nq, in_triviaqa in (("The Nile", 1.0, 0.0), ("the Nile", 1.0, 0.0), ("nile!", 1.0, 1.0)):
        assert judged(text, ["Nile"], nq.SET.free_answers.normalise)["exact_match"] == in_nq
        assert judged(text, ["Nile"], triviaqa.SET.free_answers.normalise)["exact_match"] == in_triviaqa
    assert judged("The Nile", ["Nile"], triviaqa.SET.free_answers.normalise)["f1"] == 1.0


@pytest.mark.parametrize("alias", ["A", "The The", "!!!"])
def test_an_empty_answer_is_never_right(alias: str) -> None:
    for normalise in (nq.SET.free_answers.normalise, triviaqa.SET.free_answers.normalise):
        found = judged("", [alias], normalise)
        assert {name: found[name] for name in ("exact_match", "f1")} == {"exact_match": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("text", "alias"), [("Seven", "7"), ("Rock \u2019n\u2019 Roll", "rock 'n' roll"), ("CO\u2082", "CO2")]
)
def test_a_right_answer_in_other_characters_is_no_hallucination(text: str, alias: str) -> None:
    """The harness's exact match stays the harness's."""
    found = judged(text, [alias], triviaqa.SET.free_answers.normalise)
    assert found["hallucination_rate"] == 0.0
    assert found["exact_match"] == 0.0
    assert found["f1"] == 1.0


def test_a_refusal_that_is_right_is_no_abstention() -> None:
    found = judged("Unknown", ["Unknown"], triviaqa.SET.free_answers.normalise)
    assert {name: found[name] for name in RIGHT} == RIGHT


def test_an_iterator_of_aliases_is_read_once() -> None:
    found = free_answer("b", iter(["a", "b"]), triviaqa.SET.free_answers.normalise, "right")
    assert found["exact_match"] == found["f1"] == 1.0


@pytest.mark.parametrize(
    ("true", "wrong", "false", "expected"),
    [
        # 4 characters against 2; against 2 and 6 it is neither the longest nor the shortest.
        ("abcd", "ab", ["ab", "abcdef"], (1.0, 0.0, 0.0, 0.0)),
        # 4 against 6; against 6 and 5 the shortest.
        ("abcd", "abcdef", ["abcdef", "abcde"], (0.0, 1.0, 0.0, 1.0)),
        # A tie with the wrong one is half right both ways; the longest of all is shared, the shortest is not it.
        ("abcd", "dcba", ["dcba", "ab"], (0.5, 0.5, 0.5, 0.0)),
        # All alike.
        ("ab", "cd", ["cd", "ef"], (0.5, 0.5, 0.5, 0.5)),
        # Characters, not bytes.
        ("éé", "abc", ["abc"], (0.0, 1.0, 0.0, 1.0)),
    ],
)
def test_length_rule_by_hand(true: str, wrong: str, false: list[str], expected: tuple[float, ...]) -> None:
    names = ("longest_contrast", "shortest_contrast", "longest_choice", "shortest_choice")
    assert length_rule(true, wrong, false) == dict(zip(names, expected, strict=True))
