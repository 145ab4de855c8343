"""The benchmarks alone, as a user runs them, on a tiny saved model and the samples."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from data.sets import SETS
from scripts.run_benchmarks import run
from tests.toys import tiny_model, tiny_tokenizer

RECIPE = """
model_name_or_path: {model}
datasets_root: samples
dtype: float32
eval_limit: 3
retention: []
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, `adapter` and `recipe.yaml`."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model("llama").save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    torch.manual_seed(1)
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(tiny_model("llama"), config).save_pretrained(folder / "adapter")
    (folder / "recipe.yaml").write_text(RECIPE.format(model=folder / "model"))
    return folder


def figures(folder: Path, name: str, *words: str) -> dict[str, Any]:
    path = folder / name
    assert run(["--config", str(folder / "recipe.yaml"), "--json", str(path), *words]) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def plain(folder: Path) -> dict[str, Any]:
    return figures(folder, "plain.json", "--items", str(folder / "items"))


def test_every_set_has_its_figures(plain: dict[str, Any]) -> None:
    assert plain.keys() == {"benchmarks", "retention", "generation"}
    assert plain["generation"].startswith("greedy, with no setting of the model's generation_config")
    assert list(plain["benchmarks"]) == list(SETS)
    for name, entry in plain["benchmarks"].items():
        assert entry.keys() == {"n", "split", "score", "hidden", "length_rule"}
        assert entry["n"] == 3
        assert 0 <= entry["score"]["contrast_accuracy"] <= 1
        assert ("mc2" in entry["score"]) == (name == "truthfulqa")
        assert ("exact_match" in entry["score"]) == ("right" in entry["score"]) == (name in ("nq", "sciq", "triviaqa"))
        assert entry["hidden"].keys() <= entry["score"].keys()
    assert plain["retention"] == {}


def test_every_question_has_a_line(folder: Path, plain: dict[str, Any]) -> None:
    for name, entry in plain["benchmarks"].items():
        lines = [json.loads(line) for line in (folder / "items" / f"{name}.jsonl").read_text().splitlines()]
        assert len(lines) == entry["n"]
        for line in lines:
            assert line.keys() == {"question", "run"}
        mean = sum(line["run"]["metrics"]["contrast_accuracy"] for line in lines) / len(lines)
        assert mean == pytest.approx(entry["score"]["contrast_accuracy"])


def logprobs(items: Path) -> list[float]:
    lines = [json.loads(line) for line in (items / "truthfulqa.jsonl").read_text().splitlines()]
    return [choice["logprob"] for line in lines for choice in line["run"]["choices"]]


def test_an_adapter_changes_the_scores_and_nothing_else_does(folder: Path, plain: dict[str, Any]) -> None:
    for name, words in (("again", []), ("adapted", ["--adapter", str(folder / "adapter")])):
        words = ["--evaluate_on", "truthfulqa", "--items", str(folder / name), *words]
        found = figures(folder, f"{name}.json", *words)["benchmarks"]
        assert list(found) == ["truthfulqa"]
        assert found["truthfulqa"]["length_rule"] == plain["benchmarks"]["truthfulqa"]["length_rule"]
        unchanged = logprobs(folder / name) == pytest.approx(logprobs(folder / "items"), abs=1e-3)
        assert unchanged == (name == "again")


def test_the_table_has_a_line_for_each_metric(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--evaluate_on", "sciq", "nq", "--free_answers", "false", "--prompts", "harness"]
    found = figures(folder, "table.json", *words)["benchmarks"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["set", "metric", "n", "score", "question", "hidden"]
    assert [line[:2] for line in lines[1:]] == [[name, metric] for name in found for metric in found[name]["score"]]
    for name, metric, n, score, *hidden in lines[1:]:
        assert (int(n), float(score)) == (3, pytest.approx(found[name]["score"][metric], abs=5e-4))
        assert [float(value) for value in hidden] == [
            pytest.approx(value, abs=5e-4) for value in [found[name]["hidden"].get(metric)] if value is not None
        ]


def test_the_control_can_be_left_out(folder: Path) -> None:
    found = figures(folder, "no_control.json", "--evaluate_on", "wikiqa", "--question_hidden", "false")
    assert found["benchmarks"]["wikiqa"].keys() == {"n", "split", "score", "length_rule"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapter", "{folder}/none"], "adapter: {folder}/none cannot be loaded"),
        (["--adapter", "{folder}"], "adapter: {folder} cannot be loaded"),
        (["--model_name_or_path", "{folder}/none"], "model_name_or_path: no folder {folder}/none"),
        (["--evalute_on", "nq"], "command line: unknown key 'evalute_on'; did you mean 'evaluate_on'?"),
        (["--evaluate_on", "squad"], "evaluate_on: ['squad'] should be among nq"),
        (["--dataset", "{folder}/none.jsonl"], "dataset: no file {folder}/none.jsonl"),
        (["--prompts", "theirs"], "invalid choice: 'theirs'"),
        (["--adap", "x"], "unknown key 'adap'"),
    ],
)
def test_a_users_mistake_is_one_line(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(["--config", str(folder / "recipe.yaml"), *(word.format(folder=folder) for word in words)])
    assert found == 2
    printed = capsys.readouterr().err
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert message.format(folder=folder) in line
    assert "Traceback" not in printed


def test_nothing_is_written_after_a_mistake(folder: Path, tmp_path: Path) -> None:
    words = ["--json", str(tmp_path / "x.json"), "--items", str(tmp_path / "items"), "--adapter", str(tmp_path / "no")]
    assert run(["--config", str(folder / "recipe.yaml"), *words]) == 2
    assert list(tmp_path.iterdir()) == []
