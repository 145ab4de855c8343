"""Whether a change between two measurements of the same questions is more than noise: intervals and tests."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
_RESAMPLES = 2000


class Change(TypedDict):
    """How one metric changed, as `results.json` holds it.

    Args:
        difference: the mean over questions of after - before.
        interval: the low and the high end of its 95% interval.
        mcnemar_p: the p-value of `mcnemar_p`, or None for a metric with other values than 0 and 1.
        noise: whether the interval contains 0.
    """

    difference: float
    interval: list[float]
    mcnemar_p: float | None
    noise: bool


def paired_interval(
    before: Sequence[float], after: Sequence[float], seed: int, resamples: int = _RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval (low, high) of the mean difference `after - before`, in the metric's unit.

    This is the percentile bootstrap (Efron, 1979; Efron and Tibshirani, 1993, chapter 13) over questions. The two
    values of a question are drawn together, as in the paired bootstrap of Koehn (2004). The interval says how far the
    mean would move with other questions, not with another seed of training. It is too narrow for few questions; for
    one question it is a point.

    Args:
        before, after: (N,) values, one for each question, in the same order.
        seed: the seed of the draws; the same seed and N draw the same questions.
        resamples: how many times N questions are drawn with replacement.
        level: the share of the resampled means that the interval covers.

    Raises:
        ValueError: there are no questions, or `before` and `after` differ in length.
    """
    differences = _differences(before, after)
    generator, n = np.random.default_rng(seed), len(differences)
    means = [differences[generator.integers(n, size=n)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def question_draws(questions: int, seed: int) -> Floats:
    """Return how often each of n questions is drawn in 2000 draws of n with replacement, (2000, n)."""
    return _multinomial([seed, questions], questions).astype(np.float64)


def mcnemar_p(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the two-sided p-value of the exact McNemar (1947) test that as many questions were lost as won.

    If only chance is at work, the number of questions won is Binomial(D, 1/2), where D is the number of questions whose
    outcome changed. The p-value is 1 where D is 0.

    Args:
        before, after: (N,) outcomes, 0 or 1 (or booleans), one for each question, in the same order.

    Raises:
        ValueError: there are no questions, `before` and `after` differ in length, or a value is neither 0 nor 1.
    """
    if not _are_outcomes(before, after):
        raise ValueError("McNemar's test is of values that are 0 or 1")
    differences = _differences(before, after)
    changed = int(np.count_nonzero(differences))
    return float(binomtest(int((differences > 0).sum()), changed, 0.5).pvalue) if changed else 1.0


def compare(before: list[dict[str, float]], after: list[dict[str, float]], seed: int) -> dict[str, Change]:
    """Return how each metric changed, by the metric's name.

    Args:
        before, after: the metrics of N questions, in the same order of questions.
        seed: the seed of `paired_interval`.

    Raises:
        ValueError: there are no questions, `before` and `after` differ in length, or the metrics are not the same
            everywhere.
    """
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} questions before and {len(after)} after: both need the same, and one at least")
    metrics = list(before[0])
    if any(values.keys() != before[0].keys() for values in (*before, *after)):
        raise ValueError(f"not every question has the metrics of the first: {', '.join(metrics)}")
    return {
        metric: _change([values[metric] for values in before], [values[metric] for values in after], seed)
        for metric in metrics
    }


def _change(before: list[float], after: list[float], seed: int) -> Change:
    low, high = paired_interval(before, after, seed)
    return {
        "difference": float(_differences(before, after).mean()),
        "interval": [low, high],
        "mcnemar_p": mcnemar_p(before, after) if _are_outcomes(before, after) else None,
        "noise": not (low > 0 or high < 0),  # written so that NaN counts as noise
    }


def _differences(before: Sequence[float], after: Sequence[float]) -> Floats:
    if not len(before) or len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after: both need the same, and one at least")
    return np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)


def _are_outcomes(before: Sequence[float], after: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in (*before, *after))


def hierarchical_draws(
    gains: Mapping[int, Floats], seed: int, questions: Mapping[int, Sequence[str]] | None = None
) -> Floats:
    """Return 2000 mean gains under a hierarchical bootstrap, (2000,).

    Training seeds, choices within each seed, and questions are drawn with replacement. A question that several seeds
    were evaluated on is drawn for all of them together, because another seed does not make it another question. The
    draws depend on the seeds and the questions only, so that two selectors are compared on the same draws.

    Args:
        gains: for each training seed, the gains of n questions under each of K choices, (K, n).
        seed: the seed of the bootstrap.
        questions: for each training seed, the names of its n questions. None if all seeds have the same questions.
    """
    names = questions or {own: [str(number) for number in range(rows.shape[1])] for own, rows in gains.items()}
    weights, seed_counts = seed_and_question_draws({own: names[own] for own in gains}, seed)
    total = np.zeros(_RESAMPLES)
    for own, rows in gains.items():
        means = weights[own] @ rows.T / weights[own].sum(1, keepdims=True)  # (2000, K)
        choice_counts = _multinomial([seed, own, len(rows)], len(rows))
        total += seed_counts[own] * (means * choice_counts).sum(1) / len(rows)
    return total / len(gains)


def seed_and_question_draws(
    questions: Mapping[int, Sequence[str]], seed: int
) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Return how often each question is drawn, (2000, n), and each training seed, (2000,), by training seed.

    A question of several seeds is drawn for all of them together, see `hierarchical_draws`.
    """
    place = {name: number for number, name in enumerate(dict.fromkeys(n for own in questions.values() for n in own))}
    question_counts = _multinomial([seed, len(place)], len(place)).astype(np.float64)
    seed_counts = _multinomial([seed, *questions], len(questions)).astype(np.float64)
    weights = {own: question_counts[:, [place[name] for name in names]] for own, names in questions.items()}
    return weights, dict(zip(questions, seed_counts.T, strict=True))


def _multinomial(entropy: list[int], number: int) -> NDArray[np.int64]:
    """Return how often each of `number` items occurs in `number` draws with replacement, (2000, number)."""
    return np.random.default_rng(entropy).multinomial(number, [1 / number] * number, _RESAMPLES)


def percentile_interval(draws: Floats) -> list[float]:
    """Return the bounds of the middle 95% of the draws."""
    return [float(bound) for bound in np.quantile(draws, [0.025, 0.975])]
