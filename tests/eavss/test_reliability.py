"""Figures of a confidence, against scikit-learn and values worked by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eavss.errors import EavssError
from eavss.reliability import auroc, auroc_error, expected_calibration_error, risk_coverage, threshold_keeping


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_that_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.integers(-8, 0, size=60).astype(float).tolist()  # many ties
    right = (draw.random(60) < 0.4).tolist()
    assert auroc(values, right) == pytest.approx(roc_auc_score(right, values), abs=1e-12)


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_auroc_needs_right_and_wrong_answers(right: list[bool]) -> None:
    assert auroc([-1.0, -2.0], right) is None
    assert auroc([], []) is None


def test_risk_coverage() -> None:
    """Of five questions four got an answer; the two at -2 are answered together."""
    points = risk_coverage([-3.0, -2.0, -1.0, -2.0], [False, False, True, True], asked=5)
    assert np.array(points) == pytest.approx(np.array([[0, 0], [0.2, 0], [0.6, 0.2], [0.8, 0.4]]))
    assert risk_coverage([], [], asked=5) == [[0.0, 0.0]]


@pytest.mark.parametrize("count", [99, 100, 199, 1000])
def test_a_long_curve_is_thinned_and_keeps_its_ends(count: int) -> None:
    points = risk_coverage([-float(i) for i in range(count)], [i % 2 == 0 for i in range(count)], asked=2 * count)
    assert 50 <= len(points) <= 101
    assert points[0] == [0, 0]
    assert points[-1] == pytest.approx([0.5, (count // 2) / (2 * count)])
    assert points == sorted(points)


@pytest.mark.parametrize(("right", "thresholds"), [(5, (-3, -4, -5)), (10, (-6, -8, -9))])
def test_a_threshold_keeps_a_share_of_the_right_answers(right: int, thresholds: tuple[int, ...]) -> None:
    """The right answers have the confidences -1, -2, ...; wrong ones do not count."""
    values = [-float(i) for i in range(1, right + 1)] + [-0.5, -3.5, -20.0]
    labels = [True] * right + [False] * 3
    assert tuple(threshold_keeping(values, labels, share) for share in (0.6, 0.8, 0.9)) == thresholds


@pytest.mark.parametrize("share", [0.6, 0.8, 0.9])
def test_the_next_higher_threshold_keeps_less(share: float) -> None:
    draw = np.random.default_rng(0)
    for size in range(1, 40):
        values, labels = -draw.integers(1, 10, size=size).astype(float), draw.random(size) < 0.5
        labels[0] = True
        threshold = threshold_keeping(values.tolist(), labels.tolist(), share)
        right = values[labels]
        assert (right >= threshold).sum() >= share * len(right) - 1e-9
        assert (right > threshold).sum() < share * len(right) - 1e-9


def test_no_threshold_keeps_what_is_not_there() -> None:
    with pytest.raises(EavssError, match="none of the answers is right"):
        threshold_keeping([-1.0], [False], 0.8)


def test_expected_calibration_error() -> None:
    """The tenth bin expects 0.95 + 0.97 right ones and has 1, the third 0.25 and has 0: 0.92 + 0.25 of 3 answers."""
    values = [math.log(0.95), math.log(0.97), math.log(0.25)]
    assert expected_calibration_error(values, [True, False, False]) == pytest.approx((0.92 + 0.25) / 3)
    assert expected_calibration_error([0.0, 1e-9], [True, True]) == 0  # rounding may lead above certainty
    assert expected_calibration_error([], []) == 0


@pytest.mark.parametrize(("scale", "right", "wrong"), [(2.0, 40, 60), (4.0, 10, 200)])
def test_the_standard_error_of_an_auroc_is_the_spread_of_many(scale: float, right: int, wrong: int) -> None:
    """Hanley and McNeil's formula is exact for exponential scores."""
    generator = np.random.default_rng(0)
    draws = [(generator.exponential(scale, right), generator.exponential(1.0, wrong)) for _ in range(3000)]
    found = [float((positive[:, None] > negative).mean()) for positive, negative in draws]
    expected = auroc_error(scale / (1 + scale), right, right + wrong)
    assert np.std(found) == pytest.approx(expected, rel=0.05)
