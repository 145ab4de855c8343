"""Whether a change between two measurements of the same questions is more than noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


def paired_interval(
    before: Sequence[float], after: Sequence[float], seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """The interval of the mean difference `after - before`, in the metric's unit: (low, high).

    The percentile bootstrap (Efron, 1979; Efron and Tibshirani, 1993, chapter 13) over questions: a question's two
    values are drawn together, as in Koehn's (2004) paired bootstrap. It says how far the mean would move with other
    questions, not with another seed of training. It is too narrow for a few questions: of one it is a point.

    Args:
        before, after: (N,) values, one a question, in the same order.
        seed: of the draws; the same seed and N draw the same questions.
        resamples: how many times N questions are drawn with replacement.
        level: the interval's share of the resampled means.

    Raises:
        ValueError: there is no question, or not as many after as before.
    """
    differences = _differences(before, after)
    generator, n = np.random.default_rng(seed), len(differences)
    means = [differences[generator.integers(n, size=n)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar_p(before: Sequence[float], after: Sequence[float]) -> float:
    """The two-sided p-value of McNemar's (1947) test that as many questions were lost as won, in its exact form.

    Of the D questions whose outcome changed, those won are Binomial(D, 1/2) if nothing but chance was at work. 1 where
    D is 0.

    Args:
        before, after: (N,) outcomes, 0 or 1 (or booleans), one a question, in the same order.

    Raises:
        ValueError: there is no question, not as many after as before, or a value that is neither 0 nor 1.
    """
    if not _are_outcomes(before, after):
        raise ValueError("McNemar's test is of values that are 0 or 1")
    differences = _differences(before, after)
    changed = int(np.count_nonzero(differences))
    return float(binomtest(int((differences > 0).sum()), changed, 0.5).pvalue) if changed else 1.0


def compare(before: list[dict[str, float]], after: list[dict[str, float]], seed: int) -> dict[str, dict[str, Any]]:
    """What changed in each metric, from a dict of metrics for each question.

    Args:
        before, after: N dicts with the same metrics, in the same order of questions.
        seed: see `paired_interval`.

    Returns:
        {metric: {"difference": mean of after - before, "interval": [low, high] at 95%, "mcnemar_p": None for a metric
        with other values than 0 and 1, "noise": whether the interval contains 0}}.

    Raises:
        ValueError: there is no question, not as many after as before, or not the same metrics everywhere.
    """
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} questions before and {len(after)} after: both need the same, and one at least")
    metrics = list(before[0])
    if any(values.keys() != before[0].keys() for values in (*before, *after)):
        raise ValueError(f"not every question has the metrics of the first: {', '.join(metrics)}")
    return {
        metric: _compare([values[metric] for values in before], [values[metric] for values in after], seed)
        for metric in metrics
    }


def _compare(before: list[float], after: list[float], seed: int) -> dict[str, Any]:
    low, high = paired_interval(before, after, seed)
    return {
        "difference": float(_differences(before, after).mean()),
        "interval": [low, high],
        "mcnemar_p": mcnemar_p(before, after) if _are_outcomes(before, after) else None,
        "noise": not (low > 0 or high < 0),  # so that what is not a number is noise
    }


def _differences(before: Sequence[float], after: Sequence[float]) -> NDArray[np.float64]:
    if not len(before) or len(before) != len(after):
        raise ValueError(f"{len(before)} values before and {len(after)} after: both need the same, and one at least")
    return np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)


def _are_outcomes(before: Sequence[float], after: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in (*before, *after))
