"""Export, push, load back: the parts in this process, and the whole as a user's processes do it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments, pipeline

from data import wikiqa
from data.places import SAMPLES
from tests.hub_server import OWNER, TOKEN, Hub
from tests.train.publishing.toy_run import CONFIG, WEIGHTS
from train.publishing.checkpoints import Adapter
from train.publishing.hub import HubRepo
from train.publishing.publish import Export, hub_repo, push_run
from train.publishing.reload_check import fixed_logprobs
from train.publishing.run_folder import Run
from train.recipe.arguments import REPOSITORY
from train.recipe.settings import BaseModel, Quantization
from train.runtime.errors import HubError, RecipeError


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("merged", "files"), [(False, {WEIGHTS, CONFIG}), (True, {"model.safetensors", "config.json"})]
)
def test_an_export_has_a_card_if_it_is_of_a_run(
    merged: bool, files: set[str], run: Path, base: Path, tmp_path: Path
) -> None:
    adapter = Adapter(run / "adapter", BaseModel(str(base)))
    export = Export(merged, base_model="owner/base")
    export.write(adapter, None, tmp_path / "plain", "plain")
    export.write(adapter, Run.read(run), tmp_path / "of-a-run", "tester/of-a-run")
    plain, of_a_run = ({path.name for path in (tmp_path / name).iterdir()} for name in ("plain", "of-a-run"))
    assert plain >= files
    assert of_a_run == plain | {"README.md", "layers.png"}
    data = ModelCard((tmp_path / "of-a-run" / "README.md").read_text()).data
    assert data.library_name == ("transformers" if merged else "peft")
    assert (data.base_model, data.model_name) == ("owner/base", "of-a-run")


@pytest.mark.usefixtures("in_process")
def test_a_base_that_nobody_else_has_is_noted(
    run: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Export().write(Adapter(run / "adapter", BaseModel(str(base))), None, tmp_path / "out", "out")
    assert f"the base is named as the folder {base}, which nobody else has" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["base_model_name_or_path"] == str(base)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.usefixtures("in_process")
def test_what_merging_into_a_packed_base_loses_is_said(
    run: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = Adapter(run / "adapter", BaseModel(str(base), quantization=Quantization(8)))
    Export(merged=True, base_model="owner/base").write(adapter, Run.read(run), tmp_path / "out", "out")
    line = "he merged weights are those that the adapter was trained on, held in 8 bits and unpacked: they differ "
    assert f"note: t{line}from the base's own by 0." in capsys.readouterr().out
    assert f"\n- T{line}from the base's own by 0." in (tmp_path / "out" / "README.md").read_text()


def test_a_run_without_its_profile_is_refused_before_anything_is_written(run: Path, base: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("results.json", "recipe.yaml"):
        (tmp_path / "run" / name).write_bytes((run / name).read_bytes())
    adapter = Adapter(run / "adapter", BaseModel(str(base)))
    with pytest.raises(RecipeError, match=r"layers\.json"):
        Export().write(adapter, Run.read(tmp_path / "run"), tmp_path / "out", "out")
    assert not (tmp_path / "out").exists()


def test_the_repo_of_a_recipe_is_checked(hub: Hub, tmp_path: Path) -> None:
    """It is named as the output folder, unless the recipe names it."""
    assert hub_repo(TrainingArguments(str(tmp_path / "named")), overwrite=False) is None
    pushed = TrainingArguments(str(tmp_path / "named"), push_to_hub=True, hub_private_repo=True)
    assert hub_repo(pushed, overwrite=True) == HubRepo("named", private=True, revision="main", overwrite=True)
    other = TrainingArguments(str(tmp_path), push_to_hub=True, hub_model_id="owner/other", hub_revision="v1")
    assert hub_repo(other, overwrite=False) == HubRepo("owner/other", None, "v1", False)
    hub.drop = "/api/whoami"
    with pytest.raises(HubError, match="no connection"):
        hub_repo(other, overwrite=False)


@pytest.mark.usefixtures("in_process")
def test_a_run_is_pushed_with_its_card(run: Path, base: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    push_run(run, HubRepo("toy"), BaseModel(str(base)), Export(base_model="owner/base", license="mit"))
    files = hub.repos[f"{OWNER}/toy"].branches["main"]
    assert set(files) == {".gitattributes", "README.md", "layers.png", WEIGHTS, CONFIG}
    assert files[WEIGHTS] == (run / "adapter" / WEIGHTS).read_bytes()
    assert json.loads(files[CONFIG])["base_model_name_or_path"] == "owner/base"
    assert ModelCard(files["README.md"].decode()).data.license == "mit"
    assert f"pushed: {hub.endpoint}/{OWNER}/toy/commit/" in capsys.readouterr().out


def start(words: list[str], hub: Hub) -> subprocess.CompletedProcess[str]:
    """Run a process as a user does, with the hub as its endpoint and without Xet, which nothing here speaks."""
    more = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN}
    return subprocess.run(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env=os.environ | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from train.publishing.reload_check import fixed_logprobs
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], revision=sys.argv[2], dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], revision=sys.argv[2])
print(json.dumps(fixed_logprobs(model, tokenizer)))
"""


