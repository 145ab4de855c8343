"""Generate text with settings that are ours alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)


@contextmanager
def plain_generation(model: nn.Module) -> Iterator[None]:
    """Hide the settings in the model's generation_config.json from `generate` calls inside, special tokens aside.

    `generate` takes every setting that a call leaves open from the model's folder, such as a repetition penalty, and
    greedy decoding would then not write the likeliest token.
    """
    base = _causal_lm(model)
    own = base.generation_config
    base.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    try:
        yield
    finally:
        base.generation_config = own


class SampleTokens(LogitsProcessor):
    """Draws each next token at temperature 1 from torch's generator, and leaves no other for greedy decoding to take.

    It takes one random number a row. `torch.multinomial`, with which `generate` draws, takes one for every token of the
    vocabulary, which is half of the time of writing on a CPU.

    Args:
        banned: tokens that are never drawn.
    """

    def __init__(self, banned: Sequence[int] = ()) -> None:
        self._banned = list(banned)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1, dtype=torch.float32)
        probabilities[:, self._banned] = 0
        cumulative = probabilities.cumsum(-1)
        drawn = torch.rand(len(scores), 1, device=scores.device) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, drawn, right=True).clamp_max(scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens, 0.0)


def sampling(banned: Sequence[int] = ()) -> dict[str, object]:
    """Return the keyword arguments of `generate` that sample at temperature 1; see `SampleTokens`."""
    return {"do_sample": False, "logits_processor": LogitsProcessorList([SampleTokens(banned)])}


class Inputs(TypedDict):
    """The texts that a model is to continue, as keyword arguments of `generate`.

    Both are (B, T).
    """

    input_ids: Tensor
    attention_mask: Tensor


def padded_left(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> Inputs:
    """Put prompts that texts are to follow into one batch."""
    width = max(map(len, prompts))
    ids = [[pad_id] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {
        "input_ids": torch.tensor(ids, device=device),
        "attention_mask": torch.tensor(mask, device=device),
    }


def ending_ids(model: nn.Module, tokenizer: PreTrainedTokenizerBase, last: Sequence[int] = ()) -> list[int]:
    """Return the tokens at which generation ends: the model's own, and the tokenizer's end-of-sequence token.

    Args:
        last: the last token of what ends an answer in training, which also ends one here if it stands for no text.
    """
    own = _causal_lm(model).generation_config.eos_token_id
    special = [token for token in last if token in tokenizer.added_tokens_decoder]
    listed = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id, *special]
    return list(dict.fromkeys(int(token) for token in listed if token is not None))


def _causal_lm(model: nn.Module) -> PreTrainedModel:
    """Return the model without PEFT's wrapper, which has the same settings in another place."""
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator, assignment]
    return inner
