"""Measure how well a linear probe distinguishes hallucinated answers from truthful ones at each block."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from eavss.confidence import Confidence, FittedProbe, Probe

_FOLDS = 5
_ALPHA = 100.0
# The ridge penalty of a probe of the model's own answers, for each answer. Few of them are right, and a weaker one
# learns the questions by heart: .70 instead of .77 on 2000 questions of TriviaQA.
_PENALTY = 5.0
_RESAMPLES = 300


class ProbeFigures(NamedTuple):
    """What a probe at one block knows of the model's own answers.

    Args:
        auroc: its cross-validated AUROC.
        interval: the low and the high end of its 95% interval over questions.
        combined: the AUROC of the probe and the likelihoods together.
        gain: the 95% interval of how much higher that is than the AUROC of the first likelihood alone.
    """

    auroc: float
    interval: tuple[float, float]
    combined: float
    gain: tuple[float, float]


def probe_auroc(
    states: Tensor, likelihoods: Sequence[Sequence[float]], right: Sequence[bool], seed: int = 0
) -> list[ProbeFigures]:
    """Tell right answers from wrong ones by a ridge classifier, alone and with the answers' likelihoods, by block.

    Chance is an AUROC of 0.5. Each question has one answer, so that no question is in two folds. The likelihoods join
    in a logistic regression on the classifier's decisions for questions that it has not seen.

    Args:
        states: (n, L, H) one state of each answer.
        likelihoods: (n, F) of each answer; the first is the one to compare with.
        right: (n,) whether each is right; at least five of each kind.
        seed: the seed of the folds and of the bootstrap.
    """
    labels, known = np.array(right), np.array(likelihoods)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    draws = np.random.default_rng(seed).integers(len(labels), size=(_RESAMPLES, len(labels)))
    draws = draws[[0 < labels[drawn].sum() < len(labels) for drawn in draws]]
    ridge = RidgeClassifier(alpha=_PENALTY * len(labels), class_weight="balanced")
    found = []
    for block in states.unbind(1):
        probe, joined = (make_pipeline(StandardScaler(), each) for each in (ridge, LogisticRegression()))
        alone = cross_val_predict(probe, block.numpy(), labels, cv=folds, method="decision_function")
        features = np.column_stack([known, alone])
        both = cross_val_predict(joined, features, labels, cv=folds, method="decision_function")
        resampled = [[roc_auc_score(labels[d], each[d]) for each in (alone, both, known[:, 0])] for d in draws]
        own, combined, first = np.array(resampled).T
        found.append(
            ProbeFigures(
                float(roc_auc_score(labels, alone)),
                _middle(own),
                float(roc_auc_score(labels, both)),
                _middle(combined - first),
            )
        )
    return found


def fit_probe(
    states: Tensor, layers: Sequence[int], confidences: Sequence[Confidence], right: Sequence[bool], seed: int = 0
) -> FittedProbe:
    """Fit a probe on the block whose states tell right answers from wrong ones best, and join the likelihoods.

    As in `probe_auroc`, each answer's cross-validated confidence comes from a probe that has not seen it. The block is
    chosen by the AUROC of these, which flatters it a little.

    Args:
        states: (n, K, H) mean states on the answers, at K blocks.
        layers: the indices of these blocks.
        confidences: of the answers.
        right: (n,) whether each is right; at least five of each kind.
        seed: the seed of the folds.
    """
    labels, known = np.array(right), np.array(confidences)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    ridge = make_pipeline(StandardScaler(), RidgeClassifier(alpha=_PENALTY * len(labels), class_weight="balanced"))
    joined = make_pipeline(StandardScaler(), LogisticRegression())
    unseen = [
        cross_val_predict(ridge, block.numpy(), labels, cv=folds, method="decision_function")
        for block in states.unbind(1)
    ]
    best = max(range(len(layers)), key=lambda number: roc_auc_score(labels, unseen[number]))
    features = np.column_stack([known, unseen[best]])
    found = cross_val_predict(joined, features, labels, cv=folds, method="decision_function")
    weights, bias = _linear(joined.fit(features, labels))
    own, own_bias = _linear(ridge.fit(states[:, best].numpy(), labels))
    probe = Probe(
        layer=layers[best],
        state=(weights[-1] * own).tolist(),
        likelihoods=weights[:-1].tolist(),
        bias=bias + float(weights[-1]) * own_bias,
    )
    return FittedProbe(probe, found.tolist())


def _linear(fitted: Pipeline) -> tuple[NDArray[np.float64], float]:
    """Return the weights and the bias of a fitted scaler and linear classifier together."""
    scaler, classifier = fitted.named_steps.values()
    weights = np.ravel(classifier.coef_) / scaler.scale_
    return weights, float(np.ravel(classifier.intercept_)[0] - weights @ scaler.mean_)


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


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
