"""LoRA lands on the selected blocks, and on nothing else."""

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.families.configs import tiny
from tests.toys import KINDS, tiny_model
from train.model.lora import (
    adaptable_names,
    adapted_share,
    adapter_sizes,
    add_lora,
    lora_parameters,
    lora_targets,
    trainable_blocks,
)
from train.recipe.settings import LoraSettings
from train.runtime.errors import RecipeError


@pytest.mark.parametrize("kind", KINDS)
def test_lora_lands_on_exactly_the_selected_blocks(kind: str) -> None:
    adapted = add_lora(tiny_model(kind), [1, 3], LoraSettings())
    assert trainable_blocks(adapted) == [1, 3]


def test_lora_on_an_unknown_module_is_refused() -> None:
    settings = LoraSettings(target_modules=["q_proj", "query"])
    with pytest.raises(RecipeError, match=r"lora_target_modules: \['query'\] should be among"):
        add_lora(tiny_model("llama"), [1], settings)


def test_a_parameter_outside_the_blocks_is_seen() -> None:
    model = tiny_model("llama")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "model.norm.weight" or name.startswith("model.layers.2."))
    assert trainable_blocks(model) == [-1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_adapters_parameters_are_counted(kind: str) -> None:
    model, settings = tiny_model(kind), LoraSettings(r=3)
    counted = lora_parameters(model, settings)
    adapted = add_lora(model, [1, 2], settings)
    assert counted[1] + counted[2] == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_targets_are_read_from_every_block() -> None:
    """Mamba in blocks 0 and 2, attention in 1 and 3, and a multilayer perceptron in all."""
    model = tiny("Bamba")
    assert {"in_proj", "out_proj", "q_proj", "down_proj"} <= set(lora_targets(model, LoraSettings()))
    assert "q_proj" not in lora_targets(model, LoraSettings(), [0, 2])
    assert "in_proj" not in lora_targets(model, LoraSettings(), [1, 3])
    counted = lora_parameters(model, LoraSettings())
    adapted = add_lora(model, [0, 1], LoraSettings())
    assert counted[0] != counted[1]
    assert counted[0] + counted[1] == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_what_blocks_share_gets_no_adapter() -> None:
    """Blocks 1 and 3 have the same attention: merged into one, an adapter would change the other."""
    assert lora_targets(tiny("Zamba 2"), LoraSettings()) == ["in_proj", "linear", "out_proj"]


@pytest.mark.parametrize("family", ["DeepSeek-V3", "Qwen 3 MoE, mixed"])
def test_names_that_peft_takes_for_experts_are_left_out(family: str) -> None:
    settings = LoraSettings(r=8)
    adapted = add_lora(tiny(family), [2, 3], settings)
    assert trainable_blocks(adapted) == [2, 3]
    assert {p.shape[0] for name, p in adapted.named_parameters() if "lora_A" in name} == {8}
    with pytest.raises(RecipeError, match=r"lora_target_modules: PEFT cannot adapt gate_proj in chosen blocks"):
        lora_targets(tiny(family), LoraSettings(target_modules=["gate_proj"]))


@pytest.mark.parametrize("family", ["Mamba", "Falcon-H1"])
def test_names_that_peft_refuses_are_left_out(family: str) -> None:
    adapted = add_lora(tiny(family), [1], LoraSettings())
    assert trainable_blocks(adapted) == [1]
    assert not any("out_proj.lora" in name for name, _ in adapted.named_parameters())


@pytest.mark.parametrize("family", ["Llama 4 text", "Phi 3.5 MoE"])
def test_routers_get_no_adapter(family: str) -> None:
    assert not {"router", "gate"} & set(adaptable_names(tiny(family)))


def test_a_linear_layer_with_its_own_forward_is_no_router() -> None:
    assert "dense_h_to_4h" in adaptable_names(tiny("Falcon"))


def test_the_share_by_hand() -> None:
    """A llama block of H = 32 with 64 inner units has 10,240 weights in products and 64 in norms."""
    model, settings = tiny_model("llama"), LoraSettings()
    assert adapted_share(model, settings) == 10_240 / 10_304
    query = LoraSettings(target_modules=["q_proj"])
    assert adapted_share(model, query, [1]) == 1_024 / 10_304


def test_each_linear_layer_gets_its_own_rank_and_the_same_scale() -> None:
    model, settings = tiny_model("llama"), LoraSettings(r=8, alpha=16)
    ranks = {"1.self_attn.q_proj": 3, "1.mlp.down_proj": 11, "3.mlp.up_proj": 1}
    counted = lora_parameters(model, settings, ranks)
    sizes = adapter_sizes(model, settings)
    assert (sizes["1.self_attn.q_proj"], sizes["3.mlp.up_proj"]) == (64, 96)
    adapted = add_lora(model, [1, 3], settings, ranks)
    found = {
        name.partition("layers.")[2].partition(".lora_A")[0]: tuple(p.shape)
        for name, p in adapted.named_parameters()
        if "lora_A" in name
    }
    assert found == {"1.self_attn.q_proj": (3, 32), "1.mlp.down_proj": (11, 64), "3.mlp.up_proj": (1, 32)}
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained == sum(counted) == sum(ranks[name] * sizes[name] for name in ranks)
    scales = [m.scaling["default"] for m in adapted.modules() if hasattr(m, "lora_A")]
    assert scales == [2.0] * 3


def test_block_1_is_not_block_11() -> None:
    """PEFT matches the end of a name."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 30}
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=12, **sizes))
    adapted = add_lora(model, [1, 11], LoraSettings(), {"1.mlp.up_proj": 2, "11.mlp.up_proj": 5})
    assert [p.shape[0] for name, p in adapted.named_parameters() if "lora_A" in name] == [2, 5]
