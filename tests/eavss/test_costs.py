"""Counted costs, by hand and against what a real training step takes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MixtralConfig, MixtralForCausalLM, PreTrainedModel

from eavss.costs import ForwardCosts, flop_counter, forward_costs
from scripts.families.configs import tiny
from tests.toys import BLOCKS, HIDDEN, VOCABULARY, tiny_model
from train.model.lora import add_lora
from train.model.lora_counts import equivalent_parameters
from train.recipe.settings import LoraSettings


def test_training_costs_by_hand() -> None:
    """Blocks of 10 FLOPs a token, a head of 100 a position; 5 tokens, 2 positions.

    Blocks 2 and 3 of four, cached: forward and backward through two blocks, 5 * (20 + 20), and the head twice, 400.
    Not cached: the forward pass takes all four, 5 * (40 + 20) + 400. An adapter of 3 parameters in each of two blocks
    adds 5 * 6 * 3 * 2 = 180. Blocks 1 and 3 reach down to block 1: 5 * (30 + 30) + 400.
    """
    costs = ForwardCosts((10.0,) * 4, 100.0)
    assert costs.training([2, 3], 5, 2) == 600
    assert costs.training([2, 3], 5, 2, cached=False) == 700
    assert costs.training([2, 3], 5, 2, lora_parameters=(3,) * 4) == 780
    assert costs.training([3, 1], 5, 2) == 700
    assert costs.reading(5, 2) == 400


def test_forward_costs_by_hand() -> None:
    """A llama block of H = 32: four H x H products and three H x 64, two FLOPs for each weight; a head of 300 x H."""
    costs = forward_costs(tiny_model("llama"))
    assert len(costs.blocks) == BLOCKS
    weights = 2 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * 64)
    assert all(weights <= cost <= 1.2 * weights for cost in costs.blocks)  # and a little attention
    assert costs.head == 2 * HIDDEN * VOCABULARY


@pytest.mark.parametrize("layers", [[2, 3], [1], [0, 1, 2, 3]])
def test_the_estimate_is_what_a_step_takes(model: PreTrainedModel, layers: list[int]) -> None:
    settings = LoraSettings()
    estimate = forward_costs(model).training(
        layers, tokens=40, predicted=40, lora_parameters=equivalent_parameters(model, settings), cached=False
    )
    adapted = add_lora(model, layers, settings)
    with FlopCounterMode(display=False) as counter:
        adapted(input_ids=torch.ones(2, 20, dtype=torch.long), use_cache=False).logits.sum().backward()
    assert counter.get_total_flops() == pytest.approx(estimate, rel=0.12)


def test_the_estimate_is_what_a_step_with_experts_takes() -> None:
    """Without the gradient of the experts' whole weights it would be a fifth too little."""
    model, settings = tiny("Mixtral"), LoraSettings(r=1, experts=True)
    costs, lora = forward_costs(model), equivalent_parameters(model, settings)
    estimate = costs.training([2, 3], tokens=400, predicted=400, lora_parameters=lora, cached=False)
    adapted = add_lora(model, [2, 3], settings)
    with flop_counter() as counter:
        adapted(input_ids=torch.arange(400).view(2, 200) % 300, use_cache=False).logits.sum().backward()
    assert counter.get_total_flops() == pytest.approx(estimate, rel=0.12)
    assert estimate > 1.2 * costs.training([2, 3], tokens=400, predicted=400, cached=False)


def test_fused_attention_is_not_counted_wherever_it_runs() -> None:
    """As it runs on a GPU: with fewer heads of keys than of queries, which torch's own counter refuses."""
    query, key = torch.empty(1, 4, 8, 16, device="meta"), torch.empty(1, 2, 8, 16, device="meta")
    with flop_counter() as counter:
        torch.ops.aten._scaled_dot_product_flash_attention(query, key, key)
    assert counter.get_total_flops() == 0


@pytest.mark.parametrize("experts", ["grouped_mm", "batched_mm", "eager"])
def test_active_experts_are_counted_by_hand(experts: str) -> None:
    """Mixtral with H = 64: two H x H and two H x H/2 products of attention, a router of H x 4, and two of four experts
    with three H x 96 products each."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = MixtralConfig(vocab_size=300, **sizes, num_key_value_heads=2, num_local_experts=4)
    model = MixtralForCausalLM(config).eval()
    model.set_experts_implementation(experts)
    for block in forward_costs(model).blocks:
        assert block == 24_576 + 512 + 73_728
