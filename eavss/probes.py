"""Measure how well a linear probe distinguishes hallucinated answers from truthful ones at each block."""

import numpy as np
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

_FOLDS = 5
_ALPHA = 100.0


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
