"""Measure how well a linear probe distinguishes hallucinated answers from truthful ones at each block."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

_FOLDS = 5
_ALPHA = 100.0
_RESAMPLES = 300


def probe_auroc(states: Tensor, right: Sequence[bool], seed: int = 0) -> list[tuple[float, float, float]]:
    """Return the cross-validated AUROC of a ridge classifier that tells right answers from wrong ones, by block.

    Chance is 0.5. Each question has one answer, so that no question is in two folds.

    Args:
        states: (n, L, H) one state of each answer.
        right: (n,) whether each is right; at least five of each kind.
        seed: the seed of the folds and of the bootstrap.

    Returns:
        For each of the L blocks the AUROC, and the low and the high end of its 95% interval over questions.
    """
    labels = np.array(right)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    draws = np.random.default_rng(seed).integers(len(labels), size=(_RESAMPLES, len(labels)))
    draws = draws[[0 < labels[drawn].sum() < len(labels) for drawn in draws]]
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=_ALPHA, class_weight="balanced"))
    found = []
    for block in states.unbind(1):
        decisions = cross_val_predict(probe, block.numpy(), labels, cv=folds, method="decision_function")
        resampled = [roc_auc_score(labels[drawn], decisions[drawn]) for drawn in draws]
        low, high = np.quantile(resampled, [0.025, 0.975])
        found.append((float(roc_auc_score(labels, decisions)), float(low), float(high)))
    return found


def probe_accuracy(states: Tensor) -> list[float]:
    """Return the cross-validated accuracy of a ridge classifier on each block's answer-mean states.

    Chance is 0.5. The two answers of a question are always in the same fold, so that the probe cannot recognise the
    question. Hidden states were probed for truthfulness by Azaria and Mitchell (arXiv 2304.13734) and Li et al.
    (arXiv 2306.03341).

    Args:
        states: (n, 2, L, H), [:, 0] truthful and [:, 1] hallucinated, n >= 2 questions.

    Returns:
        One accuracy for each of the L blocks.
    """
    questions = len(states)
    labels = np.tile([0, 1], questions)
    groups = np.repeat(np.arange(questions), 2)
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=_ALPHA))
    folds = GroupKFold(min(_FOLDS, questions))
    return [
        float(cross_val_score(probe, block.flatten(0, 1).numpy(), labels, groups=groups, cv=folds).mean())
        for block in states.unbind(2)
    ]
