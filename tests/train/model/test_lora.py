"""LoRA lands on the selected blocks, and on nothing else."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from eavss.blocks import find_blocks
from scripts.families.configs import tiny
from tests.toys import KINDS, tiny_model
from train.model.adapter_files import save_adapter
from train.model.loading import load_adapter
from train.model.lora import adaptable_names, add_lora, lora_targets, trainable_blocks
from train.model.lora_counts import adapted_share, adapter_sizes, equivalent_parameters, lora_parameters
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


MIXTURES = {
    "Mixtral": [2, 3],
    "Qwen 3 MoE": [1],
    "Qwen 3 MoE, mixed": [2, 3],  # experts in block 3 alone
    "GPT-OSS": [1, 3],
    "DeepSeek-V3": [1, 2, 3],  # all blocks that have experts
}


@pytest.mark.parametrize(("family", "blocks"), MIXTURES.items(), ids=MIXTURES)
def test_experts_of_chosen_blocks_are_adapted_learn_and_are_merged(
    family: str, blocks: list[int], tmp_path: Path
) -> None:
    """At rank 3 for each of four experts, whose adapters PEFT holds as one of 12 rows."""
    model, settings = tiny(family), LoraSettings(r=3, experts=True)
    having = [layer for layer in blocks if find_blocks(model).fused_experts(layer)]
    counted, ids = lora_parameters(model, settings), torch.arange(40, 88).view(2, 24)
    adapted = add_lora(model, blocks, settings)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert trainable_blocks(adapted) == blocks
    assert sum(counted[layer] for layer in blocks) == sum(p.numel() for p in trained.values())
    experts = {name: p for name, p in trained.items() if ".experts." in name}
    assert {int(name.split(".layers.")[1].split(".")[0]) for name in experts} == set(having)
    assert {p.shape[0] for name, p in experts.items() if "lora_A" in name} == {12}
    assert {p.shape[0] for name, p in trained.items() if "lora_A" in name and name not in experts} == {3}
    before = {name: p.detach().clone() for name, p in experts.items()}
    optimiser = torch.optim.SGD(trained.values(), lr=0.1)
    for _ in range(2):
        adapted(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
    assert not [name for name, p in experts.items() if torch.equal(p, before[name])]
    save_adapter(adapted, tmp_path / "adapter")
    expected = adapted.eval()(input_ids=ids).logits
    loaded = load_adapter(tiny(family), str(tmp_path / "adapter"))
    assert torch.equal(loaded(input_ids=ids).logits, expected)
    merged = loaded.merge_and_unload(safe_merge=True)
    torch.testing.assert_close(merged(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)


def test_experts_that_a_model_does_not_have_are_refused() -> None:
    with pytest.raises(RecipeError, match="lora_experts: LlamaForCausalLM has no fused experts; it should be false"):
        add_lora(tiny_model("llama"), [1], LoraSettings(experts=True))


def test_the_share_with_experts_by_hand() -> None:
    """Mixtral: attention 12,288 weights, four experts of 3 * 64 * 96, a router of 256 and two norms of 64."""
    model, experts = tiny("Mixtral"), 4 * 3 * 64 * 96
    assert adapted_share(model, LoraSettings(experts=True)) == (12_288 + experts) / (12_288 + experts + 384)
    assert adapted_share(model, LoraSettings()) == 12_288 / (12_288 + experts + 384)
    assert equivalent_parameters(model, LoraSettings(r=2, experts=True))[0] == pytest.approx(
        2 * (128 + 2 * 96 + 128) + 2 * 3 * 64 * 96 / 3
    )
