"""Generate text with settings that are ours alone, and no step for a text that has ended."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.cache_utils import Cache

from eavss.prompt_cache import can_share, read_prompts

# Most answers are short. A round of decoding goes on with the unfinished ones alone, and doubles what they have.
_FIRST_ROUND = 4


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

    input_ids and attention_mask are (B, T). past_key_values are those of the first T - 1 columns.
    """

    input_ids: Tensor
    attention_mask: Tensor
    past_key_values: NotRequired[Cache]


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


Round = tuple[list[int], list[list[int]]]


@dataclass
class Decoding:
    """How a model writes.

    Args:
        ending: the tokens that end an answer.
        how: keyword arguments of `generate`.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    stops: Sequence[str]
    ending: list[int]
    how: Mapping[str, object]

    def at_once(self, prompts: Sequence[Sequence[int]], limit: int, copies: int = 1) -> Iterator[Round]:
        """Yield the rows and the tokens that the model writes in one call of `generate`; see `in_rounds`."""
        repeated = [prompt for prompt in prompts for _ in range(copies)]
        inputs = padded_left(repeated, self._pad_id, next(self.model.parameters()).device)
        written = self._generate(inputs, limit).sequences[:, inputs["input_ids"].shape[1] :]
        yield list(range(len(repeated))), written.tolist()

    def in_rounds(self, prompts: Sequence[Sequence[int]], limit: int, copies: int = 1) -> Iterator[Round]:
        """Yield the rows that are still written in each round, and the tokens that each of them got.

        What the prompts have in common is read once, and a row that has ended takes no further step. One row alone, or
        a model whose cache cannot be shared, gets all tokens in one round.

        Args:
            copies: how many answers to write to each prompt; those to the first prompt come first.
        """
        rows = list(range(len(prompts) * copies))
        if len(rows) == 1 or not can_share(self.model):
            yield from self.at_once(prompts, limit, copies)
            return
        inputs = self._after_reading(prompts, copies)
        texts = [""] * len(rows)
        total = 0
        while rows:
            count = min(limit, max(_FIRST_ROUND, 2 * total)) - total
            start = inputs["input_ids"].shape[1]
            found = self._generate(inputs, count)
            written = found.sequences[:, start:].tolist()
            yield rows, written
            total += count
            if total == limit:
                return
            for row, ids in zip(rows, written, strict=True):
                texts[row] += str(self.tokenizer.decode(ids, skip_special_tokens=True))
            going = [i for i, row in enumerate(rows) if not self._ended(written[i], texts[row])]
            rows = [rows[i] for i in going]
            inputs = _of_rows(found, inputs["attention_mask"], going)

    def _after_reading(self, prompts: Sequence[Sequence[int]], copies: int) -> Inputs:
        """Read the prompts without their last tokens, and return the inputs with which the model goes on."""
        device = next(self.model.parameters()).device
        repeated = torch.arange(len(prompts), device=device).repeat_interleave(copies)
        cache = read_prompts(self.model, prompts).take(repeated)
        ones = cache.mask.new_ones(len(cache.mask), 1)
        width = cache.mask.shape[1]
        ids = [[*prompt[:-1], *[self._pad_id] * (width + 1 - len(prompt)), prompt[-1]] for prompt in prompts]
        return {
            "input_ids": torch.tensor(ids, device=device)[repeated],
            "attention_mask": torch.cat([cache.mask, ones], dim=1),
            "past_key_values": cache.as_dynamic_cache(),
        }

    def _generate(self, inputs: Inputs, limit: int) -> Any:
        return self.model.generate(  # type: ignore[operator] # (torch's __getattr__)
            **inputs,
            **self.how,
            max_new_tokens=limit,
            pad_token_id=self._pad_id,
            eos_token_id=self.ending or None,
            return_dict_in_generate=True,
            **({"stop_strings": list(self.stops), "tokenizer": self.tokenizer} if self.stops else {}),
        )

    @property
    def _pad_id(self) -> int:
        # Padding after the end is removed with the special tokens, so it has to be one of them.
        pad_id = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad_id is None else pad_id)

    def _ended(self, ids: Sequence[int], text: str) -> bool:
        return ids[-1] in (*self.ending, self._pad_id) or any(stop in text for stop in self.stops)


def _of_rows(found: Any, mask: Tensor, rows: list[int]) -> Inputs:
    """Return the inputs with which some rows of a generation go on. No row of them has padding after its prompt."""
    cache: Cache = found.past_key_values
    chosen = torch.tensor(rows, dtype=torch.long, device=mask.device)
    cache.batch_select_indices(chosen)
    ids: Tensor = found.sequences[chosen]
    new = mask.new_ones(len(rows), ids.shape[1] - mask.shape[1])
    return {"input_ids": ids, "attention_mask": torch.cat([mask[chosen], new], dim=1), "past_key_values": cache}


def _causal_lm(model: nn.Module) -> PreTrainedModel:
    """Return the model without PEFT's wrapper, which has the same settings in another place."""
    inner: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator, assignment]
    return inner
