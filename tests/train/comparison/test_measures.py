"""What a comparison of selectors measures, on a tiny model and the samples."""

from pathlib import Path
from statistics import fmean

import pytest

from data.judge import Verdict
from tests.toys import arguments, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.comparison.measures import Measured, measure
from train.evaluation.benchmarks import leading_values, load_benchmarks
from train.evaluation.likelihood import AnswerScorer

WORDS = ("--datasets_root", "samples", "--evaluate_on", "nq", "--eval_limit", "6", "--question_hidden", "false")


def measured(folder: Path, *words: str) -> tuple[Measured, list[float]]:
    args, _ = arguments(folder, *WORDS, "--prompt_style", "plain", *words)
    model, encoder = tiny_model("llama"), Encoder.of(tiny_tokenizer(), args)
    benchmark = load_benchmarks(args.evaluation, 0)[0]
    leading = leading_values(AnswerScorer(model, encoder, args.eval_token_budget), benchmark, "")
    return measure(model, encoder, benchmark, args, ""), leading


def test_preferences_are_measured_by_the_leading_metric(tmp_path: Path) -> None:
    found, leading = measured(tmp_path)
    assert found == Measured(leading, {})


def test_declining_is_measured_by_what_the_answers_are_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts: list[Verdict] = ["right", "wrong", "declined", "empty", "wrong", "wrong"]
    given = iter(verdicts)
    monkeypatch.setattr("train.evaluation.answered.judge", lambda *_: next(given))
    found, _ = measured(tmp_path, "--decline_ce_weight", "1")
    assert found.values == [1, -1, 0, 0, -1, -1]
    assert found.asked["right"] - found.asked["wrong"] == pytest.approx(fmean(found.values))
