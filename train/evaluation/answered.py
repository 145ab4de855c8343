"""What a model's own answers to a set of questions are worth, where one question alone has no such figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from data.examples import Example
from data.judge import VERDICTS, Verdict, judge
from eavss.confidence import Confidence
from train.evaluation.free_answers import FreeAnswer
from train.evaluation.records import QuestionRecord
from train.evaluation.statistics import Change, Floats, percentile_interval, question_draws

Booleans = NDArray[np.bool_]


class Judged(NamedTuple):
    """What the judge says of one answer.

    Args:
        verdict: what it is.
        confidence: how sure the model was; None where it said nothing.
        states: (H,) its mean state by block, for a probe; None where it was not read.
    """

    verdict: Verdict
    confidence: Confidence | None
    states: Mapping[int, Tensor] | None = None


def judge_answers(
    examples: Sequence[Example], answers: Sequence[FreeAnswer], states: Sequence[Mapping[int, Tensor] | None] = ()
) -> list[Judged]:
    """Judge the answers to some questions; `states` of the answers by block are kept with the verdicts."""
    return [
        Judged(judge(answer.text, example.aliases, example.question), answer.confidence, read)
        for example, answer, read in zip(examples, answers, states or [None] * len(answers), strict=True)
    ]


def judged_answers(records: Sequence[QuestionRecord]) -> list[Judged]:
    """Return the answers in the records of a set that was asked freely."""
    return [
        Judged(record["verdict"], None if record["confidence"] is None else Confidence(**record["confidence"]))
        for record in records
    ]


def shares(answers: Sequence[Judged]) -> dict[str, float]:
    """Return the share of each verdict, and the figures that only a set has."""
    verdicts = [answer.verdict for answer in answers]
    counted: dict[str, float] = {verdict: verdicts.count(verdict) / len(answers) for verdict in VERDICTS}
    return counted | Answered.of(answers).metrics()


@dataclass(frozen=True)
class Answered:
    """The answers to n questions.

    Args:
        right, wrong: (n,) the judge's verdicts; a question that is neither was declined or got an empty answer.
        confidence: (n,) the summed log-probability of each answer; -inf for an empty one.
    """

    right: Booleans
    wrong: Booleans
    confidence: NDArray[np.float64]

    @staticmethod
    def of(answers: Sequence[Judged]) -> "Answered":
        """Put the answers to a set's questions together."""
        return Answered(
            np.array([answer.verdict == "right" for answer in answers]),
            np.array([answer.verdict == "wrong" for answer in answers]),
            np.array([-np.inf if answer.confidence is None else answer.confidence.summed for answer in answers]),
        )

    def metrics(self) -> dict[str, float]:
        """Return the figures of docs/evaluation.md that only a set has; those that are undefined are left out."""
        once = np.ones((1, len(self.right)))
        values = {name: float(figure(self, once)[0]) for name, figure in SET_METRICS.items()}
        return {name: value for name, value in values.items() if not np.isnan(value)}


# Each of the following returns D values for D draws of the questions, (D,). weights (D, n) says how often each question
# was drawn. A value is NaN where the figure is undefined.


def accuracy_attempted(answered: Answered, weights: Floats) -> Floats:
    """Return the share of right answers among those that are right or wrong."""
    return _ratio(weights @ answered.right, weights @ (answered.right | answered.wrong))


def simpleqa_f(answered: Answered, weights: Floats) -> Floats:
    """Return the harmonic mean of the share right of all and of those attempted (SimpleQA, Wei et al., 2024).

    It is 2 * right / (asked + attempted).
    """
    attempted = weights @ (answered.right | answered.wrong)
    return _ratio(2 * (weights @ answered.right), weights.sum(1) + attempted)


