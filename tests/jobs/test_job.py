"""Whole jobs as a user starts them, most on a tiny model, one on the embedded one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.distributed.elastic.utils.distributed import get_free_port
from transformers import AutoModelForCausalLM

from scripts import export_checkpoint
from train.model.lora import trainable_blocks
from train.recipe.arguments import REPOSITORY

pytestmark = pytest.mark.slow
FILES = {"layers.json", "layers.png", "pairs.safetensors", "results.json", "report.html", "adapter"}
SETS = {"nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"}
SMALL = {
    **{"--score_questions": "8", "--train_questions": "16", "--eval_limit": "4", "--eval_token_budget": "1024"},
    **{"--per_device_train_batch_size": "2", "--max_steps": "4", "--save_steps": "2", "--save_total_limit": "2"},
    **{"--logging_steps": "1", "--calibration_questions": "4"},
}


def start(ranks: int, output: Path, options: dict[str, str], cache: Path | None = None) -> subprocess.Popen[str]:
    """Start a small demo on so many ranks under DeepSpeed's launcher, in a group of its own; 0 means plain python."""
    words = [word for key, value in (SMALL | options).items() for word in (key, *value.split())]
    python = Path(sys.executable)
    command = [str(python)]
    if ranks:
        command = [str(python.parent / "deepspeed"), "--num_gpus", str(ranks), "--master_port", str(get_free_port())]
    return subprocess.Popen(
        [*command, "train/contrastive.py", "--config", "recipes/demo.yaml", "--output_dir", str(output), *words],
        cwd=REPOSITORY,
        # One thread: tiny models need no more, and two ranks that each take every core wait for one another.
        env=os.environ
        | {
            "EAVSS_CACHE": str(cache or output.parent / "cache"),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{python.parent}:{os.environ['PATH']}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def launch(
    ranks: int, output: Path, options: dict[str, str], cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a small demo to its end; see `start`."""
    with start(ranks, output, options, cache) as started:
        out, err = started.communicate(timeout=900)
    return subprocess.CompletedProcess(started.args, started.returncode, out, err)


@pytest.fixture(scope="module")
def tiny(saved_model: Path) -> dict[str, str]:
    options = {"--model_name_or_path": str(saved_model), "--select_fraction": "0.5", "--dtype": "float32"}
    return options | {"--replay_weight": "1"}


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text())


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in read(folder, "trainer_state.json")["log_history"] if "loss" in entry]


def test_two_ranks_on_the_embedded_model_leave_every_file(tmp_path: Path) -> None:
    declining = {"--dataset": "triviaqa", "--mined_answers": "0", "--decline_weight": "1"}
    done = launch(2, tmp_path / "run", {"--layers": "20 25"} | declining)
    assert done.returncode == 0, done.stderr[-3000:]
    output = tmp_path / "run"
    assert {path.name for path in output.iterdir()} >= FILES | {"own_answers.jsonl"}
    results, layers = read(output, "results.json"), read(output, "layers.json")
    assert results["selected"] == layers["selected"] == [20, 25]
    assert len(layers["layers"]) == 30
    assert layers["questions"] == 8
    assert set(results["benchmarks"]) == SETS
    for name, entry in results["benchmarks"].items():
        assert entry["n"] == 4
        assert set(entry["before"]) == set(entry["after"])
        assert "contrast_accuracy" in entry["before"]
        assert ("mc2" in entry["before"]) == (name == "truthfulqa")
    assert results["train"]["steps"] == 4
    stages = results["stages"]
    assert next(iter(stages)) == "imports"
    assert {"data", "load", "mining", "select", "reference pass", "report", "before: question hidden"} <= stages.keys()
    assert all(stages[name]["flops"] > 0 for name in ("score", "train", "before: sciq", "after: sciq"))
    assert results["train"]["pairs"] == 16  # no more are read than the steps take, half of them to decline
    assert any("loss/decline" in entry for entry in results["train"]["log"])
    assert any("loss/dpo" in entry for entry in results["train"]["log"])
    assert load_file(output / "pairs.safetensors")["states"].shape == (8, 2, 30, 576)
    assert "selected blocks [20, 25]" in done.stdout
    assert done.stdout.count("*** Results ***") == 1
    adapter = load_file(output / "adapter" / "adapter_model.safetensors")
    assert {int(name.split(".layers.")[1].split(".")[0]) for name in adapter} == {20, 25}
    assert any(tensor.abs().sum() > 0 for name, tensor in adapter.items() if "lora_B" in name)


@pytest.fixture(scope="module")
def runs(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same recipe on 1 and 2 ranks, under no DeepSpeed, ZeRO-2 and ZeRO-3, with the same questions a step.

    Under DeepSpeed also with batches divided by tokens, and one without what makes the plain run fast.
    """
    folder = tmp_path_factory.mktemp("runs")
    cases = {
        "plain": (0, {"--per_device_train_batch_size": "4"}),
        "zero2": (2, {"--train_token_budget": "64", "--pack_answers": "false", "--prefix_cache_gb": "0"}),
        "zero3": (2, {"--train_token_budget": "64", "--deepspeed": "recipes/deepspeed/zero3.json"}),
    }
    for name, (ranks, options) in cases.items():
        done = launch(ranks, folder / name, tiny | options)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    return {name: folder / name for name in cases}


def test_stages_and_ranks_select_the_same_blocks_and_see_the_same_numbers(runs: dict[str, Path]) -> None:
    expected = read(runs["plain"], "results.json")
    assert len(expected["selected"]) == 2
    for name in ("zero2", "zero3"):
        results = read(runs[name], "results.json")
        assert results["selected"] == expected["selected"]
        for benchmark, entry in results["benchmarks"].items():
            assert entry["before"] == pytest.approx(expected["benchmarks"][benchmark]["before"], abs=1e-5)
        assert losses(runs[name]) == pytest.approx(losses(runs["plain"]), rel=0.02)


def test_under_zero_3_each_rank_holds_its_share_and_finds_what_one_rank_finds(runs: dict[str, Path]) -> None:
    """DeepSpeed writes the state of each rank's share of the model only where it divides the model."""
    for name in ("zero2", "zero3"):
        states = list((runs[name] / "checkpoint-4").glob("*/zero_pp_rank_1_mp_rank_00_model_states.pt"))
        assert bool(states) == (name == "zero3")
    found, expected = (read(runs[name], "layers.json")["layers"] for name in ("zero3", "plain"))
    for own, other in zip(found, expected, strict=True):
        for score in ("hsav", "hss", "block_influence"):
            assert own[score] == pytest.approx(other[score], abs=1e-6)
    adapter, other_adapter = (load_file(runs[n] / "adapter" / "adapter_model.safetensors") for n in ("zero3", "plain"))
    for name, tensor in adapter.items():
        assert (tensor - other_adapter[name]).abs().max() < 1e-3
    results, other_results = (read(runs[name], "results.json")["benchmarks"] for name in ("zero3", "plain"))
    for benchmark, entry in results.items():
        assert entry["after"] == pytest.approx(other_results[benchmark]["after"], abs=1e-5)


def test_every_stage_saves_a_full_adapter_that_peft_loads(runs: dict[str, Path], tiny: dict[str, str]) -> None:
    for name, run in runs.items():
        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(tiny["--model_name_or_path"]), run / "adapter", is_trainable=True
        )
        assert trainable_blocks(model) == read(run, "results.json")["selected"], name
        assert all(parameter.numel() for parameter in model.parameters())
        assert any(p.abs().sum() > 0 for n, p in model.named_parameters() if "lora_B" in n), name
        checkpoint = load_file(run / "checkpoint-4" / "adapter_model.safetensors")
        assert all(tensor.numel() for tensor in checkpoint.values()), name


def test_the_same_recipe_gives_the_same_layers_losses_and_adapter(
    runs: dict[str, Path], tiny: dict[str, str], tmp_path: Path
) -> None:
    done = launch(0, tmp_path / "again", tiny | {"--per_device_train_batch_size": "4"})
    assert done.returncode == 0, done.stderr[-3000:]
    for name in (
        "layers.json",
        "pairs.safetensors",
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
    ):
        assert (tmp_path / "again" / name).read_bytes() == (runs["plain"] / name).read_bytes(), name
    assert losses(tmp_path / "again") == losses(runs["plain"])


def test_a_run_that_a_scheduler_ends_goes_on_to_the_same_adapter(
    runs: dict[str, Path], tiny: dict[str, str], tmp_path: Path
) -> None:
    """SIGTERM reaches every process while a checkpoint is saved, and the ranks once more through their launcher."""
    zero3 = {"--train_token_budget": "64", "--deepspeed": "recipes/deepspeed/zero3.json"}
    options, output = tiny | zero3 | {"--resume_from_checkpoint": "auto"}, tmp_path / "run"
    with start(2, output, options) as started:
        while not (output / "checkpoint-2").exists():
            assert started.poll() is None
            time.sleep(0.005)
        os.killpg(started.pid, signal.SIGTERM)
        _, printed = started.communicate(timeout=900)
    assert printed.count("stopped after step ") == 1
    assert "Traceback" not in printed
    assert not (output / "adapter").exists()
    last = max(output.glob("checkpoint-*"))
    assert f"stopped after step {last.name.removeprefix('checkpoint-')}: what was written is whole" in printed
    done = launch(2, output, options)
    assert done.returncode == 0, done.stderr[-3000:]
    adapters = [run / "adapter" / "adapter_model.safetensors" for run in (output, runs["zero3"])]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    assert losses(output) == losses(runs["zero3"])


def test_a_checkpoint_of_another_user_is_refused(runs: dict[str, Path], tiny: dict[str, str], tmp_path: Path) -> None:
    """Their key is in their cache folder."""
    options = tiny | {"--resume_from_checkpoint": str(runs["zero2"] / "checkpoint-2")}
    done = launch(2, tmp_path / "resumed", options | {"--deepspeed": "recipes/deepspeed/zero2.json"})
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("DeepSpeed would run code in it") == 1


def test_a_users_mistake_is_one_line_however_many_ranks(tiny: dict[str, str], tmp_path: Path) -> None:
    """Every rank finds the mistake, and one of them prints it."""
    done = launch(2, tmp_path / "run", tiny | {"--layers": "2 30"})
    assert done.returncode == 2
    printed = done.stdout + done.stderr
    assert printed.count("error: ") == 1
    assert "error: layers: [30] lie outside the model's blocks, which are 0 to 3" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize("stage", ["plain", "zero2", "zero3"])
def test_a_checkpoint_of_any_stage_can_be_exported(stage: str, runs: dict[str, Path], tmp_path: Path) -> None:
    """The last checkpoint holds the run's own adapter, and nothing of its resume state is exported."""
    assert export_checkpoint.run([str(runs[stage] / "checkpoint-4"), "--output_dir", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}
    exported, trained = (
        load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "out", runs[stage] / "adapter")
    )
    assert exported.keys() == trained.keys()
    assert all(torch.equal(exported[name], trained[name]) for name in trained)
