"""Measure how far a ranking of blocks can be trusted.

Whole questions are resampled. This needs the mean states of the answers only, not the model.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eavss.scores import eavss_of_shares

# A score of `eavss.scores`, from a block's shares rho, one row for each resampling: (W, H) -> (W,).
Reduce = Callable[[Tensor], Tensor]
# Scores under resampling: how often each question is drawn, (W, n), becomes every block's score, (W, L).
Resampled = Callable[[Tensor], Tensor]


def weighted_shares(differences: Tensor, weights: Tensor) -> Tensor:
    """Return rho as `eavss.scores.systematic_share` does, with a weight for each question.

    It is the mean of d_i d_j over pairs of different questions i and j, divided by the mean of d_i^2. A question that a
    bootstrap draws twice makes no pair with itself, so resampling does not raise the share. A negative weight flips the
    sign of a question's change.

    Args:
        differences: d of one block, (n, H).
        weights: (W, n); (1, ..., 1) gives the unweighted rho.

    Returns:
        (W, H), with 0 where a unit never changes.
    """
    squares = differences.square()
    size = weights.abs()
    first = weights @ differences  # (W, H)
    own = weights.square() @ squares
    # (W, 1). If only one question is drawn, there is no pair, and the share is 0.
    pairs = (size.sum(1, keepdim=True).square() - weights.square().sum(1, keepdim=True)).clamp(min=1)
    mean_square = (size @ squares) / size.sum(1, keepdim=True)
    share = (first.square() - own) / pairs / mean_square.clamp(min=1e-38)
    return torch.where(mean_square > 0, share, 0)


def resampled_scores(differences: Tensor, weights: Tensor, reduce: Reduce = eavss_of_shares) -> Tensor:
    """Return the score of every block under every resampling, (W, L).

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).
        weights: (W, n).
        reduce: the score, `eavss_of_shares` or `hsav_of_shares` of `eavss.scores`.
    """
    weights = weights.double()
    blocks = differences.unbind(1)  # one at a time: a large model's would not fit in float64 at once
    return torch.stack([reduce(weighted_shares(block.double(), weights)) for block in blocks], dim=1)


def bootstrap_weights(questions: int, draws: int, seed: int) -> Tensor:
    """Draw n questions with replacement; return how often each is drawn, (draws, n)."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.multinomial(questions, [1 / questions] * questions, size=draws))


def random_flips(questions: int, draws: int, seed: int) -> Tensor:
    """Draw random signs, (draws, n), for the null hypothesis that the change has no direction."""
    generator = np.random.default_rng(seed)
    return torch.from_numpy(generator.choice([-1, 1], size=(draws, questions)))


def random_halves(questions: int, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw two disjoint halves of the questions, as weights of 0 and 1, (draws, n) each."""
    generator = np.random.default_rng(seed)
    order = torch.from_numpy(generator.permuted(np.tile(np.arange(questions), (draws, 1)), axis=1))
    half = questions // 2
    return (order < half).long(), ((order >= half) & (order < 2 * half)).long()


def tau(first: Tensor, second: Tensor) -> float:
    """Return Kendall's tau between two rankings of blocks, (L,) each.

    It is 1 for the same order, and 0 where one of them has no order.
    """
    from scipy.stats import kendalltau  # imported here, so that `import eavss` does not wait for SciPy

    return float(np.nan_to_num(kendalltau(first.numpy(), second.numpy()).statistic))


def mean_effects(values: Tensor, weights: Tensor) -> Tensor:
    """Return |mean over questions| of what was measured for each question and block, (W, L).

    Args:
        values: (n, L).
        weights: (W, n) how often each question is drawn; (1, ..., 1) for all.
    """
    drawn = weights.double()
    return (drawn @ values.double() / drawn.sum(1, keepdim=True)).abs()


def split_half_tau(resampled: Resampled, questions: int, draws: int = 50, seed: int = 0) -> float:
    """Return Kendall's tau between the rankings from two random halves of the questions, the mean over halves.

    Args:
        resampled: the scores of every block under resampling weights.
        questions: the number n of questions.
        draws: how many times the questions are halved.
        seed: the seed of the halves.
    """
    halves = (resampled(half) for half in random_halves(questions, draws, seed))
    return float(np.mean([tau(a, b) for a, b in zip(*halves, strict=True)]))


@dataclass(frozen=True)
class Stability:
    """How steady a ranking of blocks is under resampling of the questions.

    Args:
        scores: (L,) the scores over all questions.
        low, high: (L,) the ends of the 95% bootstrap interval of each block's score.
        draws: (W, L) the blocks' scores in each bootstrap.
        frequency: (L,) the share of bootstraps in which a block is selected.
        split_half_tau: Kendall's tau between the rankings from two random halves of the questions, the mean over
            halves.
        p_value: the p-value of "no block responds to hallucination": how often random flips of whole questions give a
            highest score, over all blocks, that is at least the one found.
    """

    scores: Tensor
    low: Tensor
    high: Tensor
    draws: Tensor
    frequency: Tensor
    split_half_tau: float
    p_value: float


def stability(
    differences: Tensor, count: int, reduce: Reduce = eavss_of_shares, draws: int = 200, seed: int = 0
) -> Stability:
    """Measure the stability of a ranking by a bootstrap, random halves, and a permutation test.

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).
        count: the number of selected blocks.
        reduce: the score, `eavss_of_shares` or `hsav_of_shares` of `eavss.scores`.
        draws: the number of bootstraps and of permutations. There are a quarter as many random halves.
        seed: the seed of all draws.
    """
    n = len(differences)
    scores = resampled_scores(differences, torch.ones(1, n), reduce)[0]
    bootstrap = resampled_scores(differences, bootstrap_weights(n, draws, seed), reduce)  # (W, L)
    chosen = bootstrap.argsort(dim=1, descending=True)[:, :count]
    frequency = torch.zeros_like(bootstrap).scatter(1, chosen, 1.0).mean(0)

    def resampled(weights: Tensor) -> Tensor:
        return resampled_scores(differences, weights, reduce)

    null = resampled_scores(differences, random_flips(n, draws, seed), reduce).amax(1)
    low, high = bootstrap.quantile(torch.tensor([0.025, 0.975], dtype=bootstrap.dtype), dim=0)
    return Stability(
        scores=scores,
        low=low,
        high=high,
        draws=bootstrap,
        frequency=frequency,
        split_half_tau=split_half_tau(resampled, n, max(1, draws // 4), seed),
        p_value=(1 + int((null >= scores.amax()).sum())) / (1 + draws),
    )
