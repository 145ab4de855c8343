"""A prompt's keys and values, computed once and used for each of its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from eavss.batches import TokenSequence
from eavss.encoding import common_length
from eavss.rewiring import is_rewired
from eavss.shortcuts import agrees

SHARED_PROMPTS = "shared prompts"
# Below this a common beginning is not worth a pass of its own.
_SHORTEST_COMMON_PREFIX = 16


@dataclass(frozen=True)
class PromptCache:
    """The keys and values of P prompts without their last tokens, padded on the right to C tokens.

    Args:
        layers: each block's keys and values, (P, heads, C, size of a head) each.
        mask: (P, C), 1 for real tokens.
    """

    layers: list[tuple[Tensor, Tensor]]
    mask: Tensor

    def take(self, rows: Tensor) -> "PromptCache":
        """Take the prompts `rows`, which may repeat, without the columns that are padding in all of them."""
        mask = self.mask[rows]
        width = int(mask.sum(1).max())
        return PromptCache([(k[rows, :, :width], v[rows, :, :width]) for k, v in self.layers], mask[:, :width])

    def as_dynamic_cache(self) -> DynamicCache:
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys, values, index)
        return cache


def can_share(model: nn.Module) -> bool:
    """Return whether a prompt's keys and values can be kept and used for each of its answers.

    Sliding windows and recurrent states cannot be shared: padding between prompt and answer would move the window, and
    a state cannot be cut. A rewired model may run a block twice or not at all, for which the cache has no place. What
    the cache does not know of, as positions that are counted by columns, is found by trying (`eavss.shortcuts`).
    """
    return keeps_keys(model) and not is_rewired(model) and agrees(model, SHARED_PROMPTS, partial(shared_logits, model))


def keeps_keys(model: nn.Module) -> bool:
    """Return whether every block keeps plain keys and values, and nothing else."""
    config: PreTrainedConfig = model.config  # type: ignore[assignment] # (torch's __getattr__)
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def shared_logits(model: nn.Module, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the logits (N, V) that predict the answers, with each prompt read once; for `eavss.shortcuts`."""
    prompts = list(dict.fromkeys(sequence.prompt for sequence in sequences))
    cache = read_prompts(model, prompts)
    rows = torch.tensor([prompts.index(sequence.prompt) for sequence in sequences], device=cache.mask.device)
    pieces: list[Sequence[int]] = [(s.prompt[-1], *s.answer[:-1]) for s in sequences]
    logits = model(**continuation(cache.take(rows), pieces, cache.mask.device), use_cache=True).logits
    return torch.cat([row[: len(piece)] for row, piece in zip(logits, pieces, strict=True)])


@dataclass(frozen=True)
class Beginning:
    """What several prompts begin with.

    Args:
        ids: its tokens.
        cache: its keys and values, as those of one prompt.
    """

    ids: tuple[int, ...]
    cache: PromptCache


def read_beginning(model: nn.Module, prompts: Sequence[Sequence[int]]) -> Beginning | None:
    """Run the model over what all prompts begin with; None where that is too short to be worth a pass of its own.

    Args:
        model: a causal LM whose cache can be shared.
        prompts: token ids, at least two in each prompt.
    """
    common = common_length([prompt[:-2] for prompt in prompts])
    if common < _SHORTEST_COMMON_PREFIX or len(prompts) < 2:
        return None
    ids = tuple(prompts[0][:common])
    return Beginning(ids, _extend(model, None, [ids]))


def read_prompts(model: nn.Module, prompts: Sequence[Sequence[int]], beginning: Beginning | None = None) -> PromptCache:
    """Run the model over each prompt without its last token, and only once over a beginning that all prompts share.

    Args:
        model: a causal LM whose cache can be shared.
        prompts: token ids, at least two in each prompt.
        beginning: `read_beginning` of these prompts and others; None to look for one here.
    """
    beginning = beginning or read_beginning(model, prompts)
    if beginning is None:
        return _extend(model, None, [prompt[:-1] for prompt in prompts])
    rows = torch.zeros(len(prompts), dtype=torch.long, device=beginning.cache.mask.device)
    return _extend(model, beginning.cache.take(rows), [prompt[len(beginning.ids) : -1] for prompt in prompts])


def _extend(model: nn.Module, past: PromptCache | None, pieces: list[Sequence[int]]) -> PromptCache:
    inputs = continuation(past, pieces, next(model.parameters()).device)
    cache = model.get_decoder()(**inputs, use_cache=True).past_key_values  # type: ignore[operator]
    return PromptCache([(layer.keys, layer.values) for layer in cache.layers], inputs["attention_mask"])


class ContinuationInputs(TypedDict):
    """The keyword arguments with which a model reads on after cached prompts."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    past_key_values: DynamicCache | None


def continuation(past: PromptCache | None, pieces: list[Sequence[int]], device: torch.device) -> ContinuationInputs:
    """Make the model's inputs for one piece of text after each cached prompt, padded on the right to T tokens.

    Returns:
        input_ids and position_ids (P, T), attention_mask (P, C + T), past_key_values.
    """
    lengths = torch.tensor([len(piece) for piece in pieces], device=device).unsqueeze(1)  # (P, 1)
    width = int(lengths.max())
    ids = torch.tensor([[*piece, *[0] * (width - len(piece))] for piece in pieces], device=device)
    steps = torch.arange(width, device=device).unsqueeze(0)  # (1, T)
    mask = (steps < lengths).long()
    if past is None:
        return {"input_ids": ids, "position_ids": steps.expand_as(ids), "attention_mask": mask, "past_key_values": None}
    return {
        "input_ids": ids,
        "position_ids": past.mask.sum(1, keepdim=True) + steps,
        "attention_mask": torch.cat([past.mask, mask], dim=1),
        "past_key_values": past.as_dynamic_cache(),
    }
