"""A run can be started again from what it records."""

import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.toys import arguments
from train.recipe.parse import parse
from train.recipe.provenance import command_line, recipe_text


def test_the_recipe_that_a_run_leaves_is_the_recipe_that_it_had(tmp_path: Path) -> None:
    words = ("--lora_r", "4", "--learning_rate", "3e-4", "--lr_scheduler_type", "cosine", "--retention", "none")
    args, training = arguments(tmp_path, *words)
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(args, training))
    again, trainers = parse(["--config", str(path), "--output_dir", str(tmp_path)])
    assert asdict(again) == asdict(args)
    for key in ("learning_rate", "lr_scheduler_type", "logging_steps", "save_strategy", "seed"):
        assert getattr(trainers, key) == getattr(training, key)


def test_what_belongs_to_the_machine_stays_out(tmp_path: Path) -> None:
    text = recipe_text(*arguments(tmp_path, "--fresh", "true"))
    assert str(tmp_path) not in text
    assert "use_cpu" not in text
    assert "fresh" not in text


def test_the_command_names_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train/contrastive.py", "--dataset", "my file.jsonl"])
    monkeypatch.delenv("RANK", raising=False)
    assert command_line() == "python train/contrastive.py --dataset 'my file.jsonl'"
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert command_line().startswith("deepspeed --num_gpus 4 train/contrastive.py")
