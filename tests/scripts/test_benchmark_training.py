"""Every side of the training benchmark still runs, on a tiny saved model and the samples."""

import json
import sys
from pathlib import Path

import datasets
import pytest

from scripts.benchmarks.benchmark_training_run import SIDES, WITHOUT, main
from tests.toys import save_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("side", [*SIDES, *WITHOUT])
def test_a_side_trains_and_is_measured(side: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))  # both are set by the script, which has a process of its own
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    words = {
        "folder": tmp_path,
        "model_name_or_path": model,
        "datasets_root": "samples",
        "dtype": "float32",
        "pairs": 8,
        "epochs": 1,
        "batch_size": 4,
    }
    given = [word for key, value in words.items() for word in (f"--{key}", str(value))]
    monkeypatch.setattr(sys, "argv", ["benchmark_training_run.py", side, *given, "--layers", "2", "3"])
    main()
    figures = json.loads((tmp_path / "result.json").read_text())
    assert figures["pairs_per_second"] == pytest.approx(8 / figures["seconds"])
