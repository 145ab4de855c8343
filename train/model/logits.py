"""Logits and log-probabilities at chosen positions only, so that no tensor of size B x T x V is made."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from train.runtime.errors import ModelError

# A float32 copy of so many rows' logits fits a processor's cache.
_ROWS = 8


def logits_at(
    model: Callable[..., Any],
    causal_lm: PreTrainedModel,
    inputs: Mapping[str, object],
    rows: Tensor,
    columns: Tensor,
    extra_states: Tensor | None = None,
) -> Tensor:
    """Return the model's logits at N rows and columns, and of M extra states: (N + M, V) in the model's dtype.

    One hook makes the head see these positions alone; what a model does to its logits afterwards (scaling,
    soft-capping) still happens. Another hook takes the logits from `causal_lm` itself, because accelerate copies what
    its wrapper returns to float32.

    Args:
        model: the callable, `causal_lm` or a wrapper around it (PEFT's, DeepSpeed's).
        causal_lm: the model that has the head.
        inputs: the model's keyword arguments, B rows of T tokens.
        rows, columns: (N,) integers.
        extra_states: (M, H) states from elsewhere that also enter the head.
    """
    taken: list[Tensor] = []

    def keep_positions(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states = args[0][rows, columns]
        if extra_states is not None:
            states = torch.cat([states, extra_states.to(states)])
        return (states.unsqueeze(0),)  # (1, N + M, H)

    def take(_model: Any, _args: Any, output: ModelOutput) -> ModelOutput:
        taken.append(output["logits"].squeeze(0))  # [0] would copy the gradient
        return type(output)()

    handles = [
        causal_lm.get_output_embeddings().register_forward_pre_hook(keep_positions),
        causal_lm.register_forward_hook(take),
    ]
    try:
        model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return taken[0]


def target_logprobs(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(target) in float32, and whether the target is the likeliest token; (N,) each.

    The log-probability equals `log_softmax(logits.float(), -1).gather(-1, targets)` and carries its gradient, without
    a float32 copy of all logits (N, V).
    """
    logprobs, likeliest = _TargetLogprobs.apply(logits, targets)
    return logprobs, likeliest


def require_no_nan(logprobs: Iterable[float]) -> None:
    """Check the log-probabilities of a model's answers.

    Raises:
        ModelError: one of them is NaN.
    """
    if any(math.isnan(value) for value in logprobs):
        raise ModelError("the model gives no log-probability (NaN) for some answer; its weights or dtype are broken")


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        chosen, top = logits.gather(1, targets.unsqueeze(1)).squeeze(1), logits.amax(1)
        likeliest = chosen >= top
        ctx.mark_non_differentiable(likeliest)
        if not ctx.needs_input_grad[0]:
            parts = zip(logits.split(_ROWS), targets.unsqueeze(1).split(_ROWS), strict=True)
            logprobs = [torch.log_softmax(part, 1, dtype=torch.float32).gather(1, target) for part, target in parts]
            return torch.cat(logprobs).squeeze(1), likeliest
        # One softmax gives both: the largest probability, which never underflows, says what was divided by.
        probabilities, largest = torch.empty_like(logits), []
        for part, out in zip(logits.split(_ROWS), probabilities.split(_ROWS), strict=True):
            exact = torch.softmax(part, 1, dtype=torch.float32)
            largest.append(exact.amax(1))
            out.copy_(exact)
        target_logp = chosen.float() - top.float() + torch.cat(largest).log()
        ctx.save_for_backward(probabilities, targets, target_logp)
        return target_logp, likeliest

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _likeliest: None) -> tuple[Tensor, None]:
        """d logprob / d logits = one-hot of the target - softmax."""
        probabilities, targets, target_logp = ctx.saved_tensors
        result = probabilities * -grad.to(probabilities.dtype).unsqueeze(1)
        rows = torch.arange(len(targets), device=targets.device)
        # In float32, since 1 - p of a likely target is lost where p is rounded.
        result[rows, targets] = (grad * -torch.expm1(target_logp)).to(result.dtype)
        return result, None
