"""The contrastive trainer on a tiny model."""

from pathlib import Path

import pytest
import torch

from tests.toys import train_toy
from train.export import save_adapter


def test_training_moves_the_adapter_alone_and_logs_every_term(tmp_path: Path) -> None:
    trainer, adapted, before = train_toy(tmp_path, "--infonce_weight", "0.5")
    moved = {name for name, p in adapted.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in adapted.named_parameters() if p.requires_grad}
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 6
    wanted = {"loss/ce", "loss/dpo", "loss/infonce", "logps/chosen", "logps/rejected", "rewards/margins"}
    assert all(wanted <= set(entry) for entry in logs)
    first = logs[0]
    # Nothing has moved at the first step, so the references equal the model and DPO is log 2.
    assert first["loss/dpo"] == pytest.approx(0.6931, abs=1e-3)
    assert first["loss"] == pytest.approx(first["loss/ce"] + first["loss/dpo"] + 0.5 * first["loss/infonce"], abs=1e-3)
    assert logs[-1]["rewards/margins"] > 0
    assert logs[-1]["loss"] < first["loss"]


def test_gradient_accumulation_is_a_larger_batch(tmp_path: Path) -> None:
    whole, _, _ = train_toy(tmp_path, "--per_device_train_batch_size", "4")
    halves = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2")
    parts, _, _ = train_toy(tmp_path, *halves)
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        _, adapted, _ = train_toy(tmp_path / name)
        save_adapter(adapted, tmp_path / name / "adapter")
        files.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1]
