"""Scoring alone, as a user runs it, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from scripts.score_layers import run
from tests.toys import BLOCKS, save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


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


def test_rankings_are_compared_with_those_of_other_files(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same scores agree fully, reversed ones not at all; another number of blocks is an error."""
    first, turned, short = (tmp_path / f"{name}.json" for name in ("first", "turned", "short"))
    assert run(words(model, "--json", str(first))) == 0
    record = json.loads(first.read_text())
    scores = [layer["eavss"] for layer in record["layers"]]
    for path, values in ((turned, [{"contrast": -score["contrast"]} for score in scores]), (short, scores[:2])):
        path.write_text(json.dumps({"layers": [{"eavss": value} for value in values]}))
    compared = tmp_path / "compared.json"
    assert run(words(model, "--json", str(compared), "--against", str(first), str(turned))) == 0
    assert json.loads(compared.read_text())["against"] == {str(first): 1.0, str(turned): -1.0}
    capsys.readouterr()
    for path, message in (
        (short, "ranks 2 blocks, and this model has 4"),
        (model / "config.json", "is no layers.json"),
    ):
        assert run(words(model, "--against", str(path))) == 2
        assert message in capsys.readouterr().err
    assert run(words(model, "--against", str(tmp_path / "none"))) == 2
    assert "--against: no file" in capsys.readouterr().err


def test_a_selector_that_runs_the_model_again_says_how_steady_it_is(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(model, "--selector", "patching", "--json", str(tmp_path / "scores.json"))) == 0
    record = json.loads((tmp_path / "scores.json").read_text())
    best = sorted(range(BLOCKS), key=lambda layer: record["layers"][layer]["patching"])[-2:]
    assert (record["selector"], record["selected"]) == ("patching", sorted(best))
    assert (
        f"* selected by patching (its split-half tau {record['selector_tau']:.2f}); picked" in capsys.readouterr().out
    )
