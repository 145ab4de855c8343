"""Grouped attention is eager attention with fewer copies."""

import pytest
import torch
from transformers.models.llama.modeling_llama import eager_attention_forward

from scripts.families.configs import tiny
from train.model.attention import GROUPED, can_group, grouped_attention
from train.model.loading import choose_training_attention
from train.recipe.settings import BaseModel


@pytest.mark.parametrize(("heads", "key_heads"), [(6, 2), (4, 4), (4, 1)])
def test_it_is_eager_attention(heads: int, key_heads: int) -> None:
    torch.manual_seed(0)
    module = torch.nn.Module()
    module.num_key_value_groups = heads // key_heads  # type: ignore[assignment]
    mask = torch.zeros(3, 1, 7, 7).masked_fill(torch.rand(3, 1, 7, 7) < 0.3, torch.finfo(torch.float32).min)
    # As a model has them: heads are split from the last dimension.
    inputs = [torch.randn(3, 7, count, 8, requires_grad=True) for count in (heads, key_heads, key_heads)]
    wanted = torch.randn(3, 7, heads, 8)
    outputs, gradients = [], []
    for attend in (eager_attention_forward, grouped_attention):
        query, key, value = (each.transpose(1, 2) for each in inputs)
        output, _ = attend(module, query, key, value, mask, scaling=0.3)
        outputs.append(output)
        gradients.append(torch.autograd.grad((output * wanted).sum(), inputs))
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("family", "grouped"), [("Llama", True), ("GPT-NeoX", True), ("Gemma 2", False), ("GPT-OSS", False), ("MPT", False)]
)
def test_families_whose_attention_does_more_keep_their_own(family: str, grouped: bool) -> None:
    model = tiny(family)
    before = model.config._attn_implementation
    assert can_group(model) is grouped
    assert model.config._attn_implementation == before
    choose_training_attention(model, BaseModel("toy/toy"), 512)
    assert model.config._attn_implementation == (GROUPED if grouped else "eager")


def test_an_implementation_that_is_named_and_long_texts_stay() -> None:
    model = tiny("Llama")
    before = model.config._attn_implementation
    choose_training_attention(model, BaseModel("toy/toy"), 513)
    choose_training_attention(model, BaseModel("toy/toy", attn_implementation="sdpa"), 512)
    assert model.config._attn_implementation == before != GROUPED
