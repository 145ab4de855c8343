"""How sure a model is of its own answers, and the threshold under which it had better decline.

The confidences are the usual ones of a single greedy answer, made from the log-probabilities of its tokens (in nats, at
most 0; higher is surer). LM-Polygraph and UQLM have them under the names in brackets.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from eavss.errors import EavssError

Kind = Literal["summed", "per_token", "first_token", "least_token"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# The shares of right answers that a shipped threshold may keep, in per cent.
SHARES = (60, 80, 90)
_BINS = 10
_CURVE_POINTS = 100


class Confidence(NamedTuple):
    """The confidences of one answer.

    Args:
        summed: the log-probability of the whole answer (LM-Polygraph's MaximumSequenceProbability, negated; UQLM's
            sequence_probability, as a logarithm).
        per_token: its mean over tokens (Perplexity; normalized_probability).
        first_token: that of the first token.
        least_token: that of the least likely token (min_probability).
    """

    summed: float
    per_token: float
    first_token: float
    least_token: float


def confidence_of(logprobs: Sequence[float]) -> Confidence:
    """Return the confidences of an answer from the log-probabilities of its tokens, at least one."""
    total = math.fsum(logprobs)
    return Confidence(total, total / len(logprobs), logprobs[0], min(logprobs))


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


@dataclass(frozen=True)
class Calibration:
    """What `confidence.json` holds: which confidence tells right answers from wrong ones, and its thresholds.

    Args:
        by: the confidence.
        auroc: its AUROC on the calibration questions; None where all answers were right, or all wrong.
        ece: its expected calibration error.
        thresholds: by per cent of the right answers kept ("60", "80", "90"), the least confidence that is not declined.
        curve: see `risk_coverage`.
        asked, right: how many calibration questions there were, and how many answers were right.
        prompt: the text before "Question: ..." in the plain style; None where the chat template asks.
        dataset: what the questions were from.
        aurocs: the AUROC of every confidence.
    """

    by: Kind
    auroc: float | None
    ece: float
    thresholds: dict[str, float]
    curve: list[list[float]]
    asked: int
    right: int
    prompt: str | None
    dataset: str
    aurocs: dict[str, float | None]

    def declines(self, confidence: Confidence | None, keep: int = 80) -> bool:
        """Return whether an answer of this confidence should be declined, so that `keep` per cent of right ones stay.

        An empty answer has no confidence, and is declined.
        """
        if str(keep) not in self.thresholds:
            raise EavssError(f"keep: {keep} should be one of {', '.join(self.thresholds)}")
        return confidence is None or getattr(confidence, self.by) < self.thresholds[str(keep)]

    @staticmethod
    def read(path: Path, dataset: str | None = None) -> "Calibration":
        """Read a `confidence.json`, or the one in a folder.

        Args:
            path: the file or the folder.
            dataset: the set whose calibration is wanted, where the file has those of several; None for its first.

        Raises:
            EavssError: there is none, or it is broken.
        """
        path = path / "confidence.json" if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            sets = content.pop("sets", {})
            found = Calibration(**(content if dataset is None else sets[dataset]))
            if found.by not in KINDS or not all(isinstance(value, float) for value in found.thresholds.values()):
                raise ValueError
        except OSError:
            raise EavssError(f"no file {path}; scripts/calibrate.py writes it") from None
        except KeyError:
            raise EavssError(f"{path} has no calibration on {dataset}; it has {', '.join(sets) or 'one'}") from None
        except (ValueError, TypeError, AttributeError):
            raise EavssError(f"{path} is no confidence.json") from None
        return found


def calibrate(
    confidences: Sequence[Confidence], right: Sequence[bool], asked: int, prompt: str | None, dataset: str
) -> Calibration:
    """Choose a confidence and its thresholds.

    Another confidence than the summed one is chosen only if its AUROC is higher by more than the standard error of the
    summed one's. The highest of four AUROCs of few right answers is mostly chance, and so would its thresholds be.

    Args:
        confidences, right: of the answers that were given to calibration questions.
        asked: how many questions were asked.
        prompt, dataset: see `Calibration`.

    Raises:
        EavssError: no answer is right.
    """
    columns: dict[Kind, list[float]] = {kind: [getattr(each, kind) for each in confidences] for kind in KINDS}
    aurocs = {kind: auroc(values, right) for kind, values in columns.items()}
    by = max(KINDS, key=lambda kind: aurocs[kind] or 0.0)
    summed, best = aurocs["summed"], aurocs[by]
    if summed is not None and best is not None and best - summed <= auroc_error(summed, sum(right), len(right)):
        by = "summed"
    values = columns[by]
    return Calibration(
        by=by,
        auroc=aurocs[by],
        ece=expected_calibration_error(values, right),
        thresholds={str(share): threshold_keeping(values, right, share / 100) for share in SHARES},
        curve=risk_coverage(values, right, asked),
        asked=asked,
        right=sum(right),
        prompt=prompt,
        dataset=dataset,
        aurocs={str(kind): value for kind, value in aurocs.items()},
    )
