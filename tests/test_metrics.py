"""The metrics against values worked by hand."""

import math

import pytest

from train.metrics import ContrastAccuracy, TruthfulQAChoice, compute


def test_contrast_accuracy_counts_a_tie_as_wrong() -> None:
    values = compute(ContrastAccuracy, truthful=[-1.0, -2.0, -3.0, -1.0], hallucinated=[-2.0, -1.0, -3.0, -1.5])
    assert values == {"contrast_accuracy": 0.5}


def test_mc1_asks_for_the_best_answer_and_mc2_for_the_mass() -> None:
    """Question 1: best .5, true .1, false .4: MC1 right, MC2 .6. Question 2: best .2, true .3, false .5: MC1 wrong even
    though the true ones have half of the mass, MC2 .5."""
    logs = [[math.log(p) - 900 for p in row] for row in ([0.5, 0.1, 0.4], [0.2, 0.3, 0.5])]
    values = compute(TruthfulQAChoice, predictions=logs, references=[[1, 1, 0], [1, 1, 0]])
    assert values["mc1"] == 0.5
    assert values["mc2"] == pytest.approx(0.55)


def test_mc1_does_not_compete_with_other_true_answers() -> None:
    """The second true answer is likelier than the best one, but MC1 sets the best one against false ones alone."""
    values = compute(TruthfulQAChoice, predictions=[[-3.0, -1.0, -4.0]], references=[[1, 1, 0]])
    assert values["mc1"] == 1.0
