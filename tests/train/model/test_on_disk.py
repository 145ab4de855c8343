"""A base and its adapter on disk, against the same in memory."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    Llama4ForCausalLM,
    Llama4TextConfig,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from tests.toys import HIDDEN, VOCABULARY, tiny_model, tiny_tokenizer
from train.model.loading import load_adapter, read_model
from train.model.on_disk import distinct_weights, is_on_disk, merge_as_read
from train.publishing import reload_check
from train.publishing.checkpoints import Adapter
from train.publishing.reload_check import fixed_logprobs
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
FILE = "model.safetensors"


def tiny_mixture() -> PreTrainedModel:
    """A mixture of experts, which transformers fuses when it loads them."""
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return MixtralForCausalLM(
        MixtralConfig(vocab_size=VOCABULARY, num_key_value_heads=2, num_local_experts=4, **sizes)
    ).eval()


def written(folder: Path, model: PreTrainedModel, dtype: torch.dtype = torch.bfloat16, **lora: object) -> BaseModel:
    """Write a base in `dtype` to `folder`, and an adapter with a random effect to `folder`/adapter."""
    model.to(dtype).save_pretrained(folder)  # type: ignore[arg-type] # (a decorator hides the signature)
    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **lora)  # type: ignore[arg-type] # (any option)
    get_peft_model(model, config).save_pretrained(folder / "adapter")
    return BaseModel(str(folder), dtype="float32")


def saved(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> bytes:
    """Round a model's weights and save it, as an export does."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.save_pretrained(folder, state_dict=distinct_weights(model))
    return (folder / FILE).read_bytes()


LLAMA = {
    "target_modules": ["q_proj", "up_proj"],
    "use_rslora": True,
    "layers_to_transform": [1, 2],
    "rank_pattern": {"layers.1.self_attn.q_proj": 4},
    "alpha_pattern": {"up_proj": 7},
}
CASES = {
    "llama": (lambda: tiny_model("llama"), torch.bfloat16, LLAMA),
    "transposed and tied": (
        lambda: tiny_model("gpt2"),
        torch.float32,
        {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True},
    ),
    "fused experts": (tiny_mixture, torch.bfloat16, {"target_modules": ["q_proj"]}),
}


@pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules")
@pytest.mark.parametrize("case", CASES)
def test_what_is_merged_on_disk_is_byte_equal_to_what_is_merged_in_memory(case: str, tmp_path: Path) -> None:
    make, dtype, lora = CASES[case]
    base, adapter = written(tmp_path, make(), dtype, **lora), tmp_path / "adapter"
    whole = load_adapter(read_model(base), str(adapter))
    with Adapter(adapter, base).loaded(tmp_path) as model:
        assert is_on_disk(model)
        torch.testing.assert_close(model(input_ids=IDS).logits, whole(input_ids=IDS).logits, rtol=0, atol=0)
        merged, reference = merge_as_read(model), whole.merge_and_unload(safe_merge=True)
        torch.testing.assert_close(merged(input_ids=IDS).logits, reference(input_ids=IDS).logits, rtol=0, atol=0)
        assert all(parameter.is_meta for parameter in merged.parameters()), "memory holds what has been used"
        found = saved(merged, tmp_path / "found", torch.bfloat16)
    assert found == saved(reference, tmp_path / "expected", torch.bfloat16)
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter", "found"}
    assert not list(tmp_path.glob(".weights.*"))


def test_an_adapter_that_is_more_than_lora_is_loaded_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = written(tmp_path, tiny_model("llama"), target_modules=["q_proj"], use_dora=True)
    with Adapter(tmp_path / "adapter", base).loaded(tmp_path) as model:
        assert not is_on_disk(model)
    assert "the base is loaded whole, in 4 bytes a parameter" in capsys.readouterr().out


def test_a_base_that_is_stored_under_the_name_of_its_tied_head_is_loaded_whole(tmp_path: Path) -> None:
    """transformers ties in both directions, and accelerate finds the weight under the first name alone."""
    lora = {"target_modules": ["c_attn"], "fan_in_fan_out": True}
    base = written(tmp_path, tiny_model("gpt2"), torch.float32, **lora)
    weights = load_file(tmp_path / FILE)
    weights["lm_head.weight"] = weights.pop("transformer.wte.weight")
    save_file(weights, tmp_path / FILE, metadata={"format": "pt"})
    with Adapter(tmp_path / "adapter", base).loaded(tmp_path) as model:
        assert not is_on_disk(model)


def llama_4() -> PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 16, "intermediate_size_mlp": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 2}
    return Llama4ForCausalLM(Llama4TextConfig(vocab_size=VOCABULARY, pad_token_id=0, **sizes, **heads))


def mamba() -> PreTrainedModel:
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, state_size=4, num_hidden_layers=2))


@pytest.mark.parametrize(("make", "target", "on_disk"), [(llama_4, "q_proj", False), (mamba, "in_proj", True)])
def test_a_model_that_uses_weights_of_a_module_that_was_not_called_is_loaded_whole(
    make: Callable[[], PreTrainedModel], target: str, on_disk: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While they are on disk they are nowhere. Mamba does so with a cache alone."""
    torch.manual_seed(0)
    base = written(tmp_path, make(), torch.float32, target_modules=[target])
    with Adapter(tmp_path / "adapter", base).loaded(tmp_path) as model:
        assert is_on_disk(model) == on_disk
    tiny_tokenizer().save_pretrained(tmp_path)
    reload_check.main([str(tmp_path)])
    found = json.loads(capsys.readouterr().out.rpartition("log-probabilities:")[2])
    assert found == pytest.approx(fixed_logprobs(read_model(base), tiny_tokenizer()))


def test_a_merged_weight_that_is_no_number_is_refused(tmp_path: Path) -> None:
    base = written(tmp_path, tiny_model("llama"), target_modules=["q_proj"])
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] = torch.inf
    save_file(weights, file, metadata={"format": "pt"})
    with Adapter(tmp_path / "adapter", base).loaded(tmp_path) as model:
        merged = merge_as_read(model)
        with pytest.raises(ModelError, match=r"layers\.0\.self_attn\.q_proj\.weight holds NaN or an infinity"):
            merged(input_ids=IDS)
