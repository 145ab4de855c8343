"""Export, push, load back: the real client and real HTTP, to a server that speaks the Hub's protocol."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard, constants
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, pipeline

from data import wikiqa
from data.sources import SAMPLES
from scripts import export_checkpoint
from scripts.benchmarks.benchmark_evaluation import local_task
from tests.hub_server import OWNER, TOKEN, Hub, Repo, serving
from tests.toys import save_tiny
from train.publishing.reload_check import fixed_logprobs
from train.recipe.arguments import REPOSITORY

pytestmark = pytest.mark.slow
WEIGHTS = "adapter_model.safetensors"
RECIPE = {
    **{"score_questions": 8, "train_questions": 12, "eval_limit": 4, "max_steps": 2, "save_steps": 2},
    **{"per_device_train_batch_size": 2, "select_fraction": 0.5, "dtype": "float32", "learning_rate": 0.05},
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


def start(words: list[str], hub: Hub | None, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
    """A process as a user's, with the hub as its endpoint; the LFS path, since nothing here speaks Xet."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_ENDPOINT": hub.endpoint if hub else "http://127.0.0.1:9"}
    environment |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny", torch.bfloat16)


def train(base: Path, output: Path, hub: Hub | None, *more: str) -> subprocess.CompletedProcess[str]:
    words = [word for key, value in RECIPE.items() for word in (f"--{key}", str(value))]
    common = ["train/contrastive.py", "--config", "recipes/demo.yaml", "--model_name_or_path", str(base)]
    return start([*common, "--output_dir", str(output), *words, *more], hub)


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "toy"
    done = train(base, output, None)
    assert done.returncode == 0, done.stderr[-2000:]
    return output


def export(run: Path, target: Path, hub: Hub | None, *more: str, token: str | None = TOKEN):
    return start(["scripts/export_checkpoint.py", str(run), "--output_dir", str(target), *more], hub, token)


def of_the_run(run: Path, base: Path) -> list[float]:
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(run / "adapter")
    )
    return fixed_logprobs(model, AutoTokenizer.from_pretrained(base))


LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from train.publishing.reload_check import fixed_logprobs
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], revision=sys.argv[2], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], revision=sys.argv[2])
print(json.dumps(fixed_logprobs(model, tokenizer)))
"""


def test_a_merged_checkpoint_goes_to_the_hub_and_comes_back(run: Path, base: Path, tmp_path: Path, hub: Hub) -> None:
    pushed = ["--merge", "--dtype", "float32", "--push_to_hub", "tester/merged", "--revision", "v1", "--private"]
    done = export(run, tmp_path / "out", hub, *pushed, "--commit_message", "first", "--base_model", "owner/base")
    assert done.returncode == 0, done.stderr[-2000:]
    repo = hub.repos["tester/merged"]
    assert (repo.private, repo.messages) == (True, ["first"])
    assert set(repo.branches["main"]) == {".gitattributes"}
    files = repo.branches["v1"]
    assert set(files) >= {"README.md", "layers.png", "model.safetensors", "config.json", "tokenizer.json"}
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    loaded = start(["-c", LOAD, "tester/merged", "v1"], hub)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    assert json.loads(loaded.stdout) == pytest.approx(of_the_run(run, base), abs=1e-3)

    before = hub.sent()
    again = export(run, tmp_path / "again", hub, *pushed, "--overwrite", "--base_model", "owner/base")
    assert again.returncode == 0, again.stderr[-2000:]
    assert hub.sent() - before < len(files["model.safetensors"]) / 2
    assert files.keys() == repo.branches["v1"].keys()


def test_a_merged_checkpoint_in_the_bases_dtype_is_rounded_once(run: Path, base: Path, tmp_path: Path) -> None:
    assert export_checkpoint.run([str(run), "--output_dir", str(tmp_path / "out"), "--merge"]) == 0
    merged, original = load_file(tmp_path / "out" / "model.safetensors"), load_file(base / "model.safetensors")
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}
    changed = {name for name, tensor in merged.items() if not torch.equal(tensor, original[name])}
    selected = json.loads((run / "results.json").read_text())["selected"]
    assert {int(name.split(".layers.")[1].split(".")[0]) for name in changed} == set(selected)
    adapter = load_file(run / "adapter" / WEIGHTS)
    layer = f"model.layers.{selected[0]}.mlp.up_proj"
    a, b = (adapter[f"base_model.model.{layer}.lora_{name}.weight"].float() for name in "AB")
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    by_hand = original[f"{layer}.weight"].float() + config["lora_alpha"] / config["r"] * b @ a
    torch.testing.assert_close(merged[f"{layer}.weight"].float(), by_hand, rtol=2**-8, atol=1e-6)


def test_an_adapter_is_byte_equal_and_says_which_base(run: Path, tmp_path: Path, hub: Hub) -> None:
    done = export(
        run, tmp_path / "out", hub, "--base_model", "owner/base", "--license", "mit", "--push_to_hub", "adapter"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    files = hub.repos[f"{OWNER}/adapter"].branches["main"]
    assert set(files) == {
        ".gitattributes",
        "README.md",
        "layers.png",
        WEIGHTS,
        "adapter_config.json",
    }
    assert files[WEIGHTS] == (run / "adapter" / WEIGHTS).read_bytes()
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "owner/base"
    card = ModelCard(files["README.md"].decode())
    assert (card.data.base_model, card.data.library_name, card.data.license) == ("owner/base", "peft", "mit")
    results = json.loads((run / "results.json").read_text())
    assert card.data.eval_results
    for result in card.data.eval_results:
        assert result.dataset_type == "eavss-samples"
        after = results["benchmarks"][result.dataset_config]["after"]
        assert result.metric_value == round(after[result.metric_type], 4)
    assert "layers.png" in card.text
    assert "of the small samples that eavss ships" in card.text
    assert results["command"] in card.text


def test_a_trainers_checkpoint_is_exported_without_its_resume_state(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export_checkpoint.run([str(run / "checkpoint-2"), "--output_dir", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, "adapter_config.json"}
    assert "no model card" in capsys.readouterr().out


def test_a_recipe_pushes_its_own_run(base: Path, tmp_path: Path, hub: Hub) -> None:
    done = train(base, tmp_path / "named", hub, "--push_to_hub", "true", "--hub_base_model", "owner/base")
    assert done.returncode == 0, done.stderr[-2000:]
    files = hub.repos[f"{OWNER}/named"].branches["main"]
    assert files[WEIGHTS] == (tmp_path / "named" / "adapter" / WEIGHTS).read_bytes()
    assert "pushed: " in done.stdout
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in done.stdout + done.stderr
    again = train(base, tmp_path / "named", hub, "--push_to_hub", "true")
    assert again.returncode == 2
    assert f"hub: {OWNER}/named (main) holds {len(files) - 1} files already" in again.stderr
    assert "Model and data" not in again.stdout


@pytest.mark.parametrize(
    ("token", "drop", "more", "message"),
    [
        ("hf_wrong", None, [], "refuses the token (401); it should be one that may write to tester/new"),
        (None, None, [], "there is no token; set HF_TOKEN"),
        (TOKEN, "/api/whoami", [], "no connection to http://127.0.0.1"),
        (TOKEN, "/api/repos/create", [], "no connection to http://127.0.0.1"),
        (TOKEN, None, ["--push_to_hub", "a/b/c"], "Repo id must be in the form"),
        (TOKEN, None, ["--push_to_hub", "tester/full"], "tester/full (main) holds 1 files already; name another repo"),
    ],
)
def test_what_the_hub_refuses_is_one_line_without_the_token(
    token: str | None,
    drop: str | None,
    more: list[str],
    message: str,
    run: Path,
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in (("HF_HUB_OFFLINE", False), ("ENDPOINT", hub.endpoint)):
        monkeypatch.setattr(constants, name, value)  # read from the environment once, when the client is imported
    monkeypatch.setenv("HF_TOKEN", token or "")
    hub.drop = drop
    full = Repo(private=False)
    full.branches["main"]["config.json"] = b"{}"
    hub.repos["tester/full"] = full
    options = more or ["--push_to_hub", "tester/new"]
    assert export_checkpoint.run([str(run), "--output_dir", str(tmp_path / "out"), *options]) == 2
    printed = capfd.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert TOKEN not in printed.out + printed.err
    assert full.branches["main"]["config.json"] == b"{}"
    assert drop == "/api/repos/create" or not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("make", "more", "message"),
    [
        (lambda folder: (folder / "empty").mkdir(), [], "no adapter in"),
        (None, ["--dtype", "float32"], "--dtype: an adapter keeps its own"),
        (None, ["--merge", "--dtype", "int8"], "invalid choice: 'int8'"),
    ],
)
def test_a_users_mistake_is_one_line(
    make, more: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run
    if make:
        make(tmp_path)
        folder = tmp_path / "empty"
    assert export_checkpoint.run([str(folder), "--output_dir", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_export_overwrites_nothing_and_a_broken_adapter_leaves_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert export_checkpoint.run([str(run), "--output_dir", str(tmp_path / "out")]) == 2
    assert "exists already; name another folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    shutil.copytree(run / "adapter", tmp_path / "broken")
    weights = tmp_path / "broken" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    assert export_checkpoint.run([str(tmp_path / "broken"), "--output_dir", str(tmp_path / "new")]) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"out", "broken"}


def test_a_checkpoint_that_gives_something_else_is_no_export(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written is spoilt on its way; nothing of it stays."""
    original = PreTrainedModel.save_pretrained

    def spoil(self: PreTrainedModel, folder: Path, **options: Any) -> None:
        self.get_output_embeddings().weight.data.mul_(1.1)
        original(self, folder, **options)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", spoil)
    assert export_checkpoint.run([str(run), "--output_dir", str(tmp_path / "out"), "--merge"]) == 2
    assert (
        "nothing was exported: the exported checkpoint gives log-probabilities that are off by"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_a_merged_checkpoint_answers_where_people_ask_it(run: Path, tmp_path: Path) -> None:
    """Through transformers' pipeline, and lm-evaluation-harness's `--model hf`."""
    folder = str(tmp_path / "out")
    assert export_checkpoint.run([str(run), "--output_dir", folder, "--merge", "--dtype", "float32"]) == 0
    prompt = "Question: Which gas do plants take in?\nAnswer:"
    answered = pipeline("text-generation", model=folder)(prompt, max_new_tokens=3, do_sample=False)
    assert answered[0]["generated_text"].startswith(prompt)
    definition = REPOSITORY / "recipes/lm_eval/wikiqa/wikiqa.yaml"
    task = local_task(definition, wikiqa, SAMPLES, tmp_path)
    tasks = {"tasks": {"wikiqa": task}, "groups": {}, "group_map": {}}
    found = evaluate(HFLM(pretrained=folder, device="cpu", dtype="float32"), tasks, limit=3, bootstrap_iters=0)
    assert 0 <= found["results"]["wikiqa"]["map,none"] <= 1
