"""Streaming, masked, mergeable statistics of a block's outputs: nothing of the size of the tokens is kept."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

PAPER_EPSILON = 1e-5
SCALE_FREE_EPSILON = 0.1
_CACHED_NUMBERS = 1 << 18


@dataclass(frozen=True)
class TokenMoments:
    """Sums over sequences and tokens, per block: each a float64 tensor of shape (L,).

    Sums of any two parts of the data add up to the sums of the whole (`+`), so batches and ranks can be merged.

    Args:
        sequences: number of sequences.
        tokens: number of counted tokens.
        units: counted tokens times hidden units.
        variance: sum over sequences of Var_H(mean_T X), unbiased over hidden units.
        squares: sum of X^2 over tokens and hidden units.
        near_zero: count of |X| < 1e-5 (AVSS, arXiv 2411.02117).
        near_zero_relative: count of |X| < 0.1 of the token's root mean square (ours, free of scale).
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


def summarise(hidden: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """What is kept of a block's output: its token statistics, and its mean over each of K masks, in float32.

    Args:
        hidden: (B, T, H), of any dtype.
        masks: (B, K, T).

    Returns:
        (B, T, 3) from `token_statistics`, and (B, K, H) from `masked_means`.
    """
    # A CPU computes a few rows at a time, whose float32 copies stay in its cache; a GPU all at once.
    rows = hidden.shape[0] if hidden.is_cuda else max(1, _CACHED_NUMBERS // hidden[0].numel())
    statistics, means = [], []
    for part, mask in zip(hidden.split(rows), masks.split(rows), strict=True):
        exact = part.float()
        statistics.append(token_statistics(exact))
        means.append(masked_means(exact, mask))
    return torch.cat(statistics), torch.cat(means)


def token_statistics(hidden: Tensor) -> Tensor:
    """Per token of `hidden` (B, T, H): sum of squares, count of |X| < 1e-5, count of |X| < 0.1 RMS -> (B, T, 3)."""
    size = hidden.abs()  # (B, T, H)
    # Into floats: to compare into booleans and count those takes several times as long.
    scratch = torch.empty_like(size)
    squares = torch.mul(size, size, out=scratch).sum(-1)  # (B, T)
    threshold = SCALE_FREE_EPSILON * (squares / hidden.shape[-1]).sqrt().unsqueeze(-1)
    near_zero = torch.lt(size, PAPER_EPSILON, out=scratch).sum(-1)
    near_zero_relative = torch.lt(size, threshold, out=scratch).sum(-1)
    return torch.stack([squares, near_zero, near_zero_relative], dim=-1)


def masked_means(hidden: Tensor, masks: Tensor) -> Tensor:
    """Means of `hidden` (B, T, H) over the tokens where each of K masks (B, K, T) is set -> (B, K, H); 0 over none."""
    return torch.bmm(masks.to(hidden.dtype), hidden) / masks.sum(-1, keepdim=True).clamp(min=1)


def token_moments(statistics: Tensor, means: Tensor, mask: Tensor) -> TokenMoments:
    """The moments of L blocks, over the tokens where `mask` is set, on the CPU.

    Args:
        statistics: (L, B, T, 3) from `token_statistics`.
        means: (L, B, H) from `masked_means` with the same mask.
        mask: (B, T); sequences with no token set are not counted.
    """
    counted = mask.any(1).double()  # (B,)
    tokens = mask.sum().double().expand(len(means))
    squares, near_zero, near_zero_relative = torch.einsum("bt,lbts->sl", mask.double(), statistics.double())
    variance = means.var(dim=-1).double() @ counted  # (L,)
    sums = (counted.sum().expand(len(means)), tokens, tokens * means.shape[-1], variance)
    return TokenMoments(*(each.cpu() for each in (*sums, squares, near_zero, near_zero_relative)))
