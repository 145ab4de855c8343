"""How a model's weights tell truthful answers from hallucinated ones: scores from gradients, without an adapter."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eavss.batches import Batch
from eavss.blocks import Blocks, capture_block_input, evaluating, find_blocks
from eavss.profile import PairedBatch, answer_weights

# Numbers in the sketch of a matrix's gradient: a block of seven matrices then has its norm to about 2%.
_SKETCH = 1024


class Matrix(NamedTuple):
    """A linear layer of a block.

    Args:
        layer: the block's index.
        name: its name in the block, as `self_attn.q_proj`.
    """

    layer: int
    name: str

    @property
    def part(self) -> str:
        """The part of the block that it belongs to, as `self_attn`."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class GradientProfile:
    """The gradients of n questions at a model's M matrices.

    Args:
        matrices: the linear layers of all blocks, in depth order.
        differences: (n, M, K) sketches of G_i = grad log p(truthful) - grad log p(hallucinated), with log p summed
            over an answer's tokens and averaged over a question's answers. The inner product of two sketches is, in
            the mean over random hashes, that of the gradients.
    """

    matrices: tuple[Matrix, ...]
    differences: Tensor

    @staticmethod
    def merge(parts: Sequence["GradientProfile"]) -> "GradientProfile":
        """Merge the profiles of some questions each, in the order given."""
        return GradientProfile(parts[0].matrices, torch.cat([part.differences for part in parts]))

    def block_norms(self, weights: Tensor) -> Tensor:
        """Return the norm of each block's gradient of the contrastive loss, under every resampling, (W, L).

        At the start of training the DPO term (arXiv 2305.18290, equation 7) has the gradient -beta / 2 * mean_i G_i. So
        the norm says how fast the loss falls at first if this block alone is trained. It is 0 where the questions'
        gradients have no common direction.

        Args:
            weights: (W, n) how often each question is drawn; (1, ..., 1) for all.
        """
        squares = self.matrix_squares(weights)
        layers = torch.tensor([matrix.layer for matrix in self.matrices])
        found = squares.new_zeros(len(squares), int(layers.max()) + 1).index_add(1, layers, squares)
        return found.clamp(min=0).sqrt()

    def matrix_squares(self, weights: Tensor) -> Tensor:
        """Return the squared norm of each matrix's mean gradient, (W, M), see `systematic_squares`."""
        every = self.differences.unbind(1)
        return torch.stack([systematic_squares(each.double(), weights.double()) for each in every], dim=1)


def systematic_squares(differences: Tensor, weights: Tensor) -> Tensor:
    """Return |mean_i d_i|^2 without what each question adds by itself, (W,).

    It is the weighted mean of <d_i, d_j> over pairs of different questions. The plain square of the mean is higher by
    about mean |d_i|^2 / n, so that noisy gradients of few questions would pass for large ones. It may be negative.

    Args:
        differences: (n, K).
        weights: (W, n).
    """
    total = (weights @ differences).square().sum(1)
    own = weights.square() @ differences.square().sum(1)
    pairs = (weights.sum(1).square() - weights.square().sum(1)).clamp(min=1)
    return (total - own) / pairs


def gradient_profile_batch(model: nn.Module, paired: PairedBatch) -> GradientProfile:
    """Run one forward and one backward pass over a batch of questions, and sketch what each matrix gets.

    The gradient of a linear layer's weight is the sum over tokens of the gradient that leaves it, times what enters it.
    Both are sketched first, so that no gradient of a weight is ever made, and an answer takes the memory of K numbers.
    Experts, which see some tokens only, are left out.

    Args:
        model: a causal LM, whole on one device.
        paired: the answers of n questions.
    """
    blocks = find_blocks(model)
    batch = paired.batch.to(next(model.parameters()).device)
    calls: list[_Call] = []
    with evaluating(model), torch.enable_grad(), _recording(blocks, batch.input_ids.shape, calls.append):
        loss = answer_loss(model, batch)
        gradients = torch.autograd.grad(loss, [call.leaving for call in calls], allow_unused=True)
    found: dict[Matrix, Tensor] = {}
    for call, gradient in zip(calls, gradients, strict=True):
        if gradient is not None:
            # Minus, since the loss is minus the log-probability.
            leaving = -gradient.float().reshape(*batch.input_ids.shape, -1)
            sketch = _sketch(call.matrix, leaving, call.entering.float())  # (B, K)
            found[call.matrix] = found[call.matrix] + sketch if call.matrix in found else sketch
    weights = answer_weights(paired).to(batch.input_ids.device)
    right, wrong = (weights @ torch.stack(list(found.values()))).unflatten(1, (-1, 2)).unbind(2)  # (M, n, K) each
    return GradientProfile(tuple(found), (right - wrong).transpose(0, 1).contiguous().cpu())


