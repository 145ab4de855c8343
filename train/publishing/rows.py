"""The rows of a run's table, which the terminal, the report and the model card show."""

from dataclasses import dataclass

from data.judge import VERDICTS
from train.evaluation.metrics import JUDGED
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


# Metrics that the terminal leaves to the report, since they follow from the verdicts.
DERIVED = (
    *VERDICTS,
    *("truthfulness", "penalised_50", "penalised_75", "penalised_90"),
    *("abstention_rate", "hallucination_rate", "empty_or_degenerate"),
)


@dataclass(frozen=True)
class AskedRow:
    """What a model says when it is asked the questions of one set: the share of each verdict.

    Args:
        set: the name of the data set.
        when: before or after training.
        n: the number of questions.
        shares: the share by verdict, in the order of `VERDICTS`.
    """

    set: str
    when: str
    n: int
    shares: dict[str, float]


def asked_rows(results: Results) -> list[AskedRow]:
    """Return two rows for each set that was asked freely, before and after training."""
    return [
        AskedRow(name, when, entry["n"], {verdict: means[verdict] for verdict in VERDICTS})
        for name, entry in results["benchmarks"].items()
        for when, means in (("before", entry["before"]), ("after", entry["after"]))
        if "right" in means
    ]


_NOISE = "~ noise could explain the change: its 95% interval (paired bootstrap by question) holds 0"


def footnotes(results: Results) -> list[str]:
    """Return what a reader of the table must know, the same wherever it is shown."""
    metrics = {metric for entry in results["benchmarks"].values() for metric in entry["change"]}
    return [_NOISE, *([JUDGED] if "right" in metrics else [])]


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
