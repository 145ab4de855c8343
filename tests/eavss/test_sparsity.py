"""Prune ratios by hand, and pruned weights against plain loops."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from eavss.errors import EavssError
from eavss.sparsity import prunable_layers, prune_ratios, pruned, wanda_scores
from tests.toys import BLOCKS, count_hooks, tiny_model

TEXTS = [[5, 17, 250, 9], [40, 2, 2, 81, 120, 33, 7]]


def by_output(module: nn.Module) -> torch.Tensor:
    """The weight as (outputs, inputs)."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    weight = weight.detach().clone()
    return weight if isinstance(module, nn.Linear) else weight.T


def layers_of(model: nn.Module) -> list[nn.Module]:
    return [module for own in prunable_layers(model) for module in own.values()]


def test_ratios_by_hand() -> None:
    """The shares .9, .7 and .2 have the mean .6. The widest distance is .4, so that c is .1 / .4 = .25."""
    assert prune_ratios([0.9, 0.7, 0.2], [5, 5, 5], 0.5, 0.1) == pytest.approx([0.425, 0.475, 0.6])
    assert prune_ratios([0.9, 0.7, 0.2], [5, 5, 5], 0.5, -0.1) == pytest.approx([0.575, 0.525, 0.4])
    assert prune_ratios([0.4, 0.4], [1, 2], 0.3, 0.1) == [0.3, 0.3]


def test_the_overall_sparsity_is_kept_whatever_the_sizes() -> None:
    sizes = [10, 30, 5]
    ratios = prune_ratios([0.9, 0.1, 0.3], sizes, 0.4, 0.2)
    assert sum(r * s for r, s in zip(ratios, sizes, strict=True)) / sum(sizes) == pytest.approx(0.4)
    assert max(abs(ratio - 0.4) for ratio in ratios) == pytest.approx(0.2)


def test_magnitude_pruning_takes_the_smallest_of_each_matrix(model: PreTrainedModel) -> None:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    whole = [by_output(module) for module in layers_of(model)]
    ratios = [0.0, 0.5, 0.25, 1.0]
    with pruned(model, ratios):
        for own, ratio in zip(prunable_layers(model), ratios, strict=True):
            for module in own.values():
                weight = by_output(module)
                assert int((weight == 0).sum()) == int(ratio * weight.numel())
        for module, weight in zip(layers_of(model), whole, strict=True):
            lost = by_output(module) == 0
            if 0 < int(lost.sum()) < lost.numel():
                assert weight[lost].abs().max() <= weight[~lost].abs().min()
            assert torch.equal(by_output(module)[~lost], weight[~lost])
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_scores_are_compared_within_each_output(model: PreTrainedModel) -> None:
    scores = wanda_scores(model, TEXTS)
    with pruned(model, [0.3] * BLOCKS, scores):
        for own in prunable_layers(model):
            for name, module in own.items():
                score = scores[f"{name}.weight"]
                rows = zip(by_output(module), score if isinstance(module, nn.Linear) else score.T, strict=True)
                for weight, row in rows:
                    lost = weight == 0
                    assert int(lost.sum()) == int(0.3 * len(row))
                    assert row[lost].max() <= row[~lost].min()


def test_wanda_is_magnitude_times_the_inputs_length() -> None:
    """Block 0's q_proj reads the normalised embeddings of the texts' eleven tokens."""
    model = tiny_model("llama")
    ids = torch.tensor([token for text in TEXTS for token in text])
    inputs = model.model.layers[0].input_layernorm(model.model.embed_tokens(ids))  # (11, H)
    weight = model.model.layers[0].self_attn.q_proj.weight
    found = wanda_scores(model, TEXTS)["model.layers.0.self_attn.q_proj.weight"]
    torch.testing.assert_close(found, (weight.abs() * inputs.norm(dim=0)).detach())
    assert count_hooks(model) == 0


def test_the_weights_come_back_after_an_error() -> None:
    model = tiny_model("gpt2")
    before = [by_output(module) for module in layers_of(model)]
    with pytest.raises(ZeroDivisionError), pruned(model, [0.5] * BLOCKS):
        raise ZeroDivisionError
    with pytest.raises(KeyError), pruned(model, [0.5] * BLOCKS, {}):
        pass
    assert all(torch.equal(by_output(m), weight) for m, weight in zip(layers_of(model), before, strict=True))


@pytest.mark.parametrize(
    ("ratios", "what"), [([0.5], "expected 4 ratios"), ([0.5, 0.5, 0.5, 1.1], "from 0 to 1"), ([-0.1] * 4, "from 0")]
)
def test_ratios_that_cannot_be(ratios: list[float], what: str) -> None:
    with pytest.raises(EavssError, match=what), pruned(tiny_model("llama"), ratios):
        pass


@pytest.mark.parametrize(("sparsity", "spread"), [(0.3, 0.4), (0.9, 0.2), (1.5, 0.1), (0.3, float("nan"))])
def test_a_spread_that_leads_out_of_range(sparsity: float, spread: float) -> None:
    with pytest.raises(EavssError, match="outside of 0 to 1"):
        prune_ratios([0.1, 0.2], [1, 1], sparsity, spread)
    with pytest.raises(EavssError, match="2 shares for 1 blocks"):
        prune_ratios([0.1, 0.2], [1], 0.5, 0.1)
