"""The healing job as a user starts it, on a tiny saved model and the samples."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.cut_layers import run as cut_layers
from train import heal
from train.publishing import checkpoints
from train.publishing.reload_check import fixed_logprobs

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--dataset", "sciq", "--train_questions", "6"]
STEPS = ["--learning_rate", "1e-2", "--per_device_train_batch_size", "4", "--logging_steps", "1", "--save_steps", "2"]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process takes seconds; the test of `cut_layers` starts it."""

    def logprobs(folder: Path, dtype: str, base: None) -> list[float]:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        return fixed_logprobs(model, AutoTokenizer.from_pretrained(folder))

    monkeypatch.setattr(checkpoints, "logprobs_in_fresh_process", logprobs)


@pytest.fixture
def cut(saved_model: Path, tmp_path: Path, in_this_process: None) -> Path:
    words = ["--model_name_or_path", str(saved_model), "--output_dir", str(tmp_path / "cut"), *WORDS]
    assert cut_layers([*words, "--remove", "1", "2", "--skip_evaluation"]) == 0
    return tmp_path / "cut"


def heal_cut(model: Path, cut: Path, target: Path, *words: str) -> int:
    common = ["--model_name_or_path", str(model), "--cut", str(cut), "--output_dir", str(target), "--texts", "6"]
    return heal.run([*common, *WORDS, *STEPS, *words])


def test_what_is_left_is_trained_and_written_as_a_plain_checkpoint(
    saved_model: Path, cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--max_steps", "4", "--eval_limit", "3", "--retention", "none", "--free_answers", "false"]
    assert heal_cut(saved_model, cut, tmp_path / "healed", *words) == 0
    folder = tmp_path / "healed" / "model"
    record = json.loads((folder / "cut.json").read_text())
    healed = record["healed"]
    assert (healed["texts"], healed["questions"], healed["steps"], len(healed["log"])) == (6, 6, 4, 4)
    assert healed["log"][-1]["loss/divergence"] < healed["log"][0]["loss/divergence"]
    assert "| healed |" in capsys.readouterr().out
    card = (folder / "README.md").read_text()
    assert "LoRA on the blocks that stay: 4 steps" in card
    assert "Nothing was trained" not in card
    model, before = (AutoModelForCausalLM.from_pretrained(each) for each in (folder, cut))
    assert model.config.num_hidden_layers == 2
    ids = torch.tensor([[3, 4, 5]])
    assert not torch.allclose(model(input_ids=ids).logits, before(input_ids=ids).logits)


def test_a_resumed_run_ends_like_an_uninterrupted_one(
    saved_model: Path, cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the same command leaves it as it is."""
    words = ["--max_steps", "4", "--skip_evaluation"]
    assert heal_cut(saved_model, cut, tmp_path / "whole", *words) == 0
    (tmp_path / "resumed").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    assert heal_cut(saved_model, cut, tmp_path / "resumed", *words, "--resume_from_checkpoint", "true") == 0
    adapters = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("whole", "resumed")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "resumed").rglob("*")}
    again = [*words, "--resume_from_checkpoint", "auto"]
    capsys.readouterr()
    assert heal_cut(saved_model, cut, tmp_path / "resumed", *again) == 0
    assert "holds the finished run of this recipe; nothing is changed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "resumed").rglob("*")} == written
    (tmp_path / "resumed" / "model" / "cut.json").unlink()
    assert heal_cut(saved_model, cut, tmp_path / "resumed", *again) == 2


def test_mistakes_are_told_before_anything_is_computed(
    saved_model: Path, cut: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(message: str, cut: Path = cut, *words: str) -> None:
        assert heal_cut(saved_model, cut, tmp_path / "healed", *words) == 2
        assert message in capsys.readouterr().err

    capsys.readouterr()
    refused(f"--cut: no file {tmp_path / 'none' / 'cut.json'}", tmp_path / "none")
    refused("--texts: 0 should be 1 or more", cut, "--texts", "0")
    record = json.loads((cut / "cut.json").read_text())
    (cut / "cut.json").write_text(json.dumps(record | {"model": "ORG/OTHER"}))
    refused(f"model_name_or_path: {saved_model} should be ORG/OTHER")
    for broken in ("[]", "{", json.dumps(record | {"removed": [2, 1]}), json.dumps(record | {"removed": "12"})):
        (cut / "cut.json").write_text(broken)
        refused(f"--cut: {cut / 'cut.json'} is no cut.json")
    (cut / "cut.json").write_text(json.dumps(record | {"removed": [1, 9]}))
    refused("9")
    (cut / "cut.json").write_text(json.dumps(record))
    (tmp_path / "healed" / "model").mkdir(parents=True)
    (tmp_path / "healed" / "model" / "config.json").write_text("{}")
    refused(f"{tmp_path / 'healed' / 'model'} exists already")
