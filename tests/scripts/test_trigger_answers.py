"""Answer triggering as a user starts it, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from scripts.trigger_answers import run


def words(model: Path, output: Path, *more: str) -> list[str]:
    given = ["--model_name_or_path", str(model), "--datasets_root", "samples", "--output_dir", str(output)]
    return [*given, "--dtype", "float32", "--eval_limit", "6", "--questions", "5", *more]


def test_both_scores_are_shown_and_written(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(saved_model, tmp_path / "run", "--json", str(tmp_path / "found.json"))) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() == {"likelihood", "declining"}
    for values in found.values():
        assert 0 <= values["precision"] <= 1
        assert 0 <= values["recall"] <= 1
    printed = capsys.readouterr().out
    assert "6 questions, 6 with an answer; thresholds are chosen on 5 others" in printed
    assert "declining " in printed


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--questions", "0"), "--questions: 0 should be 1 or more"),
        (("--adapter", "nowhere"), "adapter: nowhere cannot be loaded on this model"),
        (("--json", "."), "--json: . is a folder; it should be a file"),
    ],
)
def test_a_users_mistake_is_one_line(
    more: tuple[str, ...], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(saved_model, tmp_path / "run", *more)) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
