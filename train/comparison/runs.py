"""Sum up finished runs: the same recipe over its seeds, and each recipe on every evaluated set."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NotRequired, TypedDict

import numpy as np

from data.sets import leading_metric
from train.evaluation.answered import COMPARED_METRICS, Answered, before_and_after, judged_answers
from train.evaluation.statistics import Floats, hierarchical_draws, percentile_interval, seed_and_question_draws
from train.publishing.run_folder import Item, QuestionRecord, Results, Run


class MetricValues(TypedDict):
    """One metric of n questions, (n,) each, before and after training; also with the question hidden, if measured."""

    before: Floats
    after: Floats
    hidden_before: NotRequired[Floats]
    hidden_after: NotRequired[Floats]


class _Summary(TypedDict):
    seeds: int
    n: int
    before: float
    after: float
    change: float
    interval: list[float]
    gained: float | None


class MetricSummary(_Summary):
    """One metric of one evaluated set after training on one data set, over all seeds.

    Args:
        trained_on, set, metric: what the row is about.
        seeds: the number of seeds.
        n: the mean number of questions.
        before, after, change: means over seeds and questions.
        interval: the 95% interval of the change.
        gained: the question-specific gain; None where the metric has no question-hidden control.
    """

    trained_on: str
    set: str
    metric: str


class CostRow(TypedDict):
    """What training on one data set took and what it cost elsewhere, in means over the seeds.

    Args:
        trained_on: the data set.
        steps, flops, all_blocks_flops: as in `train.plan.TrainFigures`.
        seconds: the time of training and of reading the base's outputs.
        retention: changes by "set metric", relative for perplexities and absolute for accuracies.
    """

    trained_on: str
    steps: float
    flops: float
    all_blocks_flops: float
    seconds: float
    retention: dict[str, float]


def values_of(items: Sequence[Item], metric: str) -> MetricValues:
    """Return a metric of every question of one set."""
    before, after = [item["before"] for item in items], [item["after"] for item in items]
    values: MetricValues = {"before": _column(before, metric), "after": _column(after, metric)}
    if metric in before[0].get("hidden", {}):
        values["hidden_before"] = _hidden_column(before, metric)
        values["hidden_after"] = _hidden_column(after, metric)
    return values


def _column(records: Sequence[QuestionRecord], metric: str) -> Floats:
    return np.array([record["metrics"][metric] for record in records])


def _hidden_column(records: Sequence[QuestionRecord], metric: str) -> Floats:
    return np.array([record["hidden"][metric] for record in records])


def metrics_of(results: Results, name: str, leading_only: bool) -> list[str]:
    """Return the leading metric of a set, followed by its other metrics in `results` unless `leading_only`."""
    leading = leading_metric(name)
    if leading_only:
        return [leading]
    changed = results["benchmarks"][name]["change"]
    # A run of an earlier version names fewer of those that its answers have.
    return list(dict.fromkeys([leading, *changed, *(COMPARED_METRICS if "right" in changed else ())]))


def summarise_runs(runs: Sequence[Run], leading_only: bool = True, seed: int = 0) -> list[MetricSummary]:
    """Return a row for each training set, evaluated set and metric, over all seeds.

    Args:
        runs: runs of one recipe for each training set.
        leading_only: keep the leading metric of each evaluated set only.
        seed: the seed of the bootstrap over seeds and questions.

    Raises:
        RecipeError: see `Run.items`.
    """
    rows: list[MetricSummary] = []
    for dataset, own in _by_dataset(runs).items():
        for name in dict.fromkeys(name for run in own for name in run.results["benchmarks"]):
            having = [run for run in own if name in run.results["benchmarks"]]
            items = {run.seed: run.items(name) for run in having}
            for metric in metrics_of(having[0].results, name, leading_only):
                defined = _defined(items, metric) if metric in COMPARED_METRICS else items
                if defined:
                    found = _summary(defined, metric, seed)
                    rows.append({"trained_on": dataset, "set": name, "metric": metric, **found})
    return rows


def _by_dataset(runs: Sequence[Run]) -> dict[str, list[Run]]:
    return {name: [run for run in runs if run.dataset == name] for name in dict.fromkeys(run.dataset for run in runs)}


def _summary(items: Mapping[int, Sequence[Item]], metric: str, seed: int) -> _Summary:
    """Sum up one metric of one set, given the questions of each training seed."""
    if metric in COMPARED_METRICS:
        return _set_summary(items, metric, seed)
    values = {own: values_of(lines, metric) for own, lines in items.items()}
    questions = {own: [line["question"] for line in lines] for own, lines in items.items()}
    changes = {own: (v["after"] - v["before"])[None] for own, v in values.items()}
    question_gains = [
        v["after"] - v["before"] - (v["hidden_after"] - v["hidden_before"])
        for v in values.values()
        if "hidden_after" in v
    ]
    return {
        "seeds": len(values),
        "n": round(fmean(len(v["before"]) for v in values.values())),
        "before": fmean(v["before"].mean() for v in values.values()),
        "after": fmean(v["after"].mean() for v in values.values()),
        "change": fmean(change.mean() for change in changes.values()),
        "interval": percentile_interval(hierarchical_draws(changes, seed, questions)),
        "gained": fmean(gain.mean() for gain in question_gains) if question_gains else None,
    }


def _answered(rows: Sequence[Item]) -> tuple[Answered, Answered]:
    """Return the answers to the questions of a set before and after training."""
    before, after = (Answered.of(judged_answers([row[when] for row in rows])) for when in ("before", "after"))
    return before, after


def _defined(items: Mapping[int, Sequence[Item]], metric: str) -> dict[int, Sequence[Item]]:
    """Return the seeds of which a set's metric is defined before and after, as an AUROC needs a right answer."""
    return {
        own: rows
        for own, rows in items.items()
        if not np.isnan(before_and_after(metric, *_answered(rows), np.ones((1, len(rows))))).any()
    }