class _Call(NamedTuple):
    """What enters (B, T, in) and leaves (B, T, out) or (B * T, out) a matrix in a forward pass."""

    matrix: Matrix
    entering: Tensor
    leaving: Tensor


@contextmanager
def _recording(blocks: Blocks, shape: Sequence[int], receive: Callable[[_Call], None]) -> Iterator[None]:
    """Call `receive` with each pass of B x T tokens through a matrix, inside; gradients go down to block 0."""
    with ExitStack() as stack:
        # What enters block 0 needs a gradient, so that all above has one, even where every weight is frozen.
        stack.enter_context(capture_block_input(blocks, 0, _require_grad))
        for layer in range(len(blocks.modules)):
            for name, module in blocks.linear_modules(layer).items():
                hook = partial(_record, Matrix(layer, name), torch.Size(shape), receive)
                stack.callback(module.register_forward_hook(hook).remove)
        yield


def _require_grad(states: Tensor) -> None:
    states.requires_grad_(True)


def _record(
    matrix: Matrix,
    shape: torch.Size,
    receive: Callable[[_Call], None],
    _module: nn.Module,
    args: tuple[Tensor, ...],
    output: Tensor,
) -> None:
    # Some models put all tokens in one row before an MLP.
    if args[0].shape[:-1].numel() == shape.numel():
        receive(_Call(matrix, args[0].detach().reshape(*shape, -1), output))


def _sketch(matrix: Matrix, leaving: Tensor, entering: Tensor) -> Tensor:
    """Return a sketch of the sum over tokens of leaving entering^T, for each sequence, (B, K).

    This is TensorSketch (Pham and Pagh, KDD 2013): the count sketch of an outer product is the circular convolution of
    the count sketches of its two vectors, a product in the Fourier domain. E <sketch(G), sketch(G')> = <G, G'>.
    """
    left, right = (
        torch.fft.rfft(_count_sketch(f"{matrix.layer}.{matrix.name}:{side}", each))
        for side, each in enumerate((leaving, entering))
    )
    return torch.fft.irfft((left * right).sum(1), n=_SKETCH)


def _count_sketch(key: str, values: Tensor) -> Tensor:
    """Add each of the values to one of K places, with a random sign, (..., size) -> (..., K)."""
    places, signs = (each.to(values.device) for each in _hash(key, values.shape[-1]))
    return values.new_zeros(*values.shape[:-1], _SKETCH).index_add(-1, places, values * signs)


@cache
def _hash(key: str, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(random.Random(key).getrandbits(32))
    places = torch.cat([torch.randperm(_SKETCH, generator=generator) for _ in range(-(-size // _SKETCH))])[:size]
    return places, torch.randint(2, (size,), generator=generator) * 2.0 - 1.0


def answer_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return minus the log-probability of all answer tokens, summed, with logits at their columns only."""
    predicted = batch.answer_mask[:, 1:]
    columns = predicted.any(0).nonzero().flatten()
    logits = model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=columns
    ).logits
    kept = predicted[:, columns]
    return F.cross_entropy(logits[kept].float(), batch.input_ids[:, 1:][:, columns][kept], reduction="sum")


@contextmanager
def requiring_grad(model: nn.Module, weights: Iterable[Tensor]) -> Iterator[None]:
    """Let gradients reach these weights alone, inside; the model's own gradients are put by and back."""
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.requires_grad_(False)
            parameter.grad = None
        for weight in weights:
            weight.requires_grad_(True)
        yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient
