"""Which of a block's parameters are active on truthful answers, and which on hallucinated ones."""

from itertools import chain

import torch
from torch import Tensor, nn

from eavss.batches import Batch
from eavss.blocks import evaluating, find_blocks
from eavss.gradients import answer_loss, requiring_grad
from eavss.profile import PairedBatch


def activity_differences(model: nn.Module, paired: PairedBatch) -> Tensor:
    """Return the share of each block's active parameters that differs between the answers of a question, (n, L).

    A parameter's activation is a_w = |w * dy/dw| (arXiv 2405.17799), with y the log-probability of the truthful or of
    the hallucinated answers. Each of the two patterns is scaled to a sum of 1 over the blocks' linear layers, so that a
    long answer is not more active than a short one. A block's share is sum_w |a_w - b_w| / sum_w (a_w + b_w), 0 for
    equal patterns and 1 for patterns without a common parameter.

    Memory: two gradients of these weights. There are two backward passes for each question.

    Args:
        model: a causal LM, whole on one device.
        paired: the answers of n questions.
    """
    blocks = find_blocks(model)
    every = range(len(blocks.modules))
    weights: list[list[Tensor]] = [
        [module.weight for module in blocks.linear_modules(layer).values()]  # type: ignore[misc]
        for layer in every
    ]
    device = next(model.parameters()).device
    found = []
    with evaluating(model), requiring_grad(model, list(chain(*weights))):
        for question in range(int(paired.question.max()) + 1):
            right, wrong = (
                _active_parameters(model, _answers(paired, question, kind).to(device), weights)
                for kind in (False, True)
            )
            shares = [_difference(a, b) for a, b in zip(right, wrong, strict=True)]
            found.append(torch.stack(shares).cpu())
    return torch.stack(found)


def _answers(paired: PairedBatch, question: int, hallucinated: bool) -> Batch:
    rows = (paired.question == question) & (paired.hallucinated == hallucinated)
    width = int(paired.batch.attention_mask[rows].sum(1).max())
    batch = paired.batch
    return Batch(batch.input_ids[rows, :width], batch.attention_mask[rows, :width], batch.answer_mask[rows, :width])


def _active_parameters(model: nn.Module, batch: Batch, weights: list[list[Tensor]]) -> list[list[Tensor]]:
    """Return |w * dy/dw| of each block's weights, scaled to a sum of 1 over all of them."""
    with torch.enable_grad():
        loss = answer_loss(model, batch)
    gradients = iter(torch.autograd.grad(loss, list(chain(*weights)), allow_unused=True))
    with torch.no_grad():
        activations = [
            [torch.zeros_like(w) if (g := next(gradients)) is None else g.mul_(w).abs_() for w in block]
            for block in weights
        ]
        total = torch.stack([each.float().sum() for block in activations for each in block]).sum().clamp(min=1e-38)
        return [[each.div_(total) for each in block] for block in activations]


def _difference(right: list[Tensor], wrong: list[Tensor]) -> Tensor:
    apart = sum((a - b).abs().float().sum() for a, b in zip(right, wrong, strict=True))
    whole = sum((a + b).float().sum() for a, b in zip(right, wrong, strict=True))
    return torch.as_tensor(apart / torch.as_tensor(whole).clamp(min=1e-38))
