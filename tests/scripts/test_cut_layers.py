"""Cutting blocks as a user does, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eavss.choices import CRITERIA
from scripts.cut_layers import run
from tests.toys import BLOCKS
from train.publishing import checkpoints
from train.publishing.reload_check import fixed_logprobs

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--eval_limit", "3", "--score_questions", "4"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process takes seconds; one test starts it."""

    def logprobs(folder: Path, dtype: str, base: None) -> list[float]:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        return fixed_logprobs(model, AutoTokenizer.from_pretrained(folder))

    monkeypatch.setattr(checkpoints, "logprobs_in_fresh_process", logprobs)


def cut(model: Path, target: Path, *words: str) -> int:
    return run(["--model_name_or_path", str(model), "--output_dir", str(target), *WORDS, *words])


@pytest.mark.parametrize("criterion", CRITERIA)
def test_each_criterion_writes_a_checkpoint_that_transformers_loads(
    criterion: str, saved_model: Path, tmp_path: Path
) -> None:
    assert cut(saved_model, tmp_path / "cut", "--by", criterion, "--share", "0.5", "--skip_evaluation") == 0
    record = json.loads((tmp_path / "cut" / "cut.json").read_text())
    assert record["by"] == criterion
    assert len(record["removed"]) == BLOCKS // 2
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "cut")
    assert model.config.num_hidden_layers == BLOCKS // 2
    assert sum(p.numel() for p in model.parameters()) == record["parameters"] < record["whole_parameters"]
    written = model.generate(torch.tensor([[3, 4, 5]]), max_new_tokens=4, do_sample=False)
    assert written.shape[1] > 3


@pytest.mark.slow
def test_named_blocks_go_and_the_card_says_what_that_cost(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()  # the check in a fresh process, for real
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "cache"))
    assert cut(saved_model, tmp_path / "cut", "--remove", "2", "0") == 0
    printed = capsys.readouterr().out
    assert "removing blocks [0, 2] of 4, chosen by layers" in printed
    record = json.loads((tmp_path / "cut" / "cut.json").read_text())
    assert {row["set"] for row in record["kept"]} == {"nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"}
    card = (tmp_path / "cut" / "README.md").read_text()
    table = [line for line in card.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(record["kept"])
    assert all(line in printed for line in table)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--share", "1"], "--share: 1.0 should be above 0 and below 1"),
        (["--share", "nan"], "--share: nan should be above 0 and below 1"),
        (["--by", "magic"], "invalid choice: 'magic'"),
        (["--remove", "4"], "layers: [4] lie outside the model's blocks, which are 0 to 3"),
        (["--remove", "1", "1"], "names a block twice"),
        (
            ["--remove", "0", "1", "2", "3", "--skip_evaluation"],
            "--remove: [0, 1, 2, 3] should be some of",
        ),
        (["--lora_r", "0"], "lora_r: 0 should be 1 or more"),
    ],
)
def test_a_users_mistake_is_one_line_and_nothing_is_written(
    words: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cut(saved_model, tmp_path / "cut", *words) == 2
    printed = capsys.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in printed
    assert not (tmp_path / "cut").exists()


def test_what_is_in_the_folder_stays(saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("kept")
    assert cut(saved_model, tmp_path) == 2
    assert "exists already; name another folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
