"""The rows of a run's table, which the terminal, the report and the model card show."""

from dataclasses import dataclass

from train.evaluation.metrics import SENTENCES
from train.evaluation.statistics import Change
from train.publishing.run_folder import Results


@dataclass(frozen=True)
class MetricRow:
    """One metric of one set, before and after training.

    Args:
        set: the name of the data set.
        metric: the name of the metric.
        n: the number of questions.
        before, after: the means.
        change: the change with its interval.
        question_gain: the question-specific gain, which is the change less the change with the question hidden; None
            where the metric has no such control.
    """

    set: str
    metric: str
    n: int
    before: float
    after: float
    change: Change
    question_gain: Change | None


_NOISE = "~ noise could explain the change: its 95% interval (paired bootstrap by question) holds 0"


def footnotes(results: Results) -> list[str]:
    """Return what a reader of the table must know, the same wherever it is shown."""
    metrics = {metric for entry in results["benchmarks"].values() for metric in entry["change"]}
    return [_NOISE, *([SENTENCES] if "hallucination_rate" in metrics else [])]


def metric_rows(results: Results) -> list[MetricRow]:
    """Return a row for each set and metric, in the order of `results.json`."""
    rows = []
    for name, entry in results["benchmarks"].items():
        gained = entry["hidden"]["gained"] if "hidden" in entry else {}
        for metric, change in entry["change"].items():
            rows.append(
                MetricRow(
                    set=name,
                    metric=metric,
                    n=entry["n"],
                    before=entry["before"][metric],
                    after=entry["after"][metric],
                    change=change,
                    question_gain=gained.get(metric),
                )
            )
    return rows
