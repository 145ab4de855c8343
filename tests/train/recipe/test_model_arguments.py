"""The keys of the base model and of the adapter."""

from typing import Any

import pytest
from transformers import TrainingArguments
from transformers.integrations.deepspeed import HfDeepSpeedConfig

from train.recipe.model_arguments import ModelArguments
from train.recipe.settings import BaseModel, LoraSettings, Quantization
from train.recipe.trainer_checks import check_packing
from train.runtime.errors import RecipeError


def test_each_part_holds_the_keys_values() -> None:
    args = ModelArguments("org/model", model_revision="v2", dtype="float32", lora_r=4, lora_experts=True)
    assert args.base_model == BaseModel("org/model", "v2", dtype="float32")
    assert args.lora == LoraSettings(r=4, experts=True)


@pytest.mark.parametrize(
    ("keys", "expected", "words"),
    [
        ({"load_in_8bit": True}, Quantization(8), "8 bits"),
        ({"load_in_4bit": True}, Quantization(4), "4 bits (nf4)"),
        (
            {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "use_bnb_nested_quant": True},
            Quantization(4, "fp4", True),
            "4 bits (fp4, nested)",
        ),
    ],
)
def test_packed_weights(keys: dict[str, Any], expected: Quantization, words: str) -> None:
    args = ModelArguments("m", **keys)
    assert args.base_model.quantization == args.quantization == expected
    assert str(args.quantization) == words
    with pytest.raises(RecipeError, match=r"load_in_4bit, load_in_8bit: . bits.* should be left out: this writes"):
        args.require_own_precision()
    ModelArguments("m").require_own_precision()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"load_in_4bit": True, "load_in_8bit": True},
            "load_in_4bit, load_in_8bit: both should be one",
        ),
        ({"use_bnb_nested_quant": True}, "use_bnb_nested_quant: given should be left out, or load_in_4bit: true"),
        ({"load_in_8bit": True, "bnb_4bit_quant_type": "fp4"}, "bnb_4bit_quant_type: given should be left out"),
        ({"lora_experts": True, "lora_dropout": 0.1}, "lora_dropout: 0.1 should be 0 with lora_experts"),
    ],
)
def test_keys_that_contradict_each_other(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        ModelArguments("m", **keys)


@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_divided_cannot_be_packed(stage: int) -> None:
    training = TrainingArguments("out", use_cpu=True)
    training.hf_deepspeed_config = HfDeepSpeedConfig({"zero_optimization": {"stage": stage}})
    training.deepspeed = "a launcher would make this"
    check_packing(None, training)
    if stage == 3:
        with pytest.raises(RecipeError, match=r"^load_in_4bit: ZeRO-3 cannot divide packed weights; take recipes"):
            check_packing(Quantization(4), training)
    else:
        check_packing(Quantization(4), training)
