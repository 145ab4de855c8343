"""Every side of the training benchmark runs, and a side without a feature is really without it."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from scripts.benchmarks.benchmark_training_run import main
from scripts.benchmarks.training_sides import SIDES, WITHOUT
from tests.toys import save_tiny


class Run(NamedTuple):
    """A side's figures, the folder of its caches, and how many rows the model read."""

    figures: dict[str, float]
    folder: Path
    rows: int


pytestmark = pytest.mark.slow
RunSide = Callable[..., Run]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunSide:
    """Run one side on a small model and the samples.

    The model is wide enough for its weights, not its attention, to make most of the FLOPs, as in a model of real size.
    """
    model = save_tiny(tmp_path_factory.mktemp("model"))
    config = LlamaConfig.from_pretrained(model, hidden_size=128, intermediate_size=256)
    LlamaForCausalLM(config).save_pretrained(model)
    forward = LlamaForCausalLM.forward

    def run_side(side: str, *more: str) -> Run:
        folder = tmp_path_factory.mktemp(side)
        keys = {"folder": folder, "model_name_or_path": model, "datasets_root": "samples", "dtype": "float32"}
        keys |= {"pairs": 8, "epochs": 1, "batch_size": 4}
        given = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        rows = []

        @wraps(forward)
        def count_rows(*args: Any, **inputs: Any) -> Any:
            rows.append(len(inputs["input_ids"]))
            return forward(*args, **inputs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LlamaForCausalLM, "forward", count_rows)
            # The script, which has a process of its own, sets these two for good.
            patch.setenv("EAVSS_CACHE", str(folder))
            patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
            patch.setattr(sys, "argv", ["benchmark_training_run.py", side, *given, "--layers", "2", "3", *more])
            main()
        return Run(json.loads((folder / "result.json").read_text()), folder, sum(rows))

    return run_side


@pytest.fixture(scope="module")
def counted(run: RunSide) -> dict[str, Run]:
    """Every side, with its FLOPs counted."""
    return {side: run(side, "--count") for side in (*SIDES, *WITHOUT)}


@pytest.mark.parametrize("side", [side for side in WITHOUT if side != "without_full_rows"])
def test_a_side_without_a_feature_computes_more(side: str, counted: dict[str, Run]) -> None:
    """A backward pass down to the embeddings also needs the forward pass from there, so it is compared with that."""
    other = "without_prefix_cache" if side == "without_short_backward" else "ours"
    assert counted[side].figures["flops"] > counted[other].figures["flops"]


@pytest.mark.parametrize("side", ["without_full_rows", "without_packing"])
def test_a_side_without_packing_or_filling_reads_more_rows(side: str, counted: dict[str, Run]) -> None:
    """FLOPs cannot show that rows are filled: the samples' texts are about equally long and need little padding."""
    assert counted[side].rows > counted["ours"].rows


def test_trl_at_its_best_computes_less_than_by_default(counted: dict[str, Run]) -> None:
    ours, best, default = (counted[side].figures["flops"] for side in ("ours", "trl_best", "trl_default"))
    assert ours < best < default


@pytest.mark.parametrize(("side", "kept"), [("ours", True), ("without_prefix_cache", False)])
def test_a_side_is_measured_and_keeps_block_inputs_only_with_the_cache(side: str, kept: bool, run: RunSide) -> None:
    measured = run(side)
    expected = {"seconds", "pairs_per_second", "peak_memory_bytes", "forward_flops_per_second"}
    assert measured.figures.keys() == expected
    assert all(measured.figures[key] > 0 for key in expected - {"peak_memory_bytes"})
    assert any(measured.folder.glob("prefix/*/*")) == kept
