"""Compare two evaluations of the same questions, and write both down question by question."""

from pathlib import Path

import numpy as np

from train.evaluation.answered import (
    EQUAL_RIGHT,
    Answered,
    before_and_after,
    compare_answered,
    judged_answers,
    over_declined,
)
from train.evaluation.evaluate import Evaluation, mean_metrics
from train.evaluation.records import BenchmarkResult, Comparison, QuestionRecord
from train.evaluation.statistics import compare
from train.runtime.files import write_json_lines


def compare_evaluations(before: Evaluation, after: Evaluation, seed: int) -> Comparison:
    """Return the parts `benchmarks` and `retention` of `results.json`.

    Args:
        before, after: evaluations of the same questions.
        seed: the seed of the bootstrap intervals.
    """
    return {
        "benchmarks": {
            name: {"split": before.splits[name], **_compare_set(old, after.records[name], seed)}
            for name, old in before.records.items()
        },
        "retention": {
            name: {"before": figures, "after": after.retention[name]} for name, figures in before.retention.items()
        },
    }


def _compare_set(before: list[QuestionRecord], after: list[QuestionRecord], seed: int) -> BenchmarkResult:
    result: BenchmarkResult = {
        "n": len(before),
        "before": mean_metrics(before),
        "after": mean_metrics(after),
        "change": compare([r["metrics"] for r in before], [r["metrics"] for r in after], seed),
        "length_rule": mean_metrics(before, "length_rule"),
    }
    if "verdict" in before[0]:
        old, new = Answered.of(judged_answers(before)), Answered.of(judged_answers(after))
        result["change"] |= compare_answered(old, new, seed)
        if EQUAL_RIGHT in result["change"]:
            values = before_and_after(EQUAL_RIGHT, old, new, np.ones((1, len(before))))
            result["before"][EQUAL_RIGHT], result["after"][EQUAL_RIGHT] = (float(value[0]) for value in values)
        result["over_declined"] = over_declined(old, new)
    if "hidden" in before[0]:
        result["hidden"] = {
            "before": mean_metrics(before, "hidden"),
            "after": mean_metrics(after, "hidden"),
            "change": compare([r["hidden"] for r in before], [r["hidden"] for r in after], seed),
            "gained": compare(_above_hidden(before), _above_hidden(after), seed),
        }
    return result


def _above_hidden(records: list[QuestionRecord]) -> list[dict[str, float]]:
    return [{name: r["metrics"][name] - hidden for name, hidden in r["hidden"].items()} for r in records]


def write_items(folder: Path, evaluations: dict[str, Evaluation]) -> None:
    """Write `<set>.jsonl` for each set, a line a question: {"question", and for each evaluation its label: record}."""
    first = next(iter(evaluations.values()))
    for name, records in first.records.items():
        lines = [
            {"question": record["question"]} | {label: e.records[name][number] for label, e in evaluations.items()}
            for number, record in enumerate(records)
        ]
        write_json_lines(folder / item_file(name), lines)


def item_file(name: str) -> str:
    """Return the name of the file in `items/` that holds a set's questions."""
    # The user's own data may have any name.
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".") or "_"
    return f"{safe}.jsonl"
