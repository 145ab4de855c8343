"""Streamed activations against plain autograd on tiny models, and what is left behind."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from eavss.activation import (
    active_shares,
    all_matrices,
    block_matrices,
    mean_activation,
    pattern_similarity,
    receive_activation,
    threshold_of,
)
from eavss.errors import EavssError
from tests.toys import BLOCKS, tiny_model

TEXTS = [[5, 17, 250, 9], [40, 2, 2, 81, 120, 33, 7], [100]]


def tied_model() -> PreTrainedModel:
    """A tiny llama whose embedding is its head."""
    model = tiny_model("llama")
    model.lm_head.weight = model.model.embed_tokens.weight
    return model


def naive_activation(model: nn.Module, names: list[str], ids: list[int]) -> dict[str, Tensor]:
    """|w * dy/dw| from one call of autograd, with all logits and all gradients at once."""
    parameters = dict(model.named_parameters())
    y = model(input_ids=torch.tensor([ids])).logits[0, -1].max()
    gradients = torch.autograd.grad(y, [parameters[name] for name in names])
    return {name: (parameters[name] * g).abs().detach() for name, g in zip(names, gradients, strict=True)}


def naive_mean(model: nn.Module, names: list[str]) -> dict[str, Tensor]:
    each = [naive_activation(model, names, ids) for ids in TEXTS]
    return {name: torch.stack([found[name] for found in each]).mean(0) for name in names}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, activation in expected.items():
        assert activation.max() > 0, name
        torch.testing.assert_close(found[name], activation, rtol=1e-4, atol=1e-8)


def test_the_mean_is_that_of_plain_autograd(model: PreTrainedModel) -> None:
    names = list(all_matrices(model))
    assert_equal(mean_activation(model, TEXTS), naive_mean(model, names))


def test_tied_embeddings_have_the_gradient_of_both_uses() -> None:
    model = tied_model()
    parameters = dict(model.named_parameters())
    assert "lm_head.weight" not in parameters
    embedding = "model.embed_tokens.weight"
    found = mean_activation(model, TEXTS, parameters)
    assert_equal({embedding: found[embedding]}, naive_mean(model, [embedding]))
    assert_equal(mean_activation(model, TEXTS), naive_mean(model, list(all_matrices(model))))


def test_the_matrices_are_the_blocks_own(model_kind: str) -> None:
    model = tiny_model(model_kind)
    found = block_matrices(model)
    assert len(found) == BLOCKS
    named = dict(model.named_parameters())
    assert all(named[name] is parameter for own in found for name, parameter in own.items())
    matrices = {"llama": 7, "qwen2": 7, "gpt2": 4, "gpt_neox": 4}
    assert [len(own) for own in found] == [matrices[model_kind]] * BLOCKS
    assert all(f".{layer}." in name for layer, own in enumerate(found) for name in own)


def test_a_matrix_that_blocks_share_is_the_first_ones() -> None:
    model = tiny_model("llama")
    layers = model.model.layers
    layers[2].mlp.up_proj = layers[0].mlp.up_proj
    assert [len(own) for own in block_matrices(model)] == [7, 7, 6, 7]
    names = list(all_matrices(model))
    assert_equal(mean_activation(model, TEXTS), naive_mean(model, names))


def test_one_gradient_lives_at_a_time() -> None:
    model = tiny_model("llama")
    parameters, alive = all_matrices(model), []

    def receive(_name: str, activation: Tensor) -> None:
        assert activation.dtype == torch.float32
        alive.append(sum(parameter.grad is not None for parameter in model.parameters()))

    receive_activation(model, parameters, TEXTS[0], receive)
    assert alive == [0] * len(parameters)


def test_the_model_is_as_before() -> None:
    model = tiny_model("llama").train()
    model.model.layers[1].eval()
    frozen, kept = model.model.embed_tokens.weight.requires_grad_(False), model.model.norm.weight
    kept.grad = torch.ones_like(kept)
    modes = [module.training for module in model.modules()]
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def refuse(_name: str, _activation: Tensor) -> None:
        raise KeyboardInterrupt

    mean_activation(model, TEXTS)
    with pytest.raises(KeyboardInterrupt):
        receive_activation(model, all_matrices(model), TEXTS[0], refuse)
    assert [module.training for module in model.modules()] == modes
    wanted = [parameter is not frozen for parameter in model.parameters()]
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert kept.grad is not None
    assert torch.equal(kept.grad, torch.ones_like(kept))
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["model.norm.weight"]
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())
    assert all(torch.equal(parameter, weights[name]) for name, parameter in model.named_parameters())


def test_similarity_is_the_cosine_of_the_whole_blocks_patterns(model: PreTrainedModel) -> None:
    one, other = (naive_activation(model, list(all_matrices(model)), ids) for ids in TEXTS[:2])
    expected = []
    for own in block_matrices(model):
        a, b = (torch.cat([found[name].flatten() for name in own]) for found in (one, other))
        expected.append(float(F.cosine_similarity(a, b, dim=0)))
    found = pattern_similarity(model, mean_activation(model, [TEXTS[0]]), TEXTS[1])
    assert found == pytest.approx(expected, rel=1e-4)
    assert max(found) < 0.999
    assert pattern_similarity(model, mean_activation(model, [TEXTS[1]]), TEXTS[1]) == pytest.approx([1.0] * BLOCKS)


def test_a_block_that_has_no_part_is_like_nothing() -> None:
    model = tiny_model("llama")
    for parameter in block_matrices(model)[2].values():
        nn.init.zeros_(parameter)
    similarity = pattern_similarity(model, mean_activation(model, [TEXTS[0]]), TEXTS[1])
    assert [value > 0 for value in similarity] == [True, True, False, True]


def test_shares_by_hand() -> None:
    """Of 1, 2, 3 and 6 the mean is 3, and one is above it; above 1 are three."""
    mean = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0], [6.0]])}
    assert threshold_of("scale_free", mean, 30) == 3
    assert active_shares(mean, 3.0) == {"a": 0.0, "b": 0.5}
    assert active_shares(mean, 1.0) == {"a": 0.5, "b": 1.0}
    assert [threshold_of("paper", mean, blocks) for blocks in (32, 30, 40)] == [2e-6, 5e-6, 5e-6]


@pytest.mark.parametrize(
    ("texts", "what"), [([], "the mean activation of no texts"), ([[1], []], "a text without a token")]
)
def test_nothing_has_no_activation(texts: list[list[int]], what: str) -> None:
    with pytest.raises(EavssError, match=what):
        mean_activation(tiny_model("llama"), texts)


def test_a_logit_that_is_no_number_is_refused() -> None:
    model = tiny_model("llama")
    nn.init.constant_(model.lm_head.weight, math.nan)
    with pytest.raises(EavssError, match="the largest logit of a text is nan"):
        mean_activation(model, TEXTS)