@pytest.mark.slow
def test_a_merged_checkpoint_goes_to_the_hub_and_comes_back(run: Path, base: Path, tmp_path: Path, hub: Hub) -> None:
    # Imported here, since they take seconds that the fast tests of this file need not wait.
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    from scripts.benchmarks.benchmark_evaluation import local_task

    words = ["scripts/export_checkpoint.py", str(run), "--output_dir", str(tmp_path / "out"), "--merge"]
    words += ["--dtype", "float32", "--base_model", "owner/base", "--push_to_hub", "tester/merged"]
    done = start([*words, "--revision", "v1", "--private", "--commit_message", "first"], hub)
    assert done.returncode == 0, done.stderr[-2000:]
    repo = hub.repos["tester/merged"]
    assert (repo.private, repo.messages) == (True, ["first"])
    assert set(repo.branches["main"]) == {".gitattributes"}
    files = repo.branches["v1"]
    assert set(files) >= {"README.md", "layers.png", "model.safetensors", "config.json", "tokenizer.json"}
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    loaded = start(["-c", LOAD, "tester/merged", "v1"], hub)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(plain, str(run / "adapter"))
    expected = fixed_logprobs(adapted, AutoTokenizer.from_pretrained(base))
    assert json.loads(loaded.stdout) == pytest.approx(expected, abs=1e-3)

    # It answers where people ask it: through transformers' pipeline, and lm-evaluation-harness's `--model hf`.
    folder = str(tmp_path / "out")
    prompt = "Question: Which gas do plants take in?\nAnswer:"
    answered = pipeline("text-generation", model=folder)(prompt, max_new_tokens=3, do_sample=False)
    assert answered[0]["generated_text"].startswith(prompt)
    definition = REPOSITORY / "recipes/lm_eval/wikiqa/wikiqa.yaml"
    tasks = {"tasks": {"wikiqa": local_task(definition, wikiqa.SET, SAMPLES, tmp_path)}, "groups": {}, "group_map": {}}
    found = evaluate(HFLM(pretrained=folder, device="cpu", dtype="float32"), tasks, limit=3, bootstrap_iters=0)
    assert 0 <= found["results"]["wikiqa"]["map,none"] <= 1


@pytest.mark.slow
def test_a_recipe_pushes_its_own_run(base: Path, tmp_path: Path, hub: Hub) -> None:
    recipe = {"score_questions": 8, "train_questions": 12, "eval_limit": 4, "max_steps": 2, "save_steps": 2}
    recipe |= {"per_device_train_batch_size": 2, "select_fraction": 0.5, "dtype": "float32", "push_to_hub": "true"}
    words = ["train/contrastive.py", "--config", "recipes/demo.yaml", "--model_name_or_path", str(base)]
    words += ["--output_dir", str(tmp_path / "named"), "--hub_base_model", "owner/base"]
    words += [word for key, value in recipe.items() for word in (f"--{key}", str(value))]
    done = start(words, hub)
    assert done.returncode == 0, done.stderr[-2000:]
    files = hub.repos[f"{OWNER}/named"].branches["main"]
    assert files[WEIGHTS] == (tmp_path / "named" / "adapter" / WEIGHTS).read_bytes()
    assert "pushed: " in done.stdout
    card, results = ModelCard(files["README.md"].decode()), Run.read(tmp_path / "named").results
    assert results["command"] in card.text
    assert card.data.eval_results
    for result in card.data.eval_results:
        after = results["benchmarks"][str(result.dataset_config)]["after"]
        assert result.metric_value == round(after[result.metric_type], 4)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in done.stdout + done.stderr
    # A Trainer's checkpoint is exported without its resume state.
    exported = ["scripts/export_checkpoint.py", str(tmp_path / "named" / "checkpoint-2")]
    assert start([*exported, "--output_dir", str(tmp_path / "out")], hub).returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, CONFIG}
    # The files of the first run are not overwritten, which is found out before anything is computed.
    again = start(words, hub)
    assert again.returncode == 2
    assert f"hub: {OWNER}/named (main) holds {len(files) - 1} files already" in again.stderr
    assert "Model and data" not in again.stdout
