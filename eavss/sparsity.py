"""Set a share of each block's weights to zero: how much of which block, which weights, and everything back afterwards.

Which whole blocks can be removed is another question (`eavss.pruning`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from eavss.blocks import ONE_LOGIT, evaluating, find_blocks
from eavss.errors import EavssError


def prune_ratios(shares: Sequence[float], sizes: Sequence[int], sparsity: float, spread: float) -> list[float]:
    """Return the share of its weights that each block loses: the fewer are active, the more (arXiv 2405.17799).

    The ratio of block l is sparsity + c * (mean of the shares - share of l). The mean is weighted by the sizes, so that
    the overall sparsity is that of uniform ratios. The authors' ratios for a sparsity of 0.5 lie up to 0.09 from it.
    They publish the ratios alone, and the linear rule is ours.

    Args:
        shares: (L,) each block's share of active parameters.
        sizes: (L,) the number of weights of each block that can be lost.
        sparsity: the share of all blocks' weights that is lost.
        spread: the largest distance of a ratio from `sparsity`, which fixes c; negative to spare what is least active.

    Raises:
        EavssError: a ratio could be below 0 or above 1, or the lengths differ.
    """
    if len(shares) != len(sizes):
        raise EavssError(f"{len(shares)} shares for {len(sizes)} blocks")
    if not abs(spread) <= min(sparsity, 1 - sparsity):
        raise EavssError(f"spread: {spread} leads from a sparsity of {sparsity} to ratios outside of 0 to 1")
    mean = sum(share * size for share, size in zip(shares, sizes, strict=True)) / sum(sizes)
    widest = max(abs(mean - share) for share in shares)
    alike = widest < 1e-9  # (rounding would be taken for a difference)
    return [sparsity + (0.0 if alike else spread * (mean - share) / widest) for share in shares]


def prunable_layers(model: nn.Module) -> list[dict[str, nn.Module]]:
    """Return each block's linear layers by their names in the model; one that blocks share is the first one's."""
    blocks, seen = find_blocks(model), set[int]()
    found: list[dict[str, nn.Module]] = []
    for layer in range(len(blocks.modules)):
        linear = blocks.linear_modules(layer)
        own = {f"{blocks.path}.{layer}.{n}": module for n, module in linear.items() if id(module.weight) not in seen}
        seen.update(id(module.weight) for module in own.values())
        found.append(own)
    return found


@contextmanager
def pruned(model: nn.Module, ratios: Sequence[float], scores: Mapping[str, Tensor] | None = None) -> Iterator[None]:
    """Set the least important weights of each block's linear layers to zero inside; all are as before afterwards.

    A copy of these weights is kept meanwhile.

    Args:
        ratios: (L,) the share of its weights that each block loses, rounded down in each matrix, or for each output.
        scores: how important each weight is, by the parameter's name in the model and of its shape. The weights of each
            output are compared with each other, as by Wanda (arXiv 2306.11695). None for magnitude pruning: all weights
            of a matrix are compared by their absolute values.

    Raises:
        EavssError: there are not as many ratios as blocks, or a ratio is not from 0 to 1.
    """
    layers = prunable_layers(model)
    if len(ratios) != len(layers) or not all(0 <= ratio <= 1 for ratio in ratios):
        raise EavssError(f"expected {len(layers)} ratios from 0 to 1, one for each block, found {list(ratios)}")
    before: list[tuple[Tensor, Tensor]] = []
    try:
        for own, ratio in zip(layers, ratios, strict=True):
            for name, module in own.items():
                weight = _weight(module)
                before.append((weight, weight.clone()))
                weight.masked_fill_(_lowest(module, ratio, None if scores is None else scores[f"{name}.weight"]), 0)
        yield
    finally:
        for weight, kept in before:
            weight.copy_(kept)


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _lowest(module: nn.Module, ratio: float, score: Tensor | None) -> Tensor:
    """Return which weights are lost, as booleans of the weight's shape; which ones of equals is open."""
    weight = _weight(module)
    rows = weight.abs().reshape(1, -1) if score is None else _by_output(module, score)
    count = math.floor(ratio * rows.shape[1] + 1e-6)  # (rounding: 0.29 of 100 are 29)
    lowest = rows.topk(count, dim=1, largest=False, sorted=False).indices
    lost = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, lowest, True)
    return lost.view(weight.shape) if score is None else _by_output(module, lost)


def _by_output(module: nn.Module, weight: Tensor) -> Tensor:
    """Turn a tensor of the weight's shape into (outputs, inputs), or back: GPT-2's Conv1D has (inputs, outputs)."""
    return weight if isinstance(module, nn.Linear) else weight.T


@torch.no_grad()
def wanda_scores(model: nn.Module, texts: Iterable[Sequence[int]]) -> dict[str, Tensor]:
    """Return each weight's magnitude times the length of its input over the texts' tokens (Wanda, arXiv 2306.11695).

    Args:
        model: a causal LM.
        texts: token ids.

    Returns:
        The scores by parameter, as `pruned` takes them, in float32; 0 in a layer that does not run.
    """
    layers = {name: module for own in prunable_layers(model) for name, module in own.items()}
    squares: dict[str, Tensor] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            found = args[0].float().square().flatten(0, -2).sum(0)  # (inputs,)
            squares[name] = squares[name] + found if name in squares else found

        return hook

    handles = [module.register_forward_pre_hook(hook_for(name)) for name, module in layers.items()]
    try:
        with evaluating(model):
            for ids in texts:
                text = torch.tensor([list(ids)], device=next(model.parameters()).device)
                model(input_ids=text, use_cache=False, logits_to_keep=ONE_LOGIT)
    finally:
        for handle in handles:
            handle.remove()
    return {f"{name}.weight": _scaled(module, squares.get(name)) for name, module in layers.items()}


def _scaled(module: nn.Module, squares: Tensor | None) -> Tensor:
    magnitudes = _by_output(module, _weight(module).float().abs())
    return _by_output(module, magnitudes * (0.0 if squares is None else squares.sqrt()))
