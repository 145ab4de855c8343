"""AVSS, HSAV, HSS and EAVSS: pure functions from statistics to one number per block.

AVSS is Song et al., "AVSS: Layer Importance Evaluation in LLMs via Activation Variance-Sparsity Analysis"
(arXiv 2411.02117), known in full. EAVSS, HSAV and HSS are named in arXiv 2411.10069, of which only the abstract could
be found: their definitions here are ours (docs/method.md).
"""

import torch
from torch import Tensor

from eavss.moments import TokenMoments

HSS_THRESHOLD = 0.02


def activation_variance(moments: TokenMoments) -> Tensor:
    """AV_l = mean over sequences of Var_H(mean_T X_l) (arXiv 2411.02117) -> (L,)."""
    return moments.variance / moments.sequences


def activation_sparsity(moments: TokenMoments) -> Tensor:
    """AS_l = mean of 1[|X_l| < 1e-5] over tokens and hidden units (arXiv 2411.02117) -> (L,).

    Ours: padding does not count, and a count of zero is taken as half an event, since AVSS divides by it.
    """
    return moments.near_zero.clamp(min=0.5) / moments.units


def avss(moments: TokenMoments) -> Tensor:
    """AVSS_l = AV_l / AS_l (arXiv 2411.02117), the estimator that reports call `paper` -> (L,)."""
    return activation_variance(moments) / activation_sparsity(moments)


def scale_free_avss(moments: TokenMoments) -> Tensor:
    """AVSS without the residual stream's scale, the estimator that reports call `scale_free` (ours) -> (L,).

    AV is divided by the mean of X^2, and a unit counts as near zero below 0.1 of its token's root mean square. The
    published form grows as the third power of the scale, and so mostly with depth.
    """
    variance = activation_variance(moments) / (moments.squares / moments.units)
    return variance / (moments.near_zero_relative.clamp(min=0.5) / moments.units)


def block_influence(cosine_distance_sums: Tensor, moments: TokenMoments) -> Tensor:
    """BI_l = 1 - the mean over tokens of cosine(block's input, block's output) (ShortGPT, arXiv 2403.03853) -> (L,).

    Args:
        cosine_distance_sums: (L,) sums over tokens of 1 - cosine.
    """
    return cosine_distance_sums / moments.tokens


def normalised(scores: Tensor) -> Tensor:
    """NAVSS_l = AVSS_l / sum_k AVSS_k (arXiv 2411.02117) -> (L,)."""
    return scores / scores.sum()


def cumulative(scores: Tensor) -> Tensor:
    """CAVSS_l: the sum of NAVSS over blocks 0 to l, in depth order (arXiv 2411.02117) -> (L,)."""
    return normalised(scores).cumsum(0)


def systematic_share(differences: Tensor) -> Tensor:
    """rho_u: the share of a unit's pairwise change that is the same for every question (ours).

    With R_u = mean_i(d_iu)^2 / mean_i(d_iu^2), rho_u = (n R_u - 1) / (n - 1): 1 if all questions change alike, and 0
    on average if the signs are random. 0 where the unit never changes.

    Args:
        differences: d = hallucinated minus truthful states, (n, ..., H), n >= 2 questions.

    Returns:
        (..., H)
    """
    n = differences.shape[0]
    mean_square = differences.square().mean(0)
    ratio = torch.where(mean_square > 0, differences.mean(0).square() / mean_square.clamp(min=1e-38), 1 / n)
    return (n * ratio - 1) / (n - 1)


def hsav(differences: Tensor) -> Tensor:
    """HSAV_l, hallucination-specific activation variance: the mean of rho over units (ours); (n, L, H) -> (L,)."""
    return systematic_share(differences).mean(-1)


def hss(differences: Tensor) -> Tensor:
    """HSS_l, hallucination-specific sparsity: the share of units with rho < 0.02, at least 1/H (ours).

    These are the units that do not answer to hallucination. (n, L, H) -> (L,)
    """
    share = (systematic_share(differences) < HSS_THRESHOLD).to(differences.dtype).mean(-1)
    return share.clamp(min=1 / differences.shape[-1])


def eavss_contrast(differences: Tensor) -> Tensor:
    """EAVSS_l = HSAV_l / HSS_l, as AVSS = AV / AS: the paired form, and the default (ours); (n, L, H) -> (L,)."""
    return hsav(differences) / hss(differences)


def eavss_conditional(hallucinated: TokenMoments) -> Tensor:
    """EAVSS_l as AV / AS over the tokens of hallucinated answers alone: the literal reading of the abstract -> (L,).

    It ranks nearly as depth does, for the reason told in `scale_free_avss`.
    """
    return avss(hallucinated)
