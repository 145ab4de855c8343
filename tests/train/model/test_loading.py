"""LoRA lands where it should, and a model that cannot be loaded is named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.toys import KINDS, arguments, tiny_model, tiny_tokenizer
from train.model.loading import load_model, load_tokenizer
from train.model.lora import add_lora, trainable_blocks
from train.runtime.errors import ModelError, RecipeError


@pytest.mark.parametrize("kind", KINDS)
def test_lora_lands_on_exactly_the_selected_blocks(kind: str, tmp_path: Path) -> None:
    adapted = add_lora(tiny_model(kind), [1, 3], arguments(tmp_path)[0])
    assert trainable_blocks(adapted) == [1, 3]


def test_lora_on_an_unknown_module_is_refused(tmp_path: Path) -> None:
    args, _ = arguments(tmp_path, "--lora_target_modules", "q_proj", "query")
    with pytest.raises(RecipeError, match=r"lora_target_modules: \['query'\] should be among"):
        add_lora(tiny_model("llama"), [1], args)


def test_a_parameter_outside_the_blocks_is_seen() -> None:
    model = tiny_model("llama")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "model.norm.weight" or name.startswith("model.layers.2."))
    assert trainable_blocks(model) == [-1, 2]


def test_a_loaded_model_has_no_dropout_and_its_tokenizer_a_padding_token(tmp_path: Path) -> None:
    tiny_model("gpt2").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    args, training = arguments(tmp_path)
    args.model_name_or_path = str(tmp_path / "model")
    model = load_model(args, training)
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))
    assert load_tokenizer(args).pad_token == "<eos>"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "cannot be loaded"),
        ({"config.json": '{"model_type": "llama"}'}, "cannot be loaded"),
    ],
)
def test_a_folder_without_a_model_is_one_line(files: dict[str, str], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    args, training = arguments(tmp_path)
    args.model_name_or_path = str(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(args, training)
    assert "\n" not in str(caught.value)


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.config.save_pretrained(tmp_path / "model")
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    args, training = arguments(tmp_path)
    args.model_name_or_path = str(tmp_path / "model")
    with pytest.raises(ModelError, match="safetensors"):
        load_model(args, training)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    """Told from the config, with or without the library that could read them."""
    tiny_model("llama").save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    path.write_text(json.dumps(json.loads(path.read_text()) | quantised))
    args, training = arguments(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded: its weights are quantised"):
        load_model(replace(args, model_name_or_path=str(tmp_path / "model")), training)
