"""AVSS, HSAV, HSS and EAVSS: pure functions from statistics to one number per block.

AVSS is from Song et al., "AVSS: Layer Importance Evaluation in LLMs via Activation Variance-Sparsity Analysis"
(arXiv 2411.02117). EAVSS, HSAV and HSS are named in arXiv 2411.10069. We could find only its abstract, so their
definitions here are ours (docs/method.md).
"""

import torch
from torch import Tensor

from eavss.moments import TokenMoments

HSS_THRESHOLD = 0.02


def activation_variance(moments: TokenMoments) -> Tensor:
    """Return AV_l = mean over sequences of Var_H(mean_T X_l) (arXiv 2411.02117), (L,)."""
    return moments.variance / moments.sequences


def activation_sparsity(moments: TokenMoments) -> Tensor:
    """Return AS_l = mean of 1[|X_l| < 1e-5] over tokens and hidden units (arXiv 2411.02117), (L,).

    We deviate in two points: padding does not count, and a count of zero is taken as 0.5, because AVSS divides by it.
    """
    return moments.near_zero.clamp(min=0.5) / moments.units


def avss(moments: TokenMoments) -> Tensor:
    """Return AVSS_l = AV_l / AS_l (arXiv 2411.02117), (L,). Reports call this estimator `paper`."""
    return activation_variance(moments) / activation_sparsity(moments)


def scale_free_avss(moments: TokenMoments) -> Tensor:
    """Return AVSS without the scale of the residual stream (ours), (L,). Reports call this estimator `scale_free`.

    AV is divided by the mean of X^2, and a unit counts as near zero below 0.1 times its token's root mean square. The
    published form grows with the third power of the scale, and therefore mostly with depth.
    """
    variance = activation_variance(moments) / (moments.squares / moments.units)
    return variance / (moments.near_zero_relative.clamp(min=0.5) / moments.units)


def block_influence(cosine_distance_sums: Tensor, moments: TokenMoments) -> Tensor:
    """Return BI_l = 1 - mean over tokens of cosine(block input, block output) (ShortGPT, arXiv 2403.03853), (L,).

    Args:
        cosine_distance_sums: (L,) sums over tokens of 1 - cosine.
    """
    return cosine_distance_sums / moments.tokens


def normalised(scores: Tensor) -> Tensor:
    """Return NAVSS_l = AVSS_l / sum_k AVSS_k (arXiv 2411.02117), (L,)."""
    return scores / scores.sum()


def cumulative(scores: Tensor) -> Tensor:
    """Return CAVSS_l, the sum of NAVSS over the blocks 0 to l (arXiv 2411.02117), (L,)."""
    return normalised(scores).cumsum(0)


def systematic_share(differences: Tensor) -> Tensor:
    """Return rho_u, the share of a unit's change that is the same for every question (ours).

    With R_u = mean_i(d_iu)^2 / mean_i(d_iu^2), rho_u = (n R_u - 1) / (n - 1). It is 1 if all questions change a unit
    equally, 0 on average if the signs are random, and 0 where the unit never changes.

    Args:
        differences: d = hallucinated minus truthful states, (n, ..., H), n >= 2 questions.

    Returns:
        (..., H)
    """
    n = differences.shape[0]
    mean_square = differences.square().mean(0)
    ratio = torch.where(mean_square > 0, differences.mean(0).square() / mean_square.clamp(min=1e-38), 1 / n)
    return (n * ratio - 1) / (n - 1)


def unpaired_share(states: Tensor, wrong: Tensor) -> Tensor:
    """Return the share of a unit's variance that tells wrong answers from right ones, for unpaired questions (ours).

    Where each question has one answer, right or wrong, there is no change within a question, and `systematic_share`
    has nothing to work on. This is omega squared of the two groups, (SSB - MSW) / (SST + MSW) (Hays, 1963), with SSB
    between groups, MSW the mean square within them, and SST in total. Like rho, it is 0 on average if the labels are
    random.

    Args:
        states: (n, ..., H), n >= 3 answers.
        wrong: (n,) booleans, of both values.

    Returns:
        (..., H)
    """
    right_states, wrong_states = states[~wrong], states[wrong]
    within = sum((part - part.mean(0)).square().sum(0) for part in (right_states, wrong_states))
    total = (states - states.mean(0)).square().sum(0)
    mean_square = within / (len(states) - 2)
    return torch.where(total > 0, (total - within - mean_square) / (total + mean_square).clamp(min=1e-38), 0.0)


def hsav_of_shares(shares: Tensor) -> Tensor:
    """Return HSAV from rho of `systematic_share`: its mean over units (ours), (..., H) -> (...,)."""
    return shares.mean(-1)


def hss_of_shares(shares: Tensor) -> Tensor:
    """Return HSS from rho of `systematic_share`: the share of units with rho < 0.02 (ours), (..., H) -> (...,).

    These units do not respond to hallucination. HSS is at least 1/H, because EAVSS divides by it.
    """
    return (shares < HSS_THRESHOLD).to(shares.dtype).mean(-1).clamp(min=1 / shares.shape[-1])


def eavss_of_shares(shares: Tensor) -> Tensor:
    """Return EAVSS in its contrast form from rho of `systematic_share`, (..., H) -> (...,)."""
    return hsav_of_shares(shares) / hss_of_shares(shares)


def hsav(differences: Tensor) -> Tensor:
    """Return HSAV_l, hallucination-specific activation variance: the mean of rho over units (ours).

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).

    Returns:
        (L,)
    """
    return hsav_of_shares(systematic_share(differences))


def hss(differences: Tensor) -> Tensor:
    """Return HSS_l, hallucination-specific sparsity: the share of units with rho < 0.02, at least 1/H (ours).

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).

    Returns:
        (L,)
    """
    return hss_of_shares(systematic_share(differences))


def eavss_contrast(differences: Tensor) -> Tensor:
    """Return EAVSS_l = HSAV_l / HSS_l, in analogy to AVSS = AV / AS (ours). This paired form is the default.

    Args:
        differences: d = hallucinated minus truthful states, (n, L, H).

    Returns:
        (L,)
    """
    return eavss_of_shares(systematic_share(differences))


def eavss_conditional(hallucinated: TokenMoments) -> Tensor:
    """Return EAVSS_l = AV_l / AS_l over the tokens of hallucinated answers only, (L,).

    This is the literal reading of the abstract. Like `avss`, it ranks mostly by depth; see `scale_free_avss`.
    """
    return avss(hallucinated)
