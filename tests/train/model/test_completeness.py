"""Weights that a checkpoint lacks are named, and never made up."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from tests.toys import KINDS, save_tiny, tiny_model, train_toy
from train.model.adapter_files import save_adapter
from train.model.loading import load_adapter, read_model
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError

Weights = dict[str, Tensor]


def changed(folder: Path, change: Callable[[Weights], Weights]) -> str:
    """Save a tiny model whose weights are changed afterwards; return its folder."""
    save_tiny(folder)
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return str(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: {f"base_model.model.{name}": weight for name, weight in weights.items()},
            "it lacks lm_head.weight and 38 more; it holds base_model.model.lm_head.weight: save the model without",
        ),
        (
            lambda weights: {name.replace("q_proj", "q_proj.base_layer"): w for name, w in weights.items()},
            "it lacks model.layers.0.self_attn.q_proj.weight and 3 more",
        ),
        (lambda weights: {n: w for n, w in weights.items() if "lm_head" not in n}, "it lacks lm_head.weight"),
        (
            lambda weights: {n: w for n, w in weights.items() if ".layers.3." not in n},
            "it lacks model.layers.3.input_layernorm.weight and 8 more",
        ),
        (lambda weights: {n: w for n, w in weights.items() if n != "model.norm.weight"}, "it lacks model.norm.weight"),
        (
            lambda weights: weights | {"lm_head.weight": torch.zeros(10, 32)},
            "it has another shape for lm_head.weight",
        ),
        (
            lambda weights: (
                weights | {n.replace(".3.", ".4."): w.clone() for n, w in weights.items() if ".layers.3." in n}
            ),
            "it has more blocks than its config, such as model.layers.4.input_layernorm.weight and 8 more",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(
    change: Callable[[Weights], Weights], message: str, tmp_path: Path
) -> None:
    folder = changed(tmp_path / "model", change)
    with pytest.raises(ModelError) as caught:
        read_model(BaseModel(folder, dtype="float32"))
    assert f"model_name_or_path: {folder} is not complete: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_one_line(number: float, tmp_path: Path) -> None:
    def broken(weights: Weights) -> Weights:
        for name in ("model.layers.2.mlp.up_proj.weight", "model.norm.weight"):
            weights[name].view(-1)[5] = number
        return weights

    folder = changed(tmp_path / "model", broken)
    with pytest.raises(
        ModelError, match=r"holds NaN or an infinity in model\.layers\.2\.mlp\.up_proj\.weight and 1 more"
    ):
        read_model(BaseModel(folder, dtype="float32"))


@pytest.mark.parametrize("kind", KINDS)
def test_whole_checkpoints_are_loaded(kind: str, tmp_path: Path) -> None:
    tiny_model(kind).save_pretrained(tmp_path)
    assert read_model(BaseModel(str(tmp_path), dtype="float32")).num_parameters() > 0


def test_a_tied_head_and_old_buffers_are_not_missing(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, tie_word_embeddings=True, **sizes)).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    save_file(load_file(path) | buffer, path, metadata={"format": "pt"})
    model = read_model(BaseModel(str(tmp_path), dtype="float32"))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_an_adapter_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    _, adapted, _ = train_toy(tmp_path)
    save_adapter(adapted, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(path)
    lost = min(weights)
    save_file({name: weight for name, weight in weights.items() if name != lost}, path)
    with pytest.raises(ModelError, match="is not whole: it lacks"):
        load_adapter(tiny_model("llama"), str(tmp_path / "adapter"))


def test_an_adapter_given_as_the_base_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    with pytest.raises(ModelError, match=r"is an adapter of org/base, not a base model; pass org/base here"):
        read_model(BaseModel(str(tmp_path)))
