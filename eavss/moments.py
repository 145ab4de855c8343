"""Streaming, masked, mergeable statistics of block outputs, in memory that does not grow with the number of tokens."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

PAPER_EPSILON = 1e-5
SCALE_FREE_EPSILON = 0.1
_CACHED_NUMBERS = 1 << 18


@dataclass(frozen=True)
class TokenMoments:
    """Sums over sequences and tokens for each block, (L,) float64 tensors.

    The sums of two parts of the data add up (`+`) to those of the whole, so batches and ranks can be merged.

    Args:
        sequences: the number of sequences.
        tokens: the number of counted tokens.
        units: counted tokens times hidden units.
        variance: sum over sequences of Var_H(mean_T X), unbiased over hidden units.
        squares: sum of X^2 over tokens and hidden units.
        near_zero: count of |X| < 1e-5 (AVSS, arXiv 2411.02117).
        near_zero_relative: count of |X| < 0.1 times the token's root mean square (ours, independent of scale).
    """

    sequences: Tensor
    tokens: Tensor
    units: Tensor
    variance: Tensor
    squares: Tensor
    near_zero: Tensor
    near_zero_relative: Tensor

    def __add__(self, other: "TokenMoments") -> "TokenMoments":
        return TokenMoments(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Summary:
    """The reduced output of one block, kept while a batch runs, in float32.

    Args:
        statistics: (B, T, 3) from `token_statistics`.
        means: (B, K, H) from `masked_means`.
        products: (B, T) inner products of each token's states before and after the block.
    """

    statistics: Tensor
    means: Tensor
    products: Tensor


def summarise(entering: Tensor, hidden: Tensor, masks: Tensor) -> Summary:
    """Reduce a block's output as soon as the block has run.

    Args:
        entering, hidden: the block's input and output, (B, T, H), of any dtype.
        masks: (B, K, T).
    """
    # On a CPU a few rows at a time, so that their float32 copies stay in its cache; on a GPU all at once.
    rows = hidden.shape[0] if hidden.is_cuda else max(1, _CACHED_NUMBERS // hidden[0].numel())
    statistics, means, products = [], [], []
    for before, after, mask in zip(entering.split(rows), hidden.split(rows), masks.split(rows), strict=True):
        exact = after.to(torch.float32, copy=True)
        means.append(masked_means(exact, mask))
        scratch = torch.mul(before.float(), exact)
        products.append(scratch.sum(-1))
        statistics.append(_statistics(exact.abs_(), scratch))
    return Summary(torch.cat(statistics), torch.cat(means), torch.cat(products))


def token_statistics(hidden: Tensor) -> Tensor:
    """Return each token's sum of squares, count of |X| < 1e-5, and count of |X| < 0.1 RMS; (B, T, H) -> (B, T, 3)."""
    return _statistics(hidden.abs(), torch.empty_like(hidden))


def _statistics(size: Tensor, scratch: Tensor) -> Tensor:
    """Return `token_statistics` of magnitudes (B, T, H). `scratch` has the same shape and is overwritten."""
    squares = torch.mul(size, size, out=scratch).sum(-1)  # (B, T)
    threshold = SCALE_FREE_EPSILON * (squares / size.shape[-1]).sqrt().unsqueeze(-1)
    # Into floats, because comparing into booleans and counting those takes several times as long.
    near_zero = torch.lt(size, PAPER_EPSILON, out=scratch).sum(-1)
    near_zero_relative = torch.lt(size, threshold, out=scratch).sum(-1)
    return torch.stack([squares, near_zero, near_zero_relative], dim=-1)


def masked_means(hidden: Tensor, masks: Tensor) -> Tensor:
    """Return the means of `hidden` (B, T, H) over the tokens of K masks (B, K, T), (B, K, H); 0 for an empty mask."""
    return torch.bmm(masks.to(hidden.dtype), hidden) / masks.sum(-1, keepdim=True).clamp(min=1)


def cosine_distance_sums(entering: Tensor, statistics: Tensor, products: Tensor, mask: Tensor) -> Tensor:
    """Return the sums over tokens of 1 - cosine(block input, block output), (L,) float64 on the CPU.

    Args:
        entering: the first block's input, (B, T, H). The input of each later block is the output of the one before.
        statistics: (L, B, T, 3) from `token_statistics`.
        products: (L, B, T) inner products of input and output.
        mask: (B, T), the tokens that count.
    """
    first = entering.float().square().sum(-1).unsqueeze(0)
    squares = torch.cat([first, statistics[..., 0]])  # (L + 1, B, T)
    cosines = products / (squares[1:] * squares[:-1]).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    return ((1 - cosines) * mask).sum((1, 2), dtype=torch.float64).cpu()


def token_moments(statistics: Tensor, means: Tensor, mask: Tensor) -> TokenMoments:
    """Return the moments of L blocks over the tokens where `mask` is set, on the CPU.

    Args:
        statistics: (L, B, T, 3) from `token_statistics`.
        means: (L, B, H) from `masked_means` with the same mask.
        mask: (B, T); a sequence with no token set does not count.
    """
    counted = mask.any(1).double()  # (B,)
    tokens = mask.sum().double().expand(len(means))
    squares, near_zero, near_zero_relative = torch.einsum("bt,lbts->sl", mask.double(), statistics.double())
    variance = means.var(dim=-1).double() @ counted  # (L,)
    sums = (counted.sum().expand(len(means)), tokens, tokens * means.shape[-1], variance)
    return TokenMoments(*(each.cpu() for each in (*sums, squares, near_zero, near_zero_relative)))
