"""How well a confidence tells right answers from wrong ones."""

import math
from collections.abc import Sequence

import torch

from eavss.errors import EavssError

_BINS = 10
_CURVE_POINTS = 100


def auroc(confidences: Sequence[float], right: Sequence[bool]) -> float | None:
    """Return the probability that a right answer has a higher confidence than a wrong one, a tie counting half.

    None if all answers are right or all are wrong.
    """
    values, labels = torch.tensor(confidences, dtype=torch.float64), torch.tensor(right, dtype=torch.bool)
    positive, negative = values[labels], values[~labels]
    if not len(positive) or not len(negative):
        return None
    ordered = negative.sort().values
    below, up_to = (torch.searchsorted(ordered, positive, right=side).double() for side in (False, True))
    return float(((below + up_to) / 2).mean() / len(negative))


def auroc_error(value: float, right: int, answers: int) -> float:
    """Return the standard error of an AUROC (Hanley and McNeil, 1982).

    Args:
        value: the AUROC.
        right: how many of the answers are right; neither none nor all.
        answers: how many there are.
    """
    wrong = answers - right
    of_right, of_wrong = value / (2 - value) - value**2, 2 * value**2 / (1 + value) - value**2
    return math.sqrt((value * (1 - value) + (right - 1) * of_right + (wrong - 1) * of_wrong) / (right * wrong))


def risk_coverage(confidences: Sequence[float], right: Sequence[bool], asked: int) -> list[list[float]]:
    """Return [share answered, share wrong] of all questions asked, as the threshold falls (Geifman and El-Yaniv, 2017).

    Args:
        confidences, right: of the answers that were given.
        asked: how many questions were asked.
    """
    order = sorted(range(len(right)), key=lambda i: -confidences[i])
    points, wrong = [[0.0, 0.0]], 0
    for answered, i in enumerate(order, start=1):
        wrong += not right[i]
        if answered == len(order) or confidences[order[answered]] < confidences[i]:  # equal ones are answered together
            points.append([answered / asked, wrong / asked])
    step = max(1, math.ceil(len(points) / _CURVE_POINTS))
    return [*points[:-1:step], points[-1]]


def threshold_keeping(confidences: Sequence[float], right: Sequence[bool], share: float) -> float:
    """Return the highest threshold at or above which at least `share` of the right answers lie.

    Raises:
        EavssError: no answer is right.
    """
    kept = sorted((value for value, is_right in zip(confidences, right, strict=True) if is_right), reverse=True)
    if not kept:
        raise EavssError("none of the answers is right, so no threshold can keep a share of the right ones")
    return kept[max(0, math.ceil(share * len(kept) - 1e-9) - 1)]


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Return the ECE (Guo et al., 2017, arXiv 1706.04599, equation 3) of e^confidence as a probability, in ten bins."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for value, is_right in zip(confidences, right, strict=True):
        probability = math.exp(min(value, 0.0))
        bins[min(_BINS - 1, int(probability * _BINS))].append((probability, is_right))
    gaps = [abs(sum(p for p, _ in part) - sum(is_right for _, is_right in part)) for part in bins]
    return sum(gaps) / max(1, len(right))
