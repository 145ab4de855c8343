"""A whole study on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from scripts import parameter_activation
from scripts.parameter_activation import run
from tests.toys import BLOCKS

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--domains", "nq", "sciq", "--texts", "3"]
WORDS += ["--judged_texts", "2", "--text_pairs", "1", "--sentence_pairs", "4", "--spreads", "0.2"]


def study_of(model: Path, path: Path, *words: str) -> int:
    return run(["--model_name_or_path", str(model), "--json", str(path), *WORDS, *words])


def test_a_study_measures_what_is_missing(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "activation.json"
    assert (
        study_of(
            saved_model, path, "--domains", "nq", "sciq", "nq", "--parts", "ratios", "sentences", "--sparsities", "0.5"
        )
        == 0
    )
    first = json.loads(path.read_text())
    assert [figures["domain"] for figures in first["activity"]] == ["nq", "sciq"]
    assert [figures["set"] for figures in first["sentences"]] == ["stsb", "sickr"]
    shapes = ["uniform", "uniform", "active", "reversed", "shuffled"]
    assert [figures["shape"] for figures in first["pruned"]] == shapes
    whole, uniform, active, reverse, shuffled = (figures["ratios"] for figures in first["pruned"])
    assert whole == [0.0] * BLOCKS
    assert uniform == [0.5] * BLOCKS
    assert sum(active) == pytest.approx(2.0)
    assert max(abs(ratio - 0.5) for ratio in active) == pytest.approx(0.2)
    assert reverse == pytest.approx([1 - ratio for ratio in active])
    assert sorted(shuffled) == pytest.approx(sorted(active))
    assert shuffled != active
    shares = [sum(own) for own in zip(*(f["active"]["scale_free"] for f in first["activity"]), strict=True)]
    assert active.index(max(active)) == shares.index(min(shares))
    assert study_of(saved_model, path, "--sparsities", "0.5") == 0
    study = json.loads(path.read_text())
    assert study["pruned"][:5] == first["pruned"]
    calibrated = [(figures["score"], figures["calibrated"]) for figures in study["pruned"][5:]]
    assert calibrated == [(score, name) for name in ("nq", "sciq") for score in ("activation", "wanda")]
    losses = [figures["judged"][0]["losses"] for figures in study["pruned"]]
    assert len({str(own) for own in losses}) == len(losses)
    pairs = [("nq", "nq"), ("nq", "sciq"), ("sciq", "sciq")]
    assert [(each["one"], each["other"]) for each in study["similarity"]] == pairs
    assert path.with_suffix(".png").is_file()
    said = capsys.readouterr().out
    assert said.count("| 50% by wanda on nq, uniform |") == 1
    assert "by activation: " in said
    monkeypatch.setattr(parameter_activation, "mean_activation", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(parameter_activation, "pruned", lambda *_: pytest.fail("pruned again"))
    assert study_of(saved_model, path, "--sparsities", "0.5") == 0
    assert json.loads(path.read_text()) == study


def test_a_part_alone_measures_nothing_else(saved_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "activation.json"
    assert study_of(saved_model, path, "--parts", "similarity") == 0
    study = json.loads(path.read_text())
    assert [len(study[part]) for part in ("activity", "similarity", "sentences", "pruned")] == [0, 3, 0, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--texts", "201"], "nq: it has 200 texts for a part of which 201 are asked for"),
        (["--sentence_pairs", "21"], "--sentence_pairs: 21 should be at most the 20 of stsb"),
        (["--text_pairs", "3"], "--text_pairs: 3 should be below --texts 3"),
        (["--judged_texts", "0"], "--judged_texts: 0 should be 1 or more"),
        (["--sparsities", "1.5"], "--sparsities: 1.5 should be above 0 and below 1"),
        (["--sparsities", "0.1"], "--spreads: 0.2 should be above 0 and at most 0.1 for a sparsity of 0.1"),
        (["--domains", "wikitext"], "no file"),
        (["--domains", "novels"], "invalid choice: 'novels'"),
        (["--json", "figures.png"], "--json: figures.png should be another name: the picture beside it ends in .png"),
        (["--parts", "magic"], "invalid choice: 'magic'"),
    ],
)
def test_a_users_mistake_is_one_line(
    words: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "activation.json"
    assert study_of(saved_model, path, *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not path.exists()


def test_a_file_of_other_settings_is_left_alone(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "activation.json"
    assert study_of(saved_model, path, "--parts", "activity") == 0
    content = path.read_text()
    assert study_of(saved_model, path, "--parts", "activity", "--seed", "1") == 2
    assert "figures with seed 42, here it is 1; name another file" in capsys.readouterr().err
    assert path.read_text() == content
