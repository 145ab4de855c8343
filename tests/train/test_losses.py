"""Each term of the loss, against values worked by hand."""

import math
from dataclasses import fields, replace

import pytest
import torch

from train.losses import TERMS, LossWeights, TermInputs, cross_entropy, declining, dpo, infonce, weighted_sum
from train.recipe.arguments import REPOSITORY, EavssArguments


def test_cross_entropy_is_a_mean_of_means() -> None:
    """Answer 1: tokens at -1 and -3, mean 2. Answer 2: one token at -6, mean 6. Their mean is 4, not 10 / 3."""
    logprobs = torch.tensor([-1.0, -6.0, -3.0])
    per_answer = cross_entropy(logprobs, torch.tensor([0, 1, 0]), count=2)
    assert per_answer.tolist() == [2.0, 6.0]
    assert per_answer.mean().item() == pytest.approx(4.0)


def test_dpo_of_an_untrained_model_is_log_two() -> None:
    same = torch.tensor([-5.0, -7.0])
    assert dpo(same, same - 1, same, same - 1, beta=0.1).item() == pytest.approx(math.log(2))


def test_dpo_by_hand() -> None:
    """chosen rose by 2, rejected fell by 3: margin 5, times beta 0.2 = 1, -log sigmoid(1) = log(1 + 1/e)."""
    loss = dpo(torch.tensor([-3.0]), torch.tensor([-8.0]), torch.tensor([-5.0]), torch.tensor([-5.0]), beta=0.2)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))


def test_infonce_by_hand() -> None:
    """Similarity 1 with the positive, 0 with one negative, at tau 0.5: -log(e^2 / (e^2 + e^0))."""
    anchor, positive = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    hallucinated = torch.tensor([[[0.0, 2.0]]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert infonce(anchor, positive, hallucinated, temperature=0.5).item() == pytest.approx(expected)


def test_infonce_falls_as_hallucinated_states_move_away() -> None:
    anchor = torch.tensor([[[1.0, 0.0]]])
    near, far = torch.tensor([[[1.0, 0.1]]]), torch.tensor([[[-1.0, 0.1]]])
    assert infonce(anchor, anchor, far, 0.1) < infonce(anchor, anchor, near, 0.1)


def test_infonce_averages_over_blocks() -> None:
    one = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0))
    other = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(1))
    both = infonce(torch.cat([one, other]), torch.cat([other, one]), torch.cat([one, one]), 0.1)
    apart = (infonce(one, other, one, 0.1) + infonce(other, one, one, 0.1)) / 2
    assert both.item() == pytest.approx(apart.item(), rel=1e-5)


def test_declining_by_hand() -> None:
    """The chosen one is e times as likely: -log(e / (e + 1)). It takes no reference, and whole sums."""
    loss = declining(torch.tensor([-3.0, -3.0]), torch.tensor([-4.0, -3.0]))
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-1)) + math.log(2)) / 2)


def test_each_kind_of_pair_has_its_own_cross_entropy() -> None:
    inputs = TermInputs(torch.tensor([1.0, 3.0]), *[torch.zeros(2)] * 4, states=None, replay_logits=None)
    for declines, (named, other) in ((False, ("ce", "decline_ce")), (True, ("decline_ce", "ce"))):
        found = {term.name: term.compute(replace(inputs, declines=declines), LossWeights()) for term in TERMS}
        assert found[named] == 2.0
        assert found[other] is None


def test_every_term_has_a_weight_in_the_recipe_and_a_place_in_the_documents() -> None:
    keys = {field.name for field in fields(EavssArguments)}
    method = (REPOSITORY / "docs/method.md").read_text(encoding="utf-8")
    for term in TERMS:
        assert f"{term.name}_weight" in keys
        assert LossWeights(**{term.name: 0.25}).of(term.name) == 0.25
        assert term.label.lower() in method.lower()
    assert set(LossWeights().by_name()) == {term.name for term in TERMS}


def test_a_part_adds_its_share_of_the_pairs_and_the_whole_of_a_replayed_text() -> None:
    """Weights 2 and 3 on values 5 and 7, half of the pairs: (2 * 5) * 0.5 + 3 * 7 = 26. DPO's weight is 0."""
    values = {"ce": torch.tensor(5.0), "dpo": torch.tensor(11.0), "replay": torch.tensor(7.0)}
    weights = LossWeights(ce=2.0, dpo=0.0, replay=3.0)
    assert weighted_sum(values, weights, share=0.5).item() == 26.0
