"""Adapters and merged checkpoints on disk: what is written, and that nothing wrong stays."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, modeling_utils

from tests.toys import save_packable
from tests.train.publishing.toy_run import CONFIG, WEIGHTS, write_adapter
from train.model.source import named_base
from train.model.tokenizer import load_tokenizer
from train.publishing.checkpoints import Adapter, export_adapter, export_merged, find_adapter
from train.publishing.reload_check import fixed_logprobs
from train.recipe.settings import BaseModel, Quantization
from train.runtime.errors import ModelError, RecipeError

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture
def adapter(run: Path, base: Path) -> Adapter:
    return Adapter(run / "adapter", BaseModel(str(base)))


def test_an_adapter_is_found_in_a_run_and_by_itself(run: Path, base: Path, tmp_path: Path) -> None:
    assert find_adapter(run) == find_adapter(run / "adapter") == run / "adapter"
    assert named_base(run / "adapter") == str(base)
    shutil.copy(run / "adapter" / CONFIG, tmp_path / CONFIG)
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="no adapter in"):
        find_adapter(tmp_path)


def test_an_adapter_is_loaded_in_float32_whatever_the_recipe_says(adapter: Adapter, tmp_path: Path) -> None:
    """Its base is in bfloat16 on disk, and an attention of a GPU's is of no use here."""
    recipe = BaseModel(adapter.base.name, dtype="bfloat16", attn_implementation="flash_attention_2")
    with Adapter(adapter.folder, recipe).loaded(tmp_path) as model:
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_an_adapter_is_byte_equal_and_names_the_given_base(adapter: Adapter, tmp_path: Path) -> None:
    export_adapter(adapter, tmp_path / "out", "owner/base")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, CONFIG}
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (adapter.folder / WEIGHTS).read_bytes()
    config = json.loads((tmp_path / "out" / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "owner/base"
    assert config["target_modules"] == ["q_proj", "up_proj"]


def test_a_merged_checkpoint_in_the_bases_dtype_is_rounded_once(adapter: Adapter, tmp_path: Path) -> None:
    """The weights of blocks 1 and 3 change, by hand W + alpha / r * B A, and no other."""
    export_merged(adapter, tmp_path / "out", None, "5GB")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    original = load_file(Path(adapter.base.name) / "model.safetensors")
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}
    changed = {name for name, tensor in merged.items() if not torch.equal(tensor, original[name])}
    names = ("self_attn.q_proj", "mlp.up_proj")
    assert changed == {f"model.layers.{layer}.{name}.weight" for layer in (1, 3) for name in names}
    weights = load_file(adapter.folder / WEIGHTS)
    config = json.loads((adapter.folder / CONFIG).read_text())
    layer = "model.layers.3.mlp.up_proj"
    a, b = (weights[f"base_model.model.{layer}.lora_{name}.weight"].float() for name in "AB")
    by_hand = original[f"{layer}.weight"].float() + config["lora_alpha"] / config["r"] * b @ a
    torch.testing.assert_close(merged[f"{layer}.weight"].float(), by_hand, rtol=2**-8, atol=1e-6)


def test_a_merged_checkpoint_gives_what_the_adapter_on_its_base_gives(adapter: Adapter, tmp_path: Path) -> None:
    export_merged(adapter, tmp_path / "out", "float32", "5GB")
    assert not list((tmp_path / "out").glob("*.bin"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(adapter.base.name, dtype=torch.float32)
    plain = fixed_logprobs(base, tokenizer)
    found = fixed_logprobs(loaded, tokenizer)
    assert found == pytest.approx(
        fixed_logprobs(PeftModel.from_pretrained(base, str(adapter.folder)), tokenizer), abs=1e-3
    )
    assert found != pytest.approx(plain, abs=1e-2)


def test_a_merged_checkpoint_has_the_tokenizer_of_its_base_to_the_byte(adapter: Adapter, tmp_path: Path) -> None:
    """No padding token of ours, and no flag of a local folder."""
    export_merged(adapter, tmp_path / "out", None, "5GB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (Path(adapter.base.name) / name).read_bytes()
    assert "pad_token" not in json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())


def test_weights_that_cannot_be_parted_are_one_line(
    adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where what becomes several weights together lies in two files."""

    def lack_weights(*_: object) -> None:
        raise KeyError("of the next file")

    monkeypatch.setattr(modeling_utils, "revert_weight_conversion", lack_weights)
    with pytest.raises(ModelError, match="nothing was exported: with max_shard_size 60KB weights that transformers"):
        export_merged(adapter, tmp_path / "out", None, "60KB")
    assert not (tmp_path / "out").exists()


def test_large_checkpoints_are_divided_into_files(adapter: Adapter, tmp_path: Path) -> None:
    export_merged(adapter, tmp_path / "out", "float32", "60KB")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1


def test_an_export_overwrites_nothing(adapter: Adapter, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RecipeError, match="exists already; name another folder"):
        export_adapter(adapter, tmp_path, "owner/base")
    with pytest.raises(RecipeError, match="exists already; name another folder"):
        export_merged(adapter, tmp_path / "thesis.txt", None, "5GB")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_filled(adapter: Adapter, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_adapter(adapter, tmp_path / "out", "owner/base")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_broken_adapter_leaves_nothing(adapter: Adapter, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(adapter.folder, broken)
    (broken / WEIGHTS).write_bytes((broken / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        export_adapter(Adapter(broken, adapter.base), tmp_path / "new", "owner/base")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_checkpoint_that_gives_other_log_probabilities_leaves_nothing(
    adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are changed when they have been written."""
    original = PreTrainedModel.save_pretrained

    def spoil(self: PreTrainedModel, folder: Path, **options: Any) -> None:
        original(self, folder, **options)
        weights = load_file(folder / "model.safetensors")
        weights["lm_head.weight"] *= 1.1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", spoil)
    with pytest.raises(ModelError, match="the exported checkpoint gives log-probabilities that are off by"):
        export_merged(adapter, tmp_path / "out", None, "5GB")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("quantization", [Quantization(4), Quantization(8)], ids=str)
def test_an_adapter_on_a_packed_base_is_exported_and_merged(quantization: Quantization, tmp_path: Path) -> None:
    """What is merged says what the packed base says with the adapter, in plain weights without bitsandbytes."""
    base = save_packable(tmp_path / "base")
    packed = BaseModel(str(base), dtype="float32", quantization=quantization)
    folder = write_adapter(tmp_path / "adapter", base, AutoModelForCausalLM.from_pretrained(base))
    adapter = Adapter(folder, packed)
    export_adapter(adapter, tmp_path / "same", str(base))
    lost = export_merged(adapter, tmp_path / "merged", "float32", "5GB")
    assert lost == pytest.approx({4: 0.092, 8: 0.006}[quantization.bits], rel=0.05)
    merged, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), load_tokenizer(packed)
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    found = fixed_logprobs(merged, tokenizer)
    with adapter.loaded(tmp_path) as model:
        assert found == pytest.approx(fixed_logprobs(model, tokenizer), abs=1e-3)
    with Adapter(folder, BaseModel(str(base), dtype="float32")).loaded(tmp_path) as model:
        assert found != pytest.approx(fixed_logprobs(model, tokenizer), abs=1e-2)
