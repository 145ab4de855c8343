"""What a set's free answers are worth, worked by hand."""

import math

import numpy as np
import pytest

from data.judge import Verdict
from eavss.confidence import Confidence
from train.evaluation.answered import (
    SET_METRICS,
    Answered,
    Judged,
    before_and_after,
    compare_answered,
    judged_answers,
    over_declined,
)
from train.evaluation.records import QuestionRecord


def judged(verdict: Verdict, summed: float = -1.0) -> Judged:
    return Judged(verdict, None if verdict == "empty" else Confidence(summed, -9.0, -9.0, -9.0))


def answered(*verdicts: Verdict) -> Answered:
    return Answered.of([judged(verdict) for verdict in verdicts])


def test_answers_are_read_from_records() -> None:
    common: QuestionRecord = {
        "question": "q",
        "truthful": "a",
        "wrong": "b",
        "metrics": {},
        "per_token": {},
        "length_rule": {},
        "choices": [],
    }
    records: list[QuestionRecord] = [
        {**common, "verdict": "right", "confidence": Confidence(-1.0, -0.5, -0.25, -0.75)._asdict()},
        {**common, "verdict": "empty", "confidence": None},
    ]
    found = judged_answers(records)
    assert found == [("right", Confidence(-1.0, -0.5, -0.25, -0.75), None), ("empty", None, None)]
    assert Answered.of(found).confidence.tolist() == [-1.0, -math.inf]


def test_the_figures_of_a_set() -> None:
    """Of five answers 2 are right and 1 is wrong: 2/5 overall, 2/3 of those attempted; 1 of 2 pairs is in order."""
    answers = [judged("right", -1), judged("right", -3), judged("wrong", -2), judged("declined", 0), judged("empty")]
    overall, attempted = 2 / 5, 2 / 3
    assert Answered.of(answers).metrics() == pytest.approx(
        {"accuracy_attempted": attempted, "simpleqa_f": 2 / (1 / overall + 1 / attempted)}
        | {"auroc": 0.5, "wrong_at_60": 1 / 5}
    )


@pytest.mark.parametrize(
    ("confidences", "share"),
    [
        ([-1, -2, -3, -4, -5, -6, -7, -8, -9, -10], 0.0),  # the five right ones are the surest
        ([-6, -7, -8, -9, -10, -1, -2, -3, -4, -5], 0.5),
        ([-1, -3, -5, -7, -9, -2, -4, -6, -8, -10], 0.2),
        ([-1, -1, -2, -9, -9, -2, -2, -9, -9, -9], 0.2),  # equal ones are answered together
    ],
)
def test_wrong_answers_where_60_percent_of_the_right_ones_are_kept(confidences: list[float], share: float) -> None:
    answers = [judged("right" if number < 5 else "wrong", value) for number, value in enumerate(confidences)]
    assert Answered.of(answers).metrics()["wrong_at_60"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("verdicts", "metrics"),
    [
        (["declined", "empty"], {"simpleqa_f": 0.0}),
        (["wrong", "empty"], {"accuracy_attempted": 0.0, "simpleqa_f": 0.0}),
        (["right", "declined"], {"accuracy_attempted": 1.0, "simpleqa_f": pytest.approx(2 / 3), "wrong_at_60": 0.0}),
    ],
)
def test_undefined_figures_are_left_out(verdicts: list[Verdict], metrics: dict[str, float]) -> None:
    assert answered(*verdicts).metrics() == metrics


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_counts_a_question_as_often_as_it_was_drawn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    verdicts: list[Verdict] = ["right", "wrong", "declined", "empty"]
    answers = [judged(verdicts[draw.integers(4)], -float(draw.integers(5))) for _ in range(12)]
    weights = draw.integers(3, size=(5, 12))
    for name, figure in SET_METRICS.items():
        found = figure(Answered.of(answers), weights.astype(float))
        for value, counts in zip(found.tolist(), weights, strict=True):
            repeated = [answer for answer, count in zip(answers, counts, strict=True) for _ in range(count)]
            assert value == pytest.approx(Answered.of(repeated).metrics().get(name, math.nan), nan_ok=True)


@pytest.mark.parametrize(
    ("after", "values"),
    [
        # Where a threshold leaves the base two right answers it says one wrong thing, and where it leaves three, three.
        (["right", "right", "declined", "wrong", "wrong", "declined"], (1 / 6, 2 / 6)),
        (["declined", "right", "right", "wrong", "declined", "declined"], (1 / 6, 1 / 6)),
        (["right", "right", "right", "declined", "declined", "declined"], (3 / 6, 0)),
        (["right", "right", "right", "right", "wrong", "wrong"], (math.nan, math.nan)),  # more than the base
        (["wrong", "declined", "empty", "wrong", "wrong", "wrong"], (math.nan, math.nan)),
    ],
)
def test_the_base_s_threshold_beside_what_training_leaves(after: list[Verdict], values: tuple[float, float]) -> None:
    before = [judged(v, -c) for v, c in zip(["right"] * 3 + ["wrong"] * 3, [1, 3, 6, 2, 4, 5], strict=True)]
    old, new = Answered.of(before), answered(*after)
    found = before_and_after("wrong_at_equal_right", old, new, np.ones((1, 6)))
    assert [value.item() for value in found] == pytest.approx(list(values), nan_ok=True)
    assert ("wrong_at_equal_right" in compare_answered(old, new, seed=0)) == (not math.isnan(values[0]))


def test_no_change_is_noise() -> None:
    same = Answered.of([judged("right", -1), judged("wrong", -2), judged("wrong", -1.5), judged("declined")] * 5)
    found = compare_answered(same, same, seed=0)
    assert found.keys() == {"accuracy_attempted", "simpleqa_f", "auroc", "wrong_at_60", "wrong_at_equal_right"}
    # The base gets a threshold here, and the model that is compared with it gets none.
    assert found.pop("wrong_at_equal_right")["difference"] == 2 / 4
    for change in found.values():
        assert change == {"difference": 0, "interval": [0, 0], "mcnemar_p": None, "noise": True}


def test_a_clear_change_is_no_noise() -> None:
    """Two of three wrong answers become right ones; the confidence told nothing, and then tells all."""
    before = Answered.of([judged("right"), judged("wrong"), judged("wrong"), judged("wrong")] * 10)
    after = Answered.of([judged("right"), judged("right"), judged("right"), judged("wrong", -2)] * 10)
    found = compare_answered(before, after, seed=0)
    for name, difference in (("accuracy_attempted", 0.5), ("simpleqa_f", 0.5), ("auroc", 0.5)):
        low, high = found[name]["interval"]
        assert found[name]["difference"] == pytest.approx(difference)
        assert 0 < low <= difference <= high
        assert not found[name]["noise"]
    assert compare_answered(before, after, seed=0) == found


def test_what_is_undefined_on_one_side_is_not_compared() -> None:
    before, after = answered("right", "wrong", "wrong"), answered("declined", "declined", "empty")
    assert compare_answered(before, after, seed=0).keys() == {"simpleqa_f"}
    assert compare_answered(after, before, seed=0).keys() == {"simpleqa_f"}


def test_over_declined() -> None:
    """Of four right answers one is declined and one is empty after; the wrong one that is declined is no loss."""
    before = answered("right", "right", "right", "right", "wrong")
    after = answered("right", "declined", "empty", "wrong", "declined")
    assert over_declined(before, after) == 0.5
    assert over_declined(before, before) == 0
    assert over_declined(answered("wrong", "declined"), answered("right", "empty")) is None
