"""How far a ranking of blocks can be trusted. Whole questions are resampled, from the answers' mean states alone, so
none of this needs the model again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from eavss.scores import HSS_THRESHOLD

# What a block's shares rho (W, H), one row for each resampling, come to: (W,).
Reduce = Callable[[Tensor], Tensor]


def reduce_hsav(shares: Tensor) -> Tensor:
    """HSAV: the mean of rho over units; (W, H) -> (W,)."""
    return shares.mean(-1)


def reduce_eavss(shares: Tensor) -> Tensor:
    """EAVSS in its contrast form, HSAV / HSS; (W, H) -> (W,)."""
    sparsity = (shares < HSS_THRESHOLD).to(shares.dtype).mean(-1).clamp(min=1 / shares.shape[-1])
    return shares.mean(-1) / sparsity


def weighted_shares(differences: Tensor, weights: Tensor) -> Tensor:
    """rho of `eavss.scores.systematic_share`, with a weight for each question.

    The mean over pairs of different questions i, j of d_i d_j, over the mean of d_i^2. A question that a bootstrap
    draws twice makes no pair with itself, so resampling does not raise the share. A negative weight flips the sign of
    a question's change.

    Args:
        differences: d of one block, (n, H).
        weights: (W, n); (1, ..., 1) gives the plain rho.

    Returns:
        (W, H), 0 where a unit never changes.
    """
    squares = differences.square()
    size = weights.abs()
    first = weights @ differences  # (W, H)
    own = weights.square() @ squares
    # (W, 1); 0 where one question is drawn alone, which has no pair and so a share of 0.
    pairs = (size.sum(1, keepdim=True).square() - weights.square().sum(1, keepdim=True)).clamp(min=1)
    mean_square = (size @ squares) / size.sum(1, keepdim=True)
    share = (first.square() - own) / pairs / mean_square.clamp(min=1e-38)
    return torch.where(mean_square > 0, share, 0)


def resampled_scores(differences: Tensor, weights: Tensor, reduce: Reduce = reduce_eavss) -> Tensor:
    """The score of every block under every resampling, (W, L).

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).
        weights: (W, n).
        reduce: which score.
    """
    weights = weights.double()
    blocks = differences.unbind(1)  # one at a time: a large model's would not fit in float64 at once
    return torch.stack([reduce(weighted_shares(block.double(), weights)) for block in blocks], dim=1)


def bootstrap_weights(questions: int, draws: int, seed: int) -> Tensor:
    """How often each question is drawn, (draws, n): n questions with replacement."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.multinomial(questions, [1 / questions] * questions, size=draws))


def random_flips(questions: int, draws: int, seed: int) -> Tensor:
    """Random signs, (draws, n): the null of a change that has no direction."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.choice([-1, 1], size=(draws, questions)))


def random_halves(questions: int, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two disjoint halves of the questions in each draw, as weights of 0 and 1, (draws, n) each."""
    generator = np.random.default_rng(seed)
    order = torch.from_numpy(generator.permuted(np.tile(np.arange(questions), (draws, 1)), axis=1))
    half = questions // 2
    return (order < half).long(), ((order >= half) & (order < 2 * half)).long()


def tau(first: Tensor, second: Tensor) -> float:
    """Kendall's tau between two rankings of blocks, (L,) each: 1 for the same order, 0 where one has no order."""
    return float(np.nan_to_num(kendalltau(first.numpy(), second.numpy()).statistic))


@dataclass(frozen=True)
class Stability:
    """What resampling says of a ranking.

    Args:
        scores: (L,), over all questions.
        low, high: (L,) the 95% bootstrap interval of each block's score.
        draws: (W, L) the bootstrap's scores themselves.
        frequency: (L,) the share of bootstraps in which a block is among the selected.
        split_half_tau: mean over random halves of Kendall's tau between their rankings.
        p_value: of "no block responds to hallucination": how often random flips of whole questions reach the highest
            score over all blocks that was found.
    """

    scores: Tensor
    low: Tensor
    high: Tensor
    draws: Tensor
    frequency: Tensor
    split_half_tau: float
    p_value: float


def stability(
    differences: Tensor, count: int, reduce: Reduce = reduce_eavss, draws: int = 200, seed: int = 0
) -> Stability:
    """Bootstrap, split halves and permutation, each with `draws` draws (halves: a quarter as many).

    Args:
        differences: (n, L, H).
        count: how many blocks are selected.
    """
    n = len(differences)
    scores = resampled_scores(differences, torch.ones(1, n), reduce)[0]
    bootstrap = resampled_scores(differences, bootstrap_weights(n, draws, seed), reduce)  # (W, L)
    chosen = bootstrap.argsort(dim=1, descending=True)[:, :count]
    frequency = torch.zeros_like(bootstrap).scatter(1, chosen, 1.0).mean(0)
    halves = (resampled_scores(differences, half, reduce) for half in random_halves(n, max(1, draws // 4), seed))
    null = resampled_scores(differences, random_flips(n, draws, seed), reduce).amax(1)
    low, high = bootstrap.quantile(torch.tensor([0.025, 0.975], dtype=bootstrap.dtype), dim=0)
    return Stability(
        scores,
        low,
        high,
        bootstrap,
        frequency,
        float(np.mean([tau(a, b) for a, b in zip(*halves, strict=True)])),
        (1 + int((null >= scores.amax()).sum())) / (1 + draws),
    )
