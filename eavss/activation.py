"""How active is each weight of a model's blocks, and how alike are the patterns of two texts?

After "Exploring Activation Patterns of Parameters in Language Models" (Wang et al., arXiv 2405.17799).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from eavss.blocks import evaluating, find_blocks
from eavss.choices import Threshold
from eavss.errors import EavssError
from eavss.gradients import requiring_grad


def block_matrices(model: nn.Module) -> list[dict[str, nn.Parameter]]:
    """Return the weight matrices of each block by their names in the model, and no norms, biases or embeddings.

    A matrix that several blocks share counts as the first one's.
    """
    blocks, seen = find_blocks(model), set[int]()
    found: list[dict[str, nn.Parameter]] = []
    for layer, module in enumerate(blocks.modules):
        own = {
            f"{blocks.path}.{layer}.{name}": parameter
            for name, parameter in module.named_parameters()
            if parameter.ndim > 1 and parameter.is_floating_point() and id(parameter) not in seen
        }
        seen.update(map(id, own.values()))
        found.append(own)
    return found


def all_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the matrices of all blocks, see `block_matrices`."""
    return {name: parameter for own in block_matrices(model) for name, parameter in own.items()}


def receive_activation(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    ids: Sequence[int],
    receive: Callable[[str, Tensor], object],
) -> None:
    """Run a text forward and backward, and call `receive(name, activation)` once for each parameter that has a part.

    The activation of a weight w by a text s is A(s, w) = |w * dy/dw| (arXiv 2405.17799), where y is the largest logit
    at the text's last position. A gradient is given up as soon as `receive` returns, so that one lives at a time. The
    activation is of the parameter's shape, in float32. Parameters on which y does not depend are left out.

    Args:
        model: a causal LM. Its parameters, their gradients and its mode are as before afterwards.
        parameters: those to measure, by any names; tied ones count once, with the gradient of all their uses.
        ids: the text's token ids.

    Raises:
        EavssError: the text is empty, or y is no number.
    """
    if not ids:
        raise EavssError("a text without a token activates no parameter")
    device = next(model.parameters()).device
    text = torch.tensor([list(ids)], device=device)
    with evaluating(model), torch.enable_grad(), _handing_over(model, parameters, receive):
        last = torch.tensor([len(ids) - 1], device=device)
        top = model(input_ids=text, use_cache=False, logits_to_keep=last).logits[0, -1].max()
        if not math.isfinite(top.item()):
            raise EavssError(f"the largest logit of a text is {top.item()}, so that no gradient can be computed")
        top.backward()


@contextmanager
def _handing_over(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], receive: Callable[[str, Tensor], object]
) -> Iterator[None]:
    """Hand over |w * gradient| as the backward passes inside complete it; only `parameters` have gradients inside."""

    def hook_for(name: str) -> Callable[[Tensor], None]:
        def hook(parameter: Tensor) -> None:
            gradient, parameter.grad = parameter.grad, None
            assert gradient is not None
            receive(name, gradient.float().mul_(parameter.detach()).abs_())

        return hook

    with requiring_grad(model, parameters.values()), ExitStack() as hooks:
        for name, parameter in parameters.items():
            hooks.callback(parameter.register_post_accumulate_grad_hook(hook_for(name)).remove)
        yield


def mean_activation(
    model: nn.Module, texts: Iterable[Sequence[int]], parameters: Mapping[str, nn.Parameter] | None = None
) -> dict[str, Tensor]:
    """Return the mean over texts of each parameter's activation (`receive_activation`), in float32.

    Beside the model there are one accumulator of the parameters' size and one gradient, however many texts there are.

    Args:
        parameters: None for the blocks' matrices.

    Raises:
        EavssError: there is no text; or see `receive_activation`.
    """
    parameters = all_matrices(model) if parameters is None else parameters
    sums = {name: torch.zeros_like(p, dtype=torch.float32, requires_grad=False) for name, p in parameters.items()}
    count = 0
    for ids in texts:
        receive_activation(model, parameters, ids, lambda name, activation: sums[name].add_(activation))
        count += 1
    if not count:
        raise EavssError("the mean activation of no texts is not known")
    return {name: total.div_(count) for name, total in sums.items()}


def pattern_similarity(model: nn.Module, pattern: Mapping[str, Tensor], ids: Sequence[int]) -> list[float]:
    """Return how alike a text's pattern is to another pattern in each block, (L,): the cosine of the two.

    A block's pattern is the vector of its matrices' activations. The text's own is not kept: what is held is one matrix
    of it at a time. The similarity is from 0 to 1, and 0 where a block has no active parameter.

    Args:
        pattern: of the blocks' matrices, as `mean_activation` returns it for one text or for many.
        ids: the text's token ids.
    """
    sums = dict.fromkeys(pattern, (0.0, 0.0))

    def receive(name: str, activation: Tensor) -> None:
        flat = activation.flatten()
        sums[name] = (float(flat @ pattern[name].flatten()), float(flat @ flat))

    receive_activation(model, all_matrices(model), ids, receive)
    squares = {name: float(other.flatten() @ other.flatten()) for name, other in pattern.items()}
    found = []
    for own in block_matrices(model):
        dot, square = (sum(sums[name][place] for name in own) for place in (0, 1))
        length = math.sqrt(square * sum(squares[name] for name in own))
        found.append(dot / length if length else 0.0)
    return found


def threshold_of(kind: Threshold, mean: Mapping[str, Tensor], blocks: int) -> float:
    """Return the mean activation above which a parameter counts as active.

    Args:
        kind: `paper` is 2e-6 for a model of 32 blocks and 5e-6 for others, as in the code that the authors published.
            Such a number depends on the size of the model and of its logits. `scale_free` (ours) is the mean over all
            parameters of `mean`, so that shares of models of any size can be compared.
        mean: the activations, as `mean_activation` returns them.
        blocks: how many blocks the model has, L.
    """
    if kind == "paper":
        return 2e-6 if blocks == 32 else 5e-6
    total = sum(float(activation.sum(dtype=torch.float64)) for activation in mean.values())
    return total / sum(activation.numel() for activation in mean.values())


def active_shares(mean: Mapping[str, Tensor], threshold: float) -> dict[str, float]:
    """Return the share of each matrix's parameters whose mean activation is above the threshold."""
    return {name: float((activation > threshold).double().mean()) for name, activation in mean.items()}
