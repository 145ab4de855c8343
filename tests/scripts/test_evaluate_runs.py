"""Finished runs on more sets than they looked at, as a user asks for it, on a tiny saved model and the samples."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from scripts.evaluate_runs import run
from scripts.run_benchmarks import run as run_benchmarks
from tests.toys import save_tiny, tiny_model

RECIPE = """
model_name_or_path: {model}
dataset: {dataset}
datasets_root: samples
prompt_style: {style}
dtype: float32
evaluate_on: [{dataset}]
eval_limit: 4
retention: []
seed: 3
"""
TRAIN = {"steps": 10, "seconds": 4.0, "reading_seconds": 1.0, "flops": 3e12, "all_blocks_flops": 6e12}


def write_run(folder: Path, model: Path, dataset: str, seed: int, style: str = "plain") -> Path:
    """A finished run's folder, its adapter random."""
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(tiny_model("llama"), config).save_pretrained(folder / "adapter")
    (folder / "recipe.yaml").write_text(RECIPE.format(model=model, dataset=dataset, style=style))
    results = {"dataset": dataset, "benchmarks": {}, "retention": {}, "train": TRAIN}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    model = save_tiny(root / "model")
    write_run(root / "a", model, "sciq", 1)
    write_run(root / "b", model, "nq", 2)
    write_run(root / "chat", model, "nq", 2, style="chat")
    return root


def figures(folder: Path, *words: str) -> object:
    assert run_benchmarks(["--config", str(folder / "recipe.yaml"), "--json", str(folder / "own.json"), *words]) == 0
    return json.loads((folder / "own.json").read_text())["benchmarks"]["sciq"]["score"]


def test_each_adapter_is_measured_as_it_is_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second too: the first is off the model by then."""
    sets = ("--evaluate_on", "sciq", "wikiqa")
    target = root / "more"
    assert run([str(root / "a"), str(root / "b"), *sets, "--output_dir", str(target)]) == 0
    assert "| sciq | " in capsys.readouterr().out
    for name in ("a", "b"):
        found = json.loads((target / name / "results.json").read_text())
        assert found["train"] == TRAIN
        assert list(found["benchmarks"]) == ["sciq", "wikiqa"]
        assert found["benchmarks"]["sciq"]["before"] == figures(root / name, *sets)
        adapter = ("--adapter", str(root / name / "adapter"))
        assert found["benchmarks"]["sciq"]["after"] == pytest.approx(figures(root / name, *sets, *adapter))
        assert len((target / name / "items" / "wikiqa.jsonl").read_text().splitlines()) == 4
    assert found["benchmarks"]["sciq"]["after"] != found["benchmarks"]["sciq"]["before"]

    kept = (target / "a" / "results.json").read_text()
    assert run([str(root / "a"), "--evaluate_on", "sciq", "--output_dir", str(target)]) == 0
    assert (target / "a" / "results.json").read_text() == kept


def test_mistakes_are_told(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in [
        ([str(root / "a")], "--output_dir should name a folder"),
        ([str(root / "model"), "--output_dir", str(tmp_path)], "is not the folder of a finished run"),
        ([str(root / "a"), str(root / "a"), "--output_dir", str(tmp_path)], "two runs are named a"),
        ([str(root / "a"), "--output_dir", str(root)], "holds the runs themselves"),
        ([str(root / "a"), str(root / "chat"), "--output_dir", str(tmp_path)], "prompt_style is 'chat'"),
        ([str(root / "a"), "--output_dir", str(tmp_path), "--eval_limits", "3"], "did you mean 'eval_limit'"),
    ]:
        assert run(words) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
