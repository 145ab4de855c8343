"""The JSON records of an evaluation: of a question, of a set, and of two evaluations compared."""

from typing import NotRequired, TypedDict

from data.judge import Verdict
from train.evaluation.statistics import Change


class ChoiceRecord(TypedDict):
    """One answer that was scored.

    Args:
        text: the answer.
        label: 1 if it is truthful, else 0.
        logprob: its summed log-probability in nats.
        tokens: its number of tokens.
    """

    text: str
    label: int
    logprob: float
    tokens: int


class OtherPassage(TypedDict):
    """The free answer to a question with a passage that does not answer it.

    Args:
        answer: the answer.
        verdict: what it is; to decline is right here.
    """

    answer: str
    verdict: Verdict


class QuestionRecord(TypedDict):
    """What one evaluation records of one question, as a line of `items/` holds it (docs/evaluation.md).

    Args:
        question: the question.
        truthful, wrong: its best answer, and the one wrong answer that its contrast is measured against.
        metrics: the value of each metric.
        hidden: the metrics with another question's prompt in place of the question; absent where not measured.
        per_token: for each way to pose the question, the log-probability per token of `truthful` and of `wrong`.
        length_rule: what the length of the answers alone would score.
        choices: every answer that was scored.
        answer: the model's free answer; absent where it was not asked for, as the next two.
        verdict: whether it is right, wrong, declined or empty (`data.judge`).
        confidence: how sure the model was (`eavss.confidence.Confidence`); None where it said nothing.
        other_passage: what it answers with another question's passage; absent where no passages are shown.
    """

    question: str
    truthful: str
    wrong: str
    metrics: dict[str, float]
    hidden: NotRequired[dict[str, float]]
    per_token: dict[str, list[float]]
    length_rule: dict[str, float]
    choices: list[ChoiceRecord]
    answer: NotRequired[str]
    verdict: NotRequired[Verdict]
    confidence: NotRequired[dict[str, float] | None]
    other_passage: NotRequired[OtherPassage]


class HiddenControl(TypedDict):
    """The metrics of one set with another question's prompt in place of the question.

    Args:
        before, after: their means.
        change: how they changed.
        gained: the question-specific gain: the change of the metrics less that of their hidden counterparts.
    """

    before: dict[str, float]
    after: dict[str, float]
    change: dict[str, Change]
    gained: dict[str, Change]


class BenchmarkResult(TypedDict):
    """The evaluation of one set before and after training.

    Args:
        n: the number of questions.
        split: the split that they are from; absent in runs before version 0.3.
        before, after: the mean of each metric.
        change: how each metric changed.
        hidden: the question-hidden control, where it was measured.
        length_rule: what the length of the answers alone would score.
        over_declined: of the questions that were answered right before, the share that is declined or empty after;
            None where none was right.
    """

    n: int
    split: NotRequired[str]
    before: dict[str, float]
    after: dict[str, float]
    change: dict[str, Change]
    hidden: NotRequired[HiddenControl]
    length_rule: dict[str, float]
    over_declined: NotRequired[float | None]


class Kept(TypedDict):
    """What a threshold does on other questions than those that it was chosen on.

    Args:
        kept: the share of the right answers that it keeps; None where none was right.
        wrong: the share of all questions that are still answered wrong.
        answered: the share of all questions that are answered.
    """

    kept: float | None
    wrong: float
    answered: float


# What each shipped threshold does on each evaluated set: {calibrated on: {set: {keep: ...}}}.
Carried = dict[str, dict[str, dict[str, Kept]]]


class RetentionResult(TypedDict):
    """What one text set shows of the cost of training: its number of texts `n`, and its metrics."""

    before: dict[str, float]
    after: dict[str, float]


class Comparison(TypedDict):
    """Two evaluations of the same questions, as `results.json` holds them."""

    benchmarks: dict[str, BenchmarkResult]
    retention: dict[str, RetentionResult]
