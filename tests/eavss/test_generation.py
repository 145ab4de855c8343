"""What a model's folder says of generation has no part in ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from data.examples import Example
from eavss.blocks import find_blocks
from eavss.generation import SampleTokens, plain_generation
from tests.toys import tiny_model, tiny_tokenizer
from train.base.mined_answers import AnswerWriter
from train.base.replay_texts import write_replay_texts
from train.batching.encoding import Encoder
from train.evaluation.free_answers import FreeAnswers
from train.model.lora import add_lora
from train.recipe.settings import LoraSettings

EXAMPLES = [Example("nq", f"which number follows {number}?", ("one",)) for number in range(3)]
FOLDERS: list[dict[str, Any]] = [
    {"repetition_penalty": 1.3, "top_p": 0.8},
    {"no_repeat_ngram_size": 1},
    {"temperature": 0.2, "top_k": 3, "do_sample": True},
    {"num_beams": 3},
    {"suppress_tokens": list(range(40, 120))},
    {"min_new_tokens": 12},
]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf, 0.5], [3.0, 0.0, 0.0, 0.0, 0.0]])
    torch.manual_seed(0)
    draw = SampleTokens(banned=[4])
    left = torch.stack([draw(torch.zeros(2, 1), logits) for _ in range(4000)])  # (draws, rows, tokens)
    assert ((left == 0).sum(-1) == 1).all()
    assert (left[left != 0] == -torch.inf).all()
    expected = torch.cat([logits[:, :4], torch.full((2, 1), -torch.inf)], dim=1).softmax(-1)
    assert ((left == 0).float().mean(0) - expected).abs().max() < 0.03
    assert not (left[:, 0, 3:] == 0).any()


def test_draws_are_of_torchs_generator() -> None:
    logits = torch.randn(3, 50)

    def drawn(seed: int) -> list[int]:
        torch.manual_seed(seed)
        found: list[int] = SampleTokens()(torch.zeros(3, 1), logits).argmax(-1).tolist()
        return found

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))


def model_with(**settings: Any) -> PreTrainedModel:
    model = tiny_model("llama")
    model.generation_config = GenerationConfig(bos_token_id=256, eos_token_id=256, **settings)
    return model


def freely(model: PreTrainedModel, style: str = "plain") -> list[str]:
    return FreeAnswers(model, Encoder(tiny_tokenizer(), style, 128), 512)(EXAMPLES, "")


def mined(model: PreTrainedModel) -> list[list[str]]:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    prompts = ["Question: a\nAnswer:", "Question: b\nAnswer:"]
    return AnswerWriter(model, tokenizer, EXAMPLES, 3, seed=0)._write((0, prompts))


@pytest.mark.parametrize("settings", FOLDERS, ids=lambda settings: next(iter(settings)))
def test_free_answers_mined_answers_and_replay_texts_are_as_without(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert freely(model_with(**settings)) == freely(model_with())
    assert mined(model_with(**settings)) == mined(model_with())
    texts = write_replay_texts(model_with(), tiny_tokenizer(), seed=0)
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "another"))
    assert write_replay_texts(model_with(**settings), tiny_tokenizer(), seed=0) == texts


def test_harness_prompts_keep_the_folders_settings_as_the_harness_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.evaluation.free_answers._HARNESS_NEW_TOKENS", 8)
    assert freely(model_with(no_repeat_ngram_size=1), "harness") != freely(model_with(), "harness")


def test_the_models_own_settings_return_and_its_end_tokens_stay() -> None:
    model = model_with(repetition_penalty=1.3)
    own = model.generation_config
    with plain_generation(model):
        assert model.generation_config.eos_token_id == 256
        assert model.generation_config.repetition_penalty in (None, 1.0)
    assert model.generation_config is own
    with pytest.raises(ZeroDivisionError), plain_generation(model):
        1 / 0  # noqa: B018
    assert model.generation_config is own
    adapted = add_lora(model, [1], LoraSettings())
    with plain_generation(adapted):
        assert adapted.get_base_model().generation_config is not own
    assert adapted.get_base_model().generation_config is own
    assert len(find_blocks(adapted).modules) == 4
    assert isinstance(next(model.parameters()), torch.Tensor)
