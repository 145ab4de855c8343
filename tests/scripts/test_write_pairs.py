"""The command that lets a model write pairs, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest

from data.examples import Example
from data.preferences import examples
from data.sources import DataSource
from scripts.write_pairs import draw_questions, run
from tests.toys import arguments


def write(model: Path, output: Path, *words: str) -> int:
    common = ["--model_name_or_path", str(model), "--dtype", "float32", "--datasets_root", "samples"]
    return run([*common, "--output", str(output), *words])


def test_the_file_holds_preferences_to_training_questions(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A random model writes no sentences.
    monkeypatch.setattr("train.base.self_written_pairs.is_degenerate", lambda _question, text: not text)
    output = tmp_path / "pairs.jsonl"
    assert write(saved_model, output, "--dataset", "nq", "--limit", "3", "--seed", "3") == 0
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert f"{len(rows)} pairs of 3 questions are in {output}; left out: " in capsys.readouterr().out
    known = {example.question for example in DataSource("samples").split("nq").train}
    assert {example.question for example in examples(rows, "pairs.jsonl")} <= known


def test_questions_are_drawn_from_each_set_and_once(tmp_path: Path) -> None:
    def drawn(limit: int | None, seed: int) -> list[Example]:
        args, _ = arguments(tmp_path, "--dataset", "all", "--datasets_root", "samples")
        return draw_questions(args, limit, seed)

    # The sets that ship share some questions.
    questions = [example.question for example in drawn(None, 0)]
    assert len(questions) == len(set(questions))
    assert {example.dataset for example in drawn(None, 0)} >= {"nq", "truthfulqa", "wikiqa"}
    assert len(drawn(7, 0)) <= 7
    assert drawn(7, 0) == drawn(7, 0) != drawn(7, 1)


def test_mistakes_are_told(saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preferences = tmp_path / "own.jsonl"
    rows = [{"prompt": f"Question: {i}?\nAnswer:", "chosen": " a", "rejected": " b"} for i in range(40)]
    preferences.write_text("".join(json.dumps(row) + "\n" for row in rows))
    talk = tmp_path / "talk.jsonl"
    turns = [[{"role": role, "content": f"{i}?"} for role in ("user", "assistant", "user")] for i in range(40)]
    talk.write_text("".join(json.dumps({"prompt": prompt, "answers": "it"}) + "\n" for prompt in turns))
    output = tmp_path / "pairs.jsonl"
    for words, message in (
        (["--output", str(tmp_path)], "is a folder; it should be a file"),
        (["--output", "pairs.txt"], "--output: pairs.txt should be a .jsonl file"),
        (["--limit", "0"], "--limit: 0 should be 1 or more"),
        (["--dataset", str(preferences)], "holds whole prompts; it should hold questions, or messages"),
        (
            ["--dataset", str(talk)],
            "holds conversations of several turns; it should hold questions, or messages of one",
        ),
        (["--dataset", "nq", "--limit", "2"], "dataset: none of 2 questions has two usable answers (degenerate 2)"),
    ):
        given = words if "--output" in words else ["--output", str(output), *words]
        assert run(["--model_name_or_path", str(saved_model), "--datasets_root", "samples", *given]) == 2
        assert message in capsys.readouterr().err
    assert not output.exists()
