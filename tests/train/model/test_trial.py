"""What cannot be trained is refused when it is loaded."""

import pytest
import torch

from eavss.blocks import find_blocks
from eavss.errors import EavssError
from scripts.families.configs import tiny
from tests.toys import KINDS, count_hooks, tiny_model
from train.model.trial import require_trainable
from train.recipe.settings import LoraSettings
from train.runtime.errors import ModelError, RecipeError


@pytest.mark.parametrize("kind", KINDS)
def test_the_trial_leaves_a_model_as_it_was(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, state = tiny_model(kind), torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = count_hooks(model)
    require_trainable(model, LoraSettings())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert count_hooks(model) == hooks
    assert torch.equal(state, torch.get_rng_state())
    assert capsys.readouterr().out == ""


def test_states_of_four_dimensions_are_refused() -> None:
    with pytest.raises(EavssError, match=r"block 0 has states of shape \(4, 1, 8, 64\) for \(1, 8\) tokens; only"):
        require_trainable(tiny("Gemma 3n"), LoraSettings())


def test_an_adapter_that_changes_nothing_is_refused() -> None:
    model = tiny_model("llama")
    find_blocks(model).modules[1].forward = lambda hidden_states, **_others: hidden_states  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"in blocks \[1\] change nothing"):
        require_trainable(model, LoraSettings())


def test_whatever_a_forward_pass_raises_is_one_line() -> None:
    model = tiny_model("llama")

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise KeyError("a key\nof two lines")

    find_blocks(model).modules[2].forward = refuse  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"LlamaForCausalLM cannot be trained with LoRA: KeyError: ") as error:
        require_trainable(model, LoraSettings())
    assert "\n" not in str(error.value)


def test_the_share_of_a_mixture_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Attention is 24,576 of 98,816 active weights, and of 172,544 with all four experts and norms: 14%."""
    require_trainable(tiny("Mixtral"), LoraSettings())
    said = capsys.readouterr().out
    assert "note: LoRA adapts 14% of the blocks' weights: k_proj, o_proj, q_proj, v_proj." in said
    assert said.endswith("Its experts stay as they are; lora_experts: true adapts them.\n")
    require_trainable(tiny("Mixtral"), LoraSettings(experts=True))
    assert capsys.readouterr().out == ""


def test_adapters_of_experts_that_change_nothing_are_refused() -> None:
    model = tiny("Mixtral")
    experts = find_blocks(model).modules[1].mlp.experts
    experts.forward = lambda states, *_others: torch.zeros_like(states)
    with pytest.raises(ModelError, match=r"v_proj and the experts in blocks \[1\] change nothing"):
        require_trainable(model, LoraSettings(experts=True))


def test_experts_of_a_model_without_any_are_refused() -> None:
    with pytest.raises(RecipeError, match="lora_experts: LlamaForCausalLM has no fused experts"):
        require_trainable(tiny_model("llama"), LoraSettings(experts=True))
