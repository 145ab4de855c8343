"""What is kept of a whole model, by hand."""

from itertools import permutations

import pytest

from train.evaluation.evaluate import Evaluation
from train.evaluation.records import QuestionRecord
from train.evaluation.retained import average_kept, chance, kept_of, kept_table


def record(labels: list[int], metrics: dict[str, float], gap: float = 1.0) -> QuestionRecord:
    return {
        "question": "who?",
        "truthful": "a",
        "wrong": "b",
        "metrics": {"contrast_accuracy": float(gap > 0)} | metrics,
        "per_token": {"metrics": [0.0, -gap]},
        "length_rule": {"longest_contrast": 0.0},
        "choices": [{"text": str(n), "label": label, "logprob": -1.0, "tokens": 1} for n, label in enumerate(labels)],
    }


def evaluation(mc2: float, gap: float, accuracy: float, perplexity: float) -> Evaluation:
    records = {
        "truthfulqa": [record([1, 0, 0, 0], {"mc2": mc2}), record([1, 1, 0, 0], {"mc2": mc2})],
        "nq": [record([1, 0], {}, gap), record([1, 0], {}, 1.0)],
    }
    retention = {"sst2": {"n": 100.0, "accuracy": accuracy}, "wikitext": {"n": 3.0, "perplexity": perplexity}}
    return Evaluation(records, dict.fromkeys(records, "test"), retention)


def test_each_figure_is_a_share_of_the_wholes() -> None:
    rows = {
        (row["set"], row["metric"]): row
        for row in kept_of(evaluation(0.675, 1.0, 0.9, 20.0), evaluation(0.525, -1.0, 0.7, 25.0))
    }
    mc2 = rows["truthfulqa", "mc2"]
    assert (mc2["whole"], mc2["changed"], mc2["chance"]) == pytest.approx((0.675, 0.525, 0.375))
    assert mc2["kept"] == pytest.approx(0.525 / 0.675)
    assert mc2["kept_above_chance"] == pytest.approx(0.5)
    assert rows["nq", "contrast_accuracy"]["kept_above_chance"] == pytest.approx(0.0)
    assert rows["nq", "contrast_accuracy"]["kept"] == pytest.approx(0.5)
    assert rows["sst2", "accuracy"]["kept_above_chance"] == pytest.approx(0.5)
    assert average_kept(list(rows.values())) == pytest.approx((0.525 + 0.5 + 0.7) / (0.675 + 1 + 0.9))
    perplexity = rows["wikitext", "perplexity"]
    assert (perplexity["kept"], perplexity["kept_above_chance"], perplexity["chance"]) == (0.8, None, None)
    table = kept_table(list(rows.values()), {"changed": "cut"})
    assert "| truthfulqa | mc2 | 2 | 0.675 | 0.525 | 0.375 | 78% | 50% |" in table
    assert "| wikitext | perplexity | 3 | 20.000 | 25.000 |  | 80% |  |" in table


def test_a_whole_model_at_chance_has_nothing_to_keep() -> None:
    (_, nq, sst2, _) = kept_of(evaluation(0.5, -1.0, 0.5, 20.0), evaluation(0.5, 1.0, 0.6, 20.0))
    assert nq["kept_above_chance"] is None
    assert sst2["kept_above_chance"] is None
    assert average_kept([{**nq, "whole": 0.0}]) == 1


@pytest.mark.parametrize("labels", [[1], [1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0, 0, 0]])
def test_the_expected_average_precision_is_that_of_all_orders(labels: list[int]) -> None:
    orders = list(permutations(labels))

    def precision(order: tuple[int, ...]) -> float:
        ranks = [rank for rank, label in enumerate(order, start=1) if label]
        return sum(number / rank for number, rank in enumerate(ranks, start=1)) / len(ranks)

    expected = sum(map(precision, orders)) / len(orders)
    assert chance("map", [record(labels, {})]) == pytest.approx(expected)


def test_chance_of_choices() -> None:
    records = [record([1, 0, 0, 0], {}), record([1, 0], {})]
    assert chance("acc", records) == chance("mc1", records) == pytest.approx(0.375)
    assert chance("contrast_accuracy", records) == 0.5
    assert chance("f1", records) is None