def answer_auroc(answered: Answered, weights: Floats) -> Floats:
    """Return the AUROC of the summed log-probability, right answers against wrong ones (`eavss.reliability.auroc`)."""
    right, wrong = answered.confidence[answered.right], answered.confidence[answered.wrong]
    above = (right[:, None] > wrong) + 0.5 * (right[:, None] == wrong)  # (right ones, wrong ones)
    of_right, of_wrong = weights[:, answered.right], weights[:, answered.wrong]
    return _ratio(((of_right @ above) * of_wrong).sum(1), of_right.sum(1) * of_wrong.sum(1))


def wrong_at_60(answered: Answered, weights: Floats) -> Floats:
    """Return the share of all questions that are answered wrong where 60% of the right answers are kept."""
    return _wrong_where_kept(answered, weights, 0.6 * (weights @ answered.right))


def _wrong_where_kept(answered: Answered, weights: Floats, kept: Floats) -> Floats:
    """Return the share of all questions that are answered wrong where so many right answers are kept, (D,).

    Answers are declined below the summed log-probability that does this on the same questions: a point of their
    risk-coverage curve. It is undefined where no right answer is kept, or more than there are.
    """
    order = np.argsort(-answered.confidence, kind="stable")
    falling = -answered.confidence[order]
    last_equal = np.searchsorted(falling, falling, side="right") - 1  # equal ones are answered together
    right, wrong = ((weights * verdict)[:, order].cumsum(1) for verdict in (answered.right, answered.wrong))
    enough = right >= kept[:, None] - 1e-9
    place = last_equal[enough.argmax(1)]
    share = wrong[np.arange(len(weights)), place] / weights.sum(1)
    return np.where((kept > 0) & enough[:, -1], share, np.nan)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0)


SET_METRICS: dict[str, Callable[[Answered, Floats], Floats]] = {
    "accuracy_attempted": accuracy_attempted,
    "simpleqa_f": simpleqa_f,
    "auroc": answer_auroc,
    "wrong_at_60": wrong_at_60,
}
# What only a comparison has, and therefore no set by itself.
EQUAL_RIGHT = "wrong_at_equal_right"
COMPARED_METRICS = (*SET_METRICS, EQUAL_RIGHT)


def before_and_after(name: str, before: Answered, after: Answered, weights: Floats) -> tuple[Floats, Floats]:
    """Return one of `COMPARED_METRICS` before and after training, (D,) each.

    `wrong_at_equal_right` is the share of all questions that are answered wrong, by the base where a threshold on the
    summed log-probability leaves it as many right answers as the trained model gives, and by the trained model. It is
    undefined where the trained model gives none, or more than the base.
    """
    if name == EQUAL_RIGHT:
        same = _wrong_where_kept(before, weights, weights @ after.right)
        return same, np.where(np.isnan(same), np.nan, weights @ after.wrong / weights.sum(1))
    return SET_METRICS[name](before, weights), SET_METRICS[name](after, weights)


def compare_answered(before: Answered, after: Answered, seed: int) -> dict[str, Change]:
    """Return how each of `COMPARED_METRICS` changed, with a paired bootstrap over questions, where it is defined.

    Args:
        seed: the seed of the draws.
    """
    questions = len(before.right)
    drawn = question_draws(questions, seed)
    changes: dict[str, Change] = {}
    for name in COMPARED_METRICS:
        pairs = [before_and_after(name, before, after, weights) for weights in (np.ones((1, questions)), drawn)]
        whole, draws = (new - old for old, new in pairs)
        if not np.isnan(whole[0]):
            low, high = percentile_interval(draws[~np.isnan(draws)])
            changes[name] = {
                "difference": float(whole[0]),
                "interval": [low, high],
                "mcnemar_p": None,
                "noise": not (low > 0 or high < 0),
            }
    return changes


def over_declined(before: Answered, after: Answered) -> float | None:
    """Return the share of the questions answered right before that get no answer after; None where none was right."""
    unanswered = ~(after.right | after.wrong)
    return float(unanswered[before.right].mean()) if before.right.any() else None
