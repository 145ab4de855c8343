"""Loading a base model and its tokenizer; what cannot be loaded is named."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.model import loading
from train.model.loading import load_model
from train.model.tokenizer import load_tokenizer
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError


def test_a_loaded_model_has_no_dropout_and_its_tokenizer_a_padding_token(tmp_path: Path) -> None:
    tiny_model("gpt2").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    base, (_, training) = BaseModel(str(tmp_path / "model"), dtype="float32"), arguments(tmp_path)
    model = load_model(base, training)
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))
    assert load_tokenizer(base).pad_token == "<eos>"


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
    base, (_, training) = BaseModel(str(folder), dtype="float32"), arguments(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(base, training)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_in_shares_is_said_to_be_read_whole(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole means: without weights first, as a check."""

    def read(base: BaseModel, device_map: str | None = None) -> PreTrainedModel:
        if device_map is None:
            raise ModelError("model_name_or_path: RWKV cannot be loaded: why")
        return tiny_model("llama")

    monkeypatch.setattr(loading, "zero3_settings", lambda _: {"stage": 3})
    monkeypatch.setattr(loading, "read_model", read)
    _, training = arguments(tmp_path)
    with pytest.raises(ModelError, match=r"RWKV cannot be loaded: why \(ZeRO-3 reads it in shares, and recipes"):
        load_model(BaseModel(str(saved_model), dtype="float32"), training)


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.config.save_pretrained(tmp_path / "model")
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    base, (_, training) = BaseModel(str(tmp_path / "model"), dtype="float32"), arguments(tmp_path)
    with pytest.raises(ModelError, match="safetensors"):
        load_model(base, training)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    """Told from the config, with or without the library that could read them."""
    tiny_model("llama").save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    quantised = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    path.write_text(json.dumps(json.loads(path.read_text()) | quantised))
    _, training = arguments(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded: its weights are quantised"):
        load_model(BaseModel(str(tmp_path / "model")), training)
