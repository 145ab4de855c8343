"""Attention for the short rows of training on a CPU, which transformers' own spends on copies."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from eavss.batches import TokenSequence, pad
from eavss.shortcuts import agrees

GROUPED = "eavss_grouped"


def grouped_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: object,
) -> tuple[Tensor, None]:
    """Attend as eager attention does, with one product for all heads that share keys.

    Eager attention copies keys and values for each head of a group, scales and masks the scores in two passes, and
    copies them to float32 and back for the softmax, which computes in float32 anyway.

    Args:
        query: (B, heads, T, size of a head).
        key, value: (B, key heads, S, size of a head).
        attention_mask: (B, 1, T, S), added to the scores.
        scaling: of the scores; None for 1 / sqrt(size of a head).

    Returns:
        (B, T, heads, size of a head), and no weights.

    Raises:
        ValueError: there is no mask, or something else is to be done to the scores.
    """
    given = [name for name in ("softcap", "s_aux", "position_bias", "head_mask") if others.get(name) is not None]
    if given or dropout or attention_mask is None:
        raise ValueError(f"grouped heads take a mask, and no {', '.join(given) or 'dropout'}")
    rows, heads, columns, size = query.shape
    key_heads, seen = key.shape[1:3]
    asked = query.reshape(rows * key_heads, -1, size)
    keys, values = (each.reshape(rows * key_heads, seen, size) for each in (key, value))
    scores = torch.bmm(asked, keys.transpose(1, 2)).view(rows, heads, columns, seen)
    scores = torch.add(attention_mask, scores, alpha=size**-0.5 if scaling is None else scaling)
    weights = torch.softmax(scores, -1).view(rows * key_heads, -1, seen)
    return torch.bmm(weights, values).view(rows, heads, columns, size).transpose(1, 2).contiguous(), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, eager_mask)


def can_group(model: PreTrainedModel) -> bool:
    """Return whether `grouped_attention` gives what the model's own attention gives, which is tried."""
    return model._can_set_attn_implementation() and agrees(model, "grouped heads", partial(grouped_logits, model))


def grouped_logits(model: PreTrainedModel, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the logits (N, V) that predict the answers; for `eavss.shortcuts`."""
    batch = pad(list(sequences)).to(model.device)
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(GROUPED)
        logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    finally:
        model.set_attn_implementation(before)
    rows, columns = batch.answer_mask.nonzero(as_tuple=True)
    return logits[rows, columns - 1]
