"""LoRA lands on the selected blocks, and on nothing else."""

import pytest

from tests.toys import KINDS, tiny_model
from train.model.lora import add_lora, lora_parameters, trainable_blocks
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
