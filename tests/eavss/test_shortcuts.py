"""A shortcut is tried beside the plain path, and one that is wrong for a model is switched off."""

import logging
from functools import partial

import pytest
import torch
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedModel,
)

from eavss.blocks import find_blocks
from eavss.prompt_cache import can_share, shared_logits
from eavss.shortcuts import agrees, can_start_at, trial, trial_sequences
from tests.toys import KINDS, tiny_model
from train.batching.packing import can_pack, packed_logits

SIZES = {"vocab_size": 300, "hidden_size": 32}


def mpt(std: float) -> PreTrainedModel:
    return MptForCausalLM(
        MptConfig(vocab_size=300, d_model=32, n_layers=4, n_heads=2, max_seq_len=512, initializer_range=std)
    )


def gpt_neo(std: float, window: int = 256) -> PreTrainedModel:
    kinds = [[["global", "local"], 2]]
    sizes = {"num_layers": 4, "num_heads": 2, "max_position_embeddings": 512, "initializer_range": std}
    return GPTNeoForCausalLM(GPTNeoConfig(**SIZES, **sizes, attention_types=kinds, window_size=window))


class LeakyAttention(nn.Module):
    """Plants a leak: a block whose attention sees a little of every earlier token of its row, whatever the mask."""

    def __init__(self, attention: nn.Module, strength: float) -> None:
        super().__init__()
        self._attention = attention
        self._strength = strength

    def forward(self, hidden_states: torch.Tensor, **others: object) -> tuple[torch.Tensor, object]:
        output, weights = self._attention(hidden_states=hidden_states, **others)
        return output + self._strength * hidden_states.cumsum(1), weights


def leaky(strength: float = 1e-2) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**SIZES, **sizes)).eval()
    block = find_blocks(model).modules[2]
    block.self_attn = LeakyAttention(block.self_attn, strength)  # type: ignore[assignment, arg-type]
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_models_that_obey_masks_and_positions_take_every_shortcut(kind: str, dtype: torch.dtype) -> None:
    model = tiny_model(kind).to(dtype)  # type: ignore[arg-type]
    assert can_share(model)
    assert can_pack(model)
    assert all(can_start_at(model, layer) for layer in (1, 2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("std", [0.1, 0.02], ids=["large", "as initialised"])
@pytest.mark.parametrize("make", [mpt, gpt_neo, partial(gpt_neo, window=8)], ids=["mpt", "gpt_neo", "gpt_neo_8"])
def test_positions_by_column_and_unknown_windows_are_found(make, std: float, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = make(std).to(dtype).eval()
    assert not can_share(model)
    assert not can_pack(model)
    assert can_start_at(model, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_planted_leak_is_found(dtype: torch.dtype) -> None:
    model = leaky().to(dtype)  # type: ignore[arg-type]
    assert not can_pack(model)
    assert not can_share(model)
    assert can_pack(leaky(0.0))


def test_a_leak_a_hundredth_as_strong_is_found_in_float32() -> None:
    model = leaky(1e-4)
    found = trial(model, partial(packed_logits, model))
    assert not found.passed
    assert found.difference < 1e-2


def test_a_block_that_keeps_something_from_below_is_found() -> None:
    """As blocks with shared keys and values do: block 3 reads what block 0 has left."""
    model = tiny_model("llama")
    first, last = (find_blocks(model).modules[index] for index in (0, 3))
    kept: list[torch.Tensor] = []
    first.register_forward_hook(lambda _module, _args, output: kept.append(output))
    last.register_forward_hook(lambda _module, _args, output: output + kept[-1])
    assert not can_start_at(model, 2)


def test_what_a_model_refuses_is_not_used_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    model = BloomForCausalLM(BloomConfig(vocab_size=300, hidden_size=32, n_layer=2, n_head=2)).eval()
    with caplog.at_level(logging.WARNING, "eavss"):
        assert not can_pack(model)
        assert not can_pack(model)
    (record,) = caplog.records
    assert record.getMessage().startswith("packed answers are switched off: this model does not run with them (")


def test_a_difference_is_said_in_nats(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model("llama")
    with caplog.at_level(logging.WARNING, "eavss"):
        assert not agrees(model, "wrong answers", lambda sequences: shared_logits(model, sequences).roll(1, 0))
    assert "wrong answers are switched off: with them this model's log-probabilities" in caplog.text


def test_nan_does_not_pass() -> None:
    model = tiny_model("llama")
    assert not trial(model, lambda sequences: shared_logits(model, sequences) * torch.nan).passed


def test_trial_sequences_exceed_a_window_of_the_config() -> None:
    first, second, third, _ = trial_sequences(gpt_neo(0.02))
    assert first.prompt == second.prompt
    assert len(first.prompt) > 256
    assert len(third) < 64
    assert first.ids[:20] == third.ids[:20]
    assert max(map(len, trial_sequences(tiny_model("gpt2")))) < 96
    assert trial_sequences(gpt_neo(0.02)) == trial_sequences(gpt_neo(0.1))


def test_a_trial_leaves_the_model_as_it_was() -> None:
    model = tiny_model("llama").train()
    state = torch.get_rng_state()
    assert can_share(model)
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
