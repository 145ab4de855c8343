"""What TRL's trainers are told alike."""

from pathlib import Path

import pytest
from trl import DPOConfig

from train.comparison.trl_config import keep_activations


@pytest.fixture
def config(tmp_path: Path) -> DPOConfig:
    return DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")


def test_recomputation_is_switched_off(config: DPOConfig) -> None:
    assert config.gradient_checkpointing
    kept = keep_activations(config)
    assert not kept.gradient_checkpointing
    assert not kept.activation_checkpointing
