"""Let a model write answers, and keep how likely each of their tokens was."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from eavss.decoding import Decoding
from eavss.generation import SampleTokens, ending_ids, plain_generation
from eavss.prompt_cache import Beginning

# A float32 copy of so many rows' logits fits a processor's cache.
_ROWS = 8


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
    folder_settings: bool = False,
    beginning: Beginning | None = None,
) -> list[Written]:
    """Let a model continue each prompt with its likeliest tokens, until a stop string or an end-of-sequence.

    Args:
        model: a causal LM, in evaluation mode.
        tokenizer: its tokenizer.
        prompts: token ids, at least two in each prompt.
        stops: an answer ends before the first of these strings.
        limit: the most tokens that an answer has.
        ends: see `ending_ids`.
        folder_settings: keep the settings in the model's folder, such as a repetition penalty, as
            lm-evaluation-harness does.
        beginning: what all prompts begin with, if it has been read already (`eavss.prompt_cache.read_beginning`).
    """
    likeliest = _Likeliest()
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    with nullcontext() if folder_settings else plain_generation(model):
        processors = LogitsProcessorList([likeliest])
        decoding = Decoding(model, tokenizer, stops, ending_ids(model, tokenizer, ends), processors)
        own = decoding.in_steps(prompts, limit, beginning=beginning)
        for rows, written in decoding.at_once(prompts, limit) if folder_settings else own:
            for row, ids, values in zip(rows, written, likeliest.take(), strict=True):
                tokens[row] += ids
                logprobs[row] += values
    return [_written(tokenizer, ids, own, stops) for ids, own in zip(tokens, logprobs, strict=True)]


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
    tokens: list[list[int]] = [[] for _ in range(len(prompts) * count)]
    with plain_generation(model):
        processors = LogitsProcessorList([SampleTokens()])
        decoding = Decoding(model, tokenizer, stops, ending_ids(model, tokenizer, ends), processors)
        for rows, written in decoding.in_steps(prompts, limit, count):
            for row, ids in zip(rows, written, strict=True):
                tokens[row] += ids
    texts = [until_stop(str(tokenizer.decode(ids, skip_special_tokens=True)), stops) for ids in tokens]
    return [texts[start : start + count] for start in range(0, len(texts), count)]


class _Likeliest(LogitsProcessor):
    """Keeps the log-probability of the likeliest token of each step, which greedy decoding takes."""

    def __init__(self) -> None:
        self._logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        parts = [torch.log_softmax(part, -1, dtype=torch.float32).amax(-1) for part in scores.split(_ROWS)]
        self._logprobs.append(torch.cat(parts))
        return scores

    def take(self) -> list[list[float]]:
        """Return what was kept since the last call, a list a row."""
        steps, self._logprobs = self._logprobs, []
        values: list[list[float]] = torch.stack(steps, dim=1).tolist()
        return values


def _written(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], logprobs: list[float], stops: Sequence[str]
) -> Written:
    """Cut an answer before its first stop string, and its tokens where their text is whole."""

    def text(count: int) -> str:
        return until_stop(str(tokenizer.decode(ids[:count], skip_special_tokens=True)), stops)

    whole = text(len(ids))
    tokens = next(count for count in range(len(ids) + 1) if text(count) == whole)
    return Written(whole, logprobs[:tokens])


def until_stop(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of the stop strings, without the space around it."""
    for stop in stops:
        text = text.split(stop)[0]
    return text.strip()