def _set_summary(items: Mapping[int, Sequence[Item]], metric: str, seed: int) -> _Summary:
    """Sum up a metric that one question does not have, such as an AUROC, leaving out draws where it is undefined.

    It should be defined for every seed (`_defined`).
    """
    weights, seed_counts = seed_and_question_draws(
        {own: [i["question"] for i in rows] for own, rows in items.items()}, seed
    )
    total, before, after = np.zeros(len(next(iter(weights.values())))), [], []
    for own, rows in items.items():
        answered = _answered(rows)
        old, new = before_and_after(metric, *answered, weights[own])
        total += np.where(seed_counts[own] > 0, seed_counts[own] * (new - old), 0.0) / len(items)
        once = before_and_after(metric, *answered, np.ones((1, len(rows))))
        before.append(float(once[0][0]))
        after.append(float(once[1][0]))
    return {
        "seeds": len(items),
        "n": round(fmean(map(len, items.values()))),
        "before": fmean(before),
        "after": fmean(after),
        "change": fmean(after) - fmean(before),
        "interval": percentile_interval(total[~np.isnan(total)]),
        "gained": None,
    }


def costs_of(runs: Sequence[Run]) -> list[CostRow]:
    """Return a row for each training set, with means over its seeds."""
    return [_costs(dataset, [run.results for run in own]) for dataset, own in _by_dataset(runs).items()]


def _costs(dataset: str, results: Sequence[Results]) -> CostRow:
    train = [each["train"] for each in results]
    return {
        "trained_on": dataset,
        "steps": fmean(figures["steps"] for figures in train),
        "flops": fmean(figures["flops"] for figures in train),
        "all_blocks_flops": fmean(figures["all_blocks_flops"] for figures in train),
        "seconds": fmean(figures["seconds"] + figures["reading_seconds"] for figures in train),
        "retention": _retention(results),
    }


def _retention(results: Sequence[Results]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for each in results:
        for name, figures in each["retention"].items():
            for metric, before in figures["before"].items():
                after = figures["after"][metric]
                if metric.endswith("perplexity"):
                    found.setdefault(f"{name} {metric}", []).append(after / before - 1)
                elif metric != "n":
                    found.setdefault(f"{name} {metric}", []).append(after - before)
    return {name: fmean(values) for name, values in found.items()}
