"""The adapter on disk."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.toys import train_toy
from train.model.adapter_files import save_adapter
from train.runtime.errors import ModelError


def test_a_saved_adapter_is_sorted_complete_and_replaces_the_old_one(tmp_path: Path) -> None:
    _, adapted, _ = train_toy(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "stale.txt").write_text("old")
    save_adapter(adapted, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["layers_to_transform"] == [1, 2]
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 2 * len(config["target_modules"])
    assert {path.name for path in tmp_path.iterdir() if "adapter" in path.name} == {"adapter"}
    assert not (tmp_path / "adapter" / "stale.txt").exists()


def test_an_empty_adapter_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    _, adapted, _ = train_toy(tmp_path)
    save_adapter(adapted, tmp_path / "adapter")
    before = (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = torch.empty(0)
    with pytest.raises(ModelError, match="empty"):
        save_adapter(adapted, tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == before
