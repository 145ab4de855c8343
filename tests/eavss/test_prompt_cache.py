"""A prompt's keys and values serve all of its answers."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from eavss.prompt_cache import can_share, continuation, read_prompts
from tests.toys import KINDS, tiny_model

BEGINNING = tuple(range(1, 21))  # long enough to be read once for all prompts
PROMPTS = [(*BEGINNING, 30, 31, 32), (*BEGINNING, 40, 41), (*BEGINNING, 50, 51, 52, 53)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompts", [PROMPTS, [prompt[18:] for prompt in PROMPTS]], ids=["common", "own"])
@torch.no_grad()
def test_an_answer_after_the_cache_is_read_as_after_its_prompt(kind: str, prompts: list[tuple[int, ...]]) -> None:
    model = tiny_model(kind)
    cache = read_prompts(model, prompts)
    answer = (60, 61)
    rows = torch.tensor([2, 0, 2])
    inputs = continuation(cache.take(rows), [(prompts[row][-1], *answer) for row in rows], torch.device("cpu"))
    found = model(**inputs, use_cache=True).logits
    for row, logits in zip(rows, found, strict=True):
        alone = model(input_ids=torch.tensor([[*prompts[row], *answer]])).logits[0]
        torch.testing.assert_close(logits, alone[-3:], atol=1e-5, rtol=0)


def test_models_with_sliding_windows_do_not_share() -> None:
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        sliding_window=8,
    )
    model = MistralForCausalLM(config)
    assert not can_share(model)
    assert can_share(tiny_model("llama"))
