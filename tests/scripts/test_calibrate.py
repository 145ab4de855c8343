"""The command that calibrates a model, on a tiny saved one and the samples."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from data.judge import Verdict
from data.sources import DataSource
from eavss.confidence import KINDS, Calibration
from scripts.calibrate import run
from tests.toys import tiny_model
from train.runtime.files import write_json_lines

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--eval_limit", "4", "--calibration_questions", "12"]
VERDICTS: tuple[Verdict, ...] = ("right", "wrong", "right", "wrong", "declined")


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let about half of what a random model writes be right, and a little of it a refusal."""

    def judge(answer: str, aliases: object, question: str = "") -> Verdict:
        if not answer:
            return "empty"
        return VERDICTS[len(answer.encode()) % 5]

    monkeypatch.setattr("train.evaluation.answered.judge", judge)


def calibrate(model: Path, folder: Path, *words: str) -> int:
    return run(["--model_name_or_path", str(model), "--output_dir", str(folder), *WORDS, *words])


def figures(model: Path, folder: Path, *words: str) -> dict[str, Any]:
    path = folder / "figures.json"
    assert calibrate(model, folder, "--json", str(path), *words) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.usefixtures("lenient")
def test_the_calibration_and_the_figures_are_written(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(saved_model, tmp_path, "--evaluate_on", "truthfulqa", "triviaqa", "sciq", "--dataset", "sciq")
    assert found.keys() == {"asked", "aurocs", "confidence"}
    assert list(found["asked"]) == ["triviaqa", "sciq"]
    for shares in found["asked"].values():
        assert sum(shares[verdict] for verdict in ("right", "wrong", "declined", "empty")) == pytest.approx(1)
        assert "simpleqa_f" in shares
    names = ["triviaqa", "sciq", "pooled"]
    assert list(found["aurocs"]) == list(found["confidence"]) == names
    for name in names:
        assert tuple(found["aurocs"][name]) == KINDS
        assert list(found["confidence"][name]) == ["triviaqa", "sciq"]
        for kept in found["confidence"][name].values():
            assert list(kept) == ["60", "80", "90"]
            assert all(values.keys() == {"kept", "wrong", "answered"} for values in kept.values())
        assert Calibration.read(tmp_path, name).asked == (24 if name == "pooled" else 12)
    assert Calibration.read(tmp_path) == Calibration.read(tmp_path, "sciq")
    printed = capsys.readouterr().out
    assert f"written: {tmp_path / 'confidence.json'}" in printed
    assert sum(line.startswith("pooled") for line in printed.splitlines()) == 1 + 2 * 3


@pytest.mark.usefixtures("lenient")
def test_an_adapter_is_calibrated_in_the_place_of_the_base(saved_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(tiny_model("llama"), config).save_pretrained(str(tmp_path / "adapter"))
    base, adapted = (
        figures(saved_model, tmp_path / name, "--evaluate_on", "nq", *words)
        for name, words in (("base", []), ("adapted", ["--adapter", str(tmp_path / "adapter")]))
    )
    assert list(base["confidence"]) == list(adapted["confidence"]) == ["nq"]
    thresholds = [Calibration.read(tmp_path / name).thresholds for name in ("base", "adapted")]
    assert thresholds[0] != thresholds[1]
    assert figures(saved_model, tmp_path / "again", "--evaluate_on", "nq") == base

    pool = DataSource("samples").split("nq").train
    write_json_lines(tmp_path / "training_examples.jsonl", (example.to_json() for example in pool[6:]))
    figures(saved_model, tmp_path / "untrained", "--evaluate_on", "nq", "--adapter", str(tmp_path / "adapter"))
    assert Calibration.read(tmp_path / "untrained").asked == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--evaluate_on", "truthfulqa", "wikiqa"], "evaluate_on: none of these sets is asked freely"),
        (["--evaluate_on", "nq", "--free_answers", "false"], "evaluate_on: none of these sets is asked freely"),
        (["--evaluate_on", "nq"], "calibration_questions: no answer was right"),
        (["--evaluate_on", "nq", "--adapter", "{folder}/none"], "adapter: {folder}/none cannot be loaded"),
        (["--evaluate_on", "squad"], "evaluate_on: ['squad'] should be among nq"),
        (["--evaluate_on", "nq", "--json", "{folder}"], "--json: {folder} is a folder"),
        (["--calibration_questions", "-1"], "command line: --calibration_questions is given twice"),
        (["--calibrate", "nq"], "command line: unknown key 'calibrate'"),
    ],
)
def test_a_users_mistake_is_one_line_and_nothing_is_written(
    words: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(saved_model, tmp_path / "out", *(word.format(folder=tmp_path) for word in words)) == 2
    printed = capsys.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert message.format(folder=tmp_path) in line
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []
