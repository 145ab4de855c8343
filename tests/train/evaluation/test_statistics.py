"""Intervals and tests of paired differences, against values worked by hand."""

import math

import numpy as np
import pytest

from train.evaluation.statistics import compare, hierarchical_draws, mcnemar_p, paired_interval, percentile_interval


def outcomes(won: int, lost: int, unchanged: int = 0) -> tuple[list[float], list[float]]:
    """Outcomes before and after of questions that were won, lost, and right both times."""
    before = [0.0] * won + [1.0] * lost + [1.0] * unchanged
    return before, [1.0] * won + [0.0] * lost + [1.0] * unchanged


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (8, 2, 0.109375),  # 2 P(X <= 2), X ~ Binomial(10, 1/2): 2 (1 + 10 + 45) / 1024
        (2, 8, 0.109375),
        (5, 0, 0.0625),  # 2 / 32
        (6, 1, 0.125),  # 2 (1 + 7) / 128
        (3, 3, 1.0),
        (1, 0, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(won: int, lost: int, p: float) -> None:
    for unchanged in (1, 50):
        assert mcnemar_p(*outcomes(won, lost, unchanged)) == pytest.approx(p)


def test_mcnemar_takes_booleans_and_nothing_but_outcomes() -> None:
    assert mcnemar_p([False] * 5, [True] * 5) == pytest.approx(0.0625)
    with pytest.raises(ValueError, match="0 or 1"):
        mcnemar_p([0.5], [1.0])


@pytest.mark.parametrize(
    ("differences", "level", "expected"),
    [
        # The mean of two draws from (0, 1) is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
        ([0, 1], 0.95, (0, 1)),
        ([0, 1], 0.4, (0.5, 0.5)),
        # Of four draws from (0, 0, 0, 4) it is K ~ Binomial(4, 1/4): P(0) = 0.32, P(K <= 2) = 0.949, P(K <= 3) = 0.996.
        ([0, 0, 0, 4], 0.95, (0, 3)),
        ([0, 0, 0, -4], 0.95, (-3, 0)),
        ([0, 0, 0], 0.95, (0, 0)),
        ([0.5, 0.5], 0.95, (0.5, 0.5)),
        ([2], 0.95, (2, 2)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_interval_by_hand(differences: list[float], level: float, expected: tuple[float, float], seed: int) -> None:
    before = [float(10 * i) for i in range(len(differences))]  # what questions have in common plays no part
    after = [b + d for b, d in zip(before, differences, strict=True)]
    assert paired_interval(before, after, seed, level=level) == pytest.approx(expected)


def test_interval_is_the_seeds() -> None:
    before, after = np.random.default_rng(0).normal(size=(2, 40)).tolist()
    assert paired_interval(before, after, seed=3) == paired_interval(before, after, seed=3)
    assert paired_interval(before, after, seed=3) != paired_interval(before, after, seed=4)
    assert paired_interval(before, after, 3, resamples=50) != paired_interval(before, after, 3, resamples=60)


def test_interval_is_as_wide_as_the_normal_one_and_covers_as_often_as_it_says() -> None:
    """60 differences ~ N(0.3, 1): 1.96 / sqrt(60) = 0.253 either side, and 19 of 20 intervals contain 0.3.

    Of 200 intervals 190 should; with a standard deviation of 3, and the percentile bootstrap a little narrow.
    """
    generator = np.random.default_rng(0)
    samples = generator.normal(0.3, 1, size=(200, 60))
    intervals = np.array([paired_interval([0.0] * 60, sample.tolist(), seed=0, resamples=400) for sample in samples])
    assert np.diff(intervals).mean() / 2 == pytest.approx(0.253, rel=0.05)
    assert 178 <= ((intervals[:, 0] <= 0.3) & (intervals[:, 1] >= 0.3)).sum() <= 198


def test_compare() -> None:
    """mc1 is won 8 times and lost twice in 10; mc2 rises by 0.1 everywhere.

    Of ten draws W ~ Binomial(10, 0.8) are won, and the mean is (2 W - 10) / 10: P(W <= 4) = 0.006 and P(W <= 5) = 0.033
    put the interval's low end at 0, and P(W = 10) = 0.107 its high end at 1.
    """
    before, after = outcomes(8, 2)
    first = [{"mc1": mc1, "mc2": 0.25} for mc1 in before]
    second = [{"mc1": mc1, "mc2": 0.35} for mc1 in after]
    found = compare(first, second, seed=0)
    assert list(found) == ["mc1", "mc2"]
    assert found["mc1"]["difference"] == pytest.approx(0.6)
    assert found["mc1"]["mcnemar_p"] == pytest.approx(0.109375)
    assert found["mc1"]["interval"] == list(paired_interval(before, after, seed=0)) == pytest.approx([0, 1])
    assert found["mc1"]["noise"] is True
    assert found["mc2"]["difference"] == pytest.approx(0.1)
    assert found["mc2"]["interval"] == pytest.approx([0.1, 0.1])
    assert found["mc2"]["mcnemar_p"] is None
    assert found["mc2"]["noise"] is False


def test_what_does_not_change_is_noise() -> None:
    same = [{"mc1": 1.0, "mc2": 0.5}, {"mc1": 0.0, "mc2": 0.25}]
    nothing = {"difference": 0.0, "interval": [0.0, 0.0], "noise": True}
    assert compare(same, same, seed=0) == {
        "mc1": {**nothing, "mcnemar_p": 1.0},
        "mc2": {**nothing, "mcnemar_p": None},
    }


def test_noise_is_an_interval_with_0_in_it() -> None:
    for won, lost, noise in ((6, 4, True), (4, 6, True), (9, 1, False), (1, 9, False)):
        before, after = outcomes(won, lost)
        found = compare([{"x": x} for x in before], [{"x": x} for x in after], seed=0)["x"]
        assert found["noise"] is noise
        assert (found["interval"][0] <= 0 <= found["interval"][1]) is noise
    assert compare([{"x": math.nan}], [{"x": 1.0}], seed=0)["x"]["noise"] is True


def test_questions_and_metrics_must_match() -> None:
    one, two = [{"x": 1.0}], [{"x": 1.0}, {"x": 0.0}]
    for before, after in ((one, two), (two, one), ([], [])):
        with pytest.raises(ValueError, match=f"{len(before)} questions before and {len(after)} after"):
            compare(before, after, seed=0)
        lists = [d["x"] for d in before], [d["x"] for d in after]
        with pytest.raises(ValueError, match="values before"):
            paired_interval(*lists, seed=0)
        with pytest.raises(ValueError, match="values before"):
            mcnemar_p(*lists)
    for other in ([{"y": 1.0}], [{"x": 1.0, "y": 1.0}], [{}]):
        with pytest.raises(ValueError, match="metrics of the first"):
            compare(one, other, seed=0)
    with pytest.raises(ValueError, match="metrics of the first"):
        compare([{"x": 1.0}, {"y": 1.0}], two, seed=0)


def test_hierarchical_draws_of_constant_gains_are_their_mean() -> None:
    draws = hierarchical_draws({0: np.full((2, 5), 0.25), 1: np.full((1, 5), 0.25)}, seed=0)
    assert draws.shape == (2000,)
    assert percentile_interval(draws) == pytest.approx([0.25, 0.25])


def test_hierarchical_draws_vary_with_seeds_choices_and_questions() -> None:
    """Two seeds, choices or questions with gains 0 and 1: half of two draws is 0, 1/2 or 1, and one in four is 0."""
    by_seed = {0: np.zeros((1, 3)), 1: np.ones((1, 3))}
    by_choice = {0: np.array([[0.0] * 3, [1.0] * 3])}
    by_question = {0: np.array([[0.0, 1.0]])}
    for gains in (by_seed, by_choice, by_question):
        draws = hierarchical_draws(gains, seed=0)
        values, counts = np.unique(draws, return_counts=True)
        assert values.tolist() == [0.0, 0.5, 1.0]
        assert counts / 2000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_a_question_is_drawn_for_all_seeds_together() -> None:
    """Two seeds with the same questions vary as one does; with other questions their mean varies less."""
    gains = {seed: np.array([[0.0, 1.0] * 20]) for seed in range(2)}
    same = hierarchical_draws(gains, seed=0)
    others = hierarchical_draws(gains, 0, {seed: [f"{seed} {number}" for number in range(40)] for seed in range(2)})
    one = hierarchical_draws({0: gains[0]}, seed=0)
    assert same.std() == pytest.approx(one.std(), rel=0.05)
    assert others.std() < 0.9 * one.std()


def test_hierarchical_draws_depend_on_the_seed() -> None:
    gains = {0: np.array([[0.0, 1.0, 0.0, 1.0]])}
    assert np.array_equal(hierarchical_draws(gains, seed=1), hierarchical_draws(gains, seed=1))
    assert not np.array_equal(hierarchical_draws(gains, seed=1), hierarchical_draws(gains, seed=2))


def test_the_percentile_interval_is_the_middle_95_percent() -> None:
    assert percentile_interval(np.arange(1001.0)) == [25.0, 975.0]
