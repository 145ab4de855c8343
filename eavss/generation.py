"""Generate text with settings that are ours alone, and keep how likely each token was."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

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


def padded_left(prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> dict[str, Tensor]:
    """Return input_ids and attention_mask (B, T) of prompts that texts are to follow."""
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


class Written(NamedTuple):
    """An answer, without the space around it, and the log-probability of each of its tokens in nats."""

    text: str
    logprobs: list[float]


@torch.no_grad()
def answer_greedily(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[str],
    limit: int,
    ends: Sequence[int] = (),
) -> list[Written]:
    """Let a model continue each prompt with its likeliest tokens, until a stop string or an end-of-sequence.

    Args:
        model: a causal LM, in evaluation mode.
        tokenizer: its tokenizer.
        prompts: token ids.
        stops: an answer ends before the first of these strings.
        limit: the most tokens that an answer has.
        ends: see `ending_ids`.
    """
    likeliest = _Likeliest()
    how = {"do_sample": False, "logits_processor": LogitsProcessorList([likeliest])}
    rows = _continuations(model, tokenizer, prompts, stops=stops, limit=limit, ends=ends, how=how)
    logprobs = torch.stack(likeliest.logprobs, dim=1).tolist()  # (B, T)
    return [_written(tokenizer, row, own, stops) for row, own in zip(rows, logprobs, strict=True)]


@torch.no_grad()
def sample_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[str],
    limit: int,
    count: int,
    ends: Sequence[int] = (),
) -> list[list[str]]:
    """Sample `count` answers to each prompt at temperature 1, from torch's generator; see `answer_greedily`."""
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "num_return_sequences": count}
    rows = _continuations(model, tokenizer, prompts, stops=stops, limit=limit, ends=ends, how=how)
    texts = [_until_stop(str(tokenizer.decode(row, skip_special_tokens=True)), stops) for row in rows]
    return [texts[start : start + count] for start in range(0, len(texts), count)]


def _continuations(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[str],
    limit: int,
    ends: Sequence[int],
    how: Mapping[str, object],
) -> list[list[int]]:
    """Return the tokens that the model writes after each prompt; `how` says how it decodes."""
    # Padding after the end is removed with the special tokens, so it has to be one of them.
    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    inputs = padded_left(prompts, pad_id, next(model.parameters()).device)
    generated = model.generate(  # type: ignore[operator] # (torch's __getattr__)
        **inputs,
        **how,
        max_new_tokens=limit,
        pad_token_id=pad_id,
        eos_token_id=ending_ids(model, tokenizer, ends) or None,
        **({"stop_strings": list(stops), "tokenizer": tokenizer} if stops else {}),
    )
    rows: list[list[int]] = generated[:, inputs["input_ids"].shape[1] :].tolist()
    return rows


class _Likeliest(LogitsProcessor):
    """Keeps the log-probability of the likeliest token of each step, which greedy decoding takes."""

    def __init__(self) -> None:
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.logprobs.append(scores.float().amax(-1) - scores.float().logsumexp(-1))
        return scores


def _written(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], logprobs: list[float], stops: Sequence[str]
) -> Written:
    """Cut an answer before its first stop string, and its tokens where their text is whole."""

    def text(count: int) -> str:
        return _until_stop(str(tokenizer.decode(ids[:count], skip_special_tokens=True)), stops)

    whole = text(len(ids))
    tokens = next(count for count in range(len(ids) + 1) if text(count) == whole)
    return Written(whole, logprobs[:tokens])


def _until_stop(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text.strip()


def _causal_lm(model: nn.Module) -> PreTrainedModel:
    """Return the model without PEFT's wrapper, which has the same settings in another place."""
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator, assignment]
    return inner
