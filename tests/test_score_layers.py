"""Scoring alone, as a user runs it, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from scripts.score_layers import run
from tests.toys import BLOCKS, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model("llama").save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def words(model: Path, *more: str) -> list[str]:
    common = ["--model_name_or_path", str(model), "--datasets_root", "samples", "--dtype", "float32"]
    return [*common, "--score_questions", "12", "--select_fraction", "0.5", *more]


def test_it_prints_a_chart_and_a_verdict_and_writes_the_figures(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(model, "--controls", "--json", str(tmp_path / "scores.json"))) == 0
    record = json.loads((tmp_path / "scores.json").read_text())
    assert len(record["layers"]) == BLOCKS
    assert len(record["selected"]) == 2
    assert sum(layer["bootstrap"]["frequency"] for layer in record["layers"]) == pytest.approx(2)
    for layer in record["layers"]:
        low, high = layer["bootstrap"]["interval"]
        assert low <= high
    taus = record["controls"]["tau"]
    assert taus.keys() == {"other_answers", "other_questions", "noise", "paraphrase", "equal_lengths"}
    assert all(value is None or -1 <= value <= 1 for value in taus.values())
    printed = capsys.readouterr().out
    assert record["stability"]["verdict"] in printed
    for layer in record["selected"]:
        assert f"{layer:>5} *" in printed
    assert "another question's prompt" in printed


def test_the_controls_are_left_out_unless_asked_for(model: Path, tmp_path: Path) -> None:
    assert run(words(model, "--json", str(tmp_path / "scores.json"))) == 0
    assert "controls" not in json.loads((tmp_path / "scores.json").read_text())


def test_a_users_mistake_is_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words(model, "--json", str(tmp_path))) == 2
    assert "is a folder; it should be a file" in capsys.readouterr().err
    assert run(words(model, "--selecter", "avss")) == 2
    assert "did you mean 'selector'" in capsys.readouterr().err
