"""Streaming, masked, mergeable statistics of a block's outputs: nothing of the size of the tokens is kept."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

PAPER_EPSILON = 1e-5
SCALE_FREE_EPSILON = 0.1


@dataclass(frozen=True)
class TokenMoments:
    """Sums over sequences and tokens, per block: each a float64 tensor of shape (L,), or () for a single block.

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

    @staticmethod
    def stack(parts: list["TokenMoments"]) -> "TokenMoments":
        """The moments of single blocks, in depth order, as one of shape (L,) on the CPU."""
        return TokenMoments(*(torch.stack([getattr(p, f.name) for p in parts]).cpu() for f in fields(TokenMoments)))


def token_statistics(hidden: Tensor) -> Tensor:
    """Per token of `hidden` (B, T, H): sum of squares, count of |X| < 1e-5, count of |X| < 0.1 RMS -> (B, T, 3)."""
    size = hidden.abs()  # (B, T, H)
    squares = size.square().sum(-1)  # (B, T)
    rms = (squares / hidden.shape[-1]).sqrt().unsqueeze(-1)
    near_zero = (size < PAPER_EPSILON).sum(-1)
    near_zero_relative = (size < SCALE_FREE_EPSILON * rms).sum(-1)
    return torch.stack([squares, near_zero, near_zero_relative], dim=-1)


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of `hidden` (B, T, H) over the tokens where `mask` (B, T) is set -> (B, H). Rows without any give 0."""
    total = torch.bmm(mask.to(hidden.dtype).unsqueeze(1), hidden).squeeze(1)  # (B, H)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


def block_moments(statistics: Tensor, means: Tensor, mask: Tensor) -> TokenMoments:
    """The moments of one block, over the tokens where `mask` is set.

    Args:
        statistics: (B, T, 3) from `token_statistics`.
        means: (B, H) from `masked_mean` with the same mask.
        mask: (B, T); sequences with no token set are not counted.
    """
    counted = mask.any(1).double()  # (B,)
    tokens = mask.sum().double()
    squares, near_zero, near_zero_relative = torch.einsum("bt,bts->s", mask.double(), statistics.double())
    variance = (means.double().var(dim=1) * counted).sum()
    units = tokens * means.shape[1]
    return TokenMoments(counted.sum(), tokens, units, variance, squares, near_zero, near_zero_relative)
