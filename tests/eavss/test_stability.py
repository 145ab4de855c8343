"""Resampling of whole questions: against plain recomputation, and on data whose answer is known."""

import pytest
import torch
from torch import Tensor

from eavss import scores
from eavss.errors import EavssError
from eavss.selectors import cheapest_equal, select_layers
from eavss.stability import (
    bootstrap_weights,
    random_flips,
    random_halves,
    resampled_scores,
    stability,
    tau,
    weighted_shares,
)


def changes(questions: int = 40, blocks: int = 5, units: int = 16, signal: float = 1.0) -> Tensor:
    """Differences whose systematic part grows with the block."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(questions, blocks, units, generator=generator)
    direction = torch.randn(units, generator=generator)
    return noise + signal * torch.arange(blocks).view(1, -1, 1) / blocks * direction


def test_equal_weights_give_the_plain_share() -> None:
    differences = changes()
    ones = torch.ones(1, 40)
    torch.testing.assert_close(weighted_shares(differences[:, 3], ones)[0], scores.systematic_share(differences)[3])
    shares = scores.systematic_share(differences.double())
    torch.testing.assert_close(resampled_scores(differences, ones)[0], scores.eavss_of_shares(shares))
    torch.testing.assert_close(
        resampled_scores(differences, ones, scores.hsav_of_shares)[0], scores.hsav_of_shares(shares)
    )


def test_weights_of_one_and_zero_are_the_questions_left() -> None:
    differences = changes()
    weights = (torch.arange(40) % 3 > 0).long().unsqueeze(0)
    kept = scores.systematic_share(differences[weights[0].bool()].double())
    torch.testing.assert_close(resampled_scores(differences, weights)[0], scores.eavss_of_shares(kept))


def test_negative_weights_are_flipped_questions() -> None:
    differences = changes()
    signs = random_flips(40, 3, seed=1)
    for row, sign in zip(resampled_scores(differences, signs), signs, strict=True):
        flipped = scores.systematic_share(differences.double() * sign.view(-1, 1, 1))
        torch.testing.assert_close(row, scores.eavss_of_shares(flipped))


def test_a_question_drawn_twice_makes_no_pair_with_itself() -> None:
    """d = 1 and -1 and 2, drawn 2, 1 and 0 times: pairs of different questions are 1 * -1 alone, mean -1.

    The mean square is (2 * 1 + 1 * 1) / 3 = 1, so rho = -1; with its pairs with itself question 1 would raise it.
    """
    assert weighted_shares(torch.tensor([[1.0], [-1.0], [2.0]]), torch.tensor([[2.0, 1.0, 0.0]])).item() == -1
    assert weighted_shares(torch.zeros(3, 2), torch.ones(1, 3)).tolist() == [[0, 0]]
    assert weighted_shares(torch.ones(2, 1), torch.tensor([[2.0, 0.0]])).item() == 0  # alone, so without a pair


def test_the_bootstrap_does_not_raise_what_has_no_signal() -> None:
    differences = changes(questions=60, units=200, signal=0.0)
    draws = resampled_scores(differences, bootstrap_weights(60, 200, seed=0), scores.hsav_of_shares)
    assert draws.mean().abs().item() < 0.004  # a naive bootstrap is off by 1 / n = 0.017


def test_draws() -> None:
    weights = bootstrap_weights(30, 5, seed=0)
    assert weights.shape == (5, 30)
    assert weights.sum(1).tolist() == [30] * 5
    first, second = random_halves(31, 4, seed=0)
    assert first.sum(1).tolist() == second.sum(1).tolist() == [15] * 4
    assert not (first * second).any()
    assert torch.equal(bootstrap_weights(30, 5, seed=0), weights)
    assert not torch.equal(bootstrap_weights(30, 5, seed=1), weights)


def test_a_clear_signal_is_stable_and_none_is_not() -> None:
    clear, none = stability(changes(200, signal=2.0), count=2), stability(changes(200, signal=0.0), count=2)
    assert clear.p_value == pytest.approx(1 / 201)
    assert none.p_value > 0.05
    assert clear.split_half_tau > 0.9
    assert abs(none.split_half_tau) < 0.4
    assert clear.frequency[3:].min() > 0.98
    assert none.frequency.max() < 1
    assert ((clear.low <= clear.scores) & (clear.scores <= clear.high)).all()


def test_two_questions_are_few_but_no_error() -> None:
    found = stability(changes(2), count=2, draws=20)
    assert torch.isfinite(torch.cat([found.scores, found.low, found.high])).all()
    assert found.split_half_tau == 0


def test_tau() -> None:
    """Orders 1 2 3 4 and 1 2 4 3: five of six pairs agree, one does not, (5 - 1) / 6."""
    assert tau(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 2, 4, 3])) == pytest.approx(4 / 6)


def test_the_cheapest_choice_that_is_as_good() -> None:
    """Blocks 1 and 4 are best. Block 3 is 0.1 behind block 1, within its noise of 1; with noise of 0.01 it is not."""
    means = torch.tensor([0.0, 5.0, 0.0, 4.9, 5.0])
    noise = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    assert cheapest_equal(means + noise, 2) == [3, 4]
    assert cheapest_equal(means + 0.01 * noise, 2) == [1, 4]
    assert cheapest_equal(means + noise, 5) == [0, 1, 2, 3, 4]
    record = [{"layer": layer} for layer in range(5)]
    assert select_layers(record, "cost_aware", 0.4, draws=means + noise) == [3, 4]
    with pytest.raises(EavssError, match="needs bootstrap scores"):
        select_layers(record, "cost_aware", 0.4)
