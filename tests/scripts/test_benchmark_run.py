"""The benchmark of a whole job: what it refuses, how it sums up, and that both sides score the same rows alike."""

import importlib.util
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import TrainingArguments

from data.places import SAMPLES
from scripts.benchmarks import benchmark_run
from scripts.benchmarks.benchmark_run import measured, run, run_ours
from scripts.benchmarks.run_figures import Measured, by_row, differs, sum_up, table
from scripts.benchmarks.shared_rows import SharedRows
from tests.hostile.refusal import check_refused
from tests.toys import naive_logprobs, tiny_model, tiny_tokenizer
from train.evaluation.evaluate import evaluate, mean_metrics
from train.model.loading import load_whole
from train.recipe.arguments import REPOSITORY, EavssArguments
from train.recipe.parse import parse
from train.runtime.errors import RecipeError

needs_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm_eval is missing")
# The harness is off by .02 with the question hidden, and by less than a hundredth of the perplexity.
RESULTS: Any = {
    "benchmarks": {
        "sciq": {"before": {"acc": 2 / 3, "open_book_acc": 1.0}, "hidden": {"before": {"acc": 0.33}}},
    },
    "retention": {"wikitext": {"before": {"n": 4, "perplexity": 50.0}}},
    "train": {"steps": 2, "pairs": 8},
}
PEER = {
    "sciq": {"acc": 2 / 3, "open_book_acc": 1.0},
    "sciq hidden": {"acc": 0.35},
    "wikitext": {"perplexity": 50.4},
}


def took(seconds: float, **stages: float) -> Measured:
    return {"seconds": seconds, "cpu_seconds": seconds / 2, "stages": stages}


ROUNDS = [
    {"ours": took(10, train=4, select=1), "peer": took(30, train=9), "second_seed": took(6, train=4)},
    {"ours": took(12, train=6, select=1), "peer": took(50, train=19), "second_seed": took(8, train=5)},
    {"ours": took(11, train=5), "peer": took(33, train=10), "second_seed": took(5.5, train=5)},
]


def test_medians_are_taken_for_each_side_and_stage() -> None:
    """The medians of the processes are 11, 33 and 6 seconds; a stage that a round lacks has taken it no time."""
    figures = sum_up(ROUNDS, RESULTS, PEER)
    assert figures["ours"] == {"train": 5, "select": 1}
    assert (figures["peer"], figures["second_seed"]) == ({"train": 10}, {"train": 5})
    assert figures["totals"]["ours"] == {"seconds": 11, "cpu_seconds": 5.5}
    assert (figures["speedup"], figures["cpu_speedup"]) == (3, 3)
    assert figures["second_seed_share"] == figures["cpu_second_seed_share"] == pytest.approx(6 / 11)
    assert (figures["rounds"], figures["steps"], figures["pairs"]) == (3, 2, 8)


def test_metrics_stand_beside_each_other_and_a_perplexity_differs_by_its_share() -> None:
    rows = sum_up(ROUNDS, RESULTS, PEER)["agreement"]
    assert [(row["set"], row["metric"], differs(row)) for row in rows] == [
        ("sciq", "acc", False),
        ("sciq", "open_book_acc", False),
        ("sciq hidden", "acc", True),
        ("wikitext", "perplexity", False),
    ]


def test_stages_of_both_sides_share_rows() -> None:
    ours = {"imports": 1.0, "before: sciq": 2.0, "before: question hidden": 3.0, "pairs": 4.0, "reference pass": 5.0}
    ours |= {"calibration": 6.0, "report": 7.0, "after: retention": 8.0, "score": 9.0, "select": 10.0}
    shown = {name: seconds for name, seconds in by_row(ours).items() if seconds}
    assert shown == {
        **{"imports": 1, "score and select": 19, "evaluation before": 5, "pairs and references": 9},
        **{"evaluation after": 8, "report and other": 13},
    }


def test_the_table_shows_seconds_ratios_and_metrics() -> None:
    lines = table(sum_up(ROUNDS, RESULTS, PEER)).splitlines()
    assert lines[0] == "2 steps, 8 pairs; medians of 3 round(s)"
    assert "| train | 5.0 | 10.0 | 5.0 |" in lines
    assert "| the process, CPU seconds | 5.5 | 16.5 | 3.0 |" in lines
    assert "TRL and lm-eval take 3.00 times our seconds, 3.00 times our CPU seconds." in lines
    assert "The second seed takes 55% of the first run's seconds, 55% of its CPU seconds." in lines
    assert lines[-3:] == [
        "| sciq | open_book_acc | 1.0000 | 1.0000 |  |",
        "| sciq hidden | acc | 0.3300 | 0.3500 | yes |",
        "| wikitext | perplexity | 50.0000 | 50.4000 |  |",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repeats", "0"], "--repeats: 0 should be 1 or more"),
        (["--eval_seed=3"], "--eval_seed is set by the benchmark; it should be left out"),
        (["--free-answers", "true"], "--free_answers is set by the benchmark"),
        (["--decline_weight", "1"], "0, since DPOTrainer has no such term"),
        (["--dpo_weight", "0", "--ce_weight", "1"], "dpo_weight: 0.0 should be above 0, since DPOTrainer trains it"),
        (["--load_in_4bit", "true"], "left out: both sides load the base's own weights"),
        (["--lora_rank", "8"], "unknown key 'lora_rank'"),
        (["--json", str(SAMPLES)], "is a folder; it should be a file"),
    ],
)
@needs_lm_eval
def test_what_cannot_be_compared_is_refused(
    words: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--model_name_or_path", str(saved_model), "--datasets_root", "samples", *words]
    check_refused(run, line, message, tmp_path, capsys)


def test_a_missing_harness_is_told(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lm_eval" else find(name))
    line = ["--model_name_or_path", str(saved_model), "--datasets_root", "samples"]
    check_refused(run, line, "lm_eval is missing: pip install --constraint constraints.txt lm-eval", tmp_path, capsys)


def test_a_process_is_measured_and_its_refusal_is_ours(tmp_path: Path) -> None:
    """The program computes for a fifth of a CPU second, or says what it refuses."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys, time\n"
        "if len(sys.argv) > 1: sys.exit(sys.argv[1])\n"
        "assert os.environ['EAVSS_CACHE'] == sys.path[0]\n"
        "while time.process_time() < 0.2: pass\n"
    )
    seconds, cpu_seconds = measured([str(program)], tmp_path)
    assert seconds >= cpu_seconds >= 0.2
    with pytest.raises(SystemExit, match="broken"):
        measured([str(program), "broken"], tmp_path)
    program.write_text("import sys\nprint('error: seed: too large', file=sys.stderr)\nsys.exit(2)\n")
    with pytest.raises(RecipeError, match=r"^seed: too large$"):
        measured([str(program)], tmp_path)


def test_our_stages_are_read_from_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(words: list[str], cache: Path) -> tuple[float, float]:
        assert words[-4:] == ["--seed", "7", "--output_dir", str(tmp_path / "run")]
        assert cache == tmp_path / "kept"
        (tmp_path / "run").mkdir()
        stages = {"load": {"seconds": 2.5, "flops": 1e9}, "other": {"seconds": 0.5}}
        (tmp_path / "run/results.json").write_text(json.dumps({"stages": stages}))
        return 4.0, 3.0

    monkeypatch.setattr(benchmark_run, "measured", stand_in)
    found, results = run_ours(["--max_steps", "2"], 7, tmp_path / "run", tmp_path / "kept")
    assert found == {"seconds": 4.0, "cpu_seconds": 3.0, "stages": {"load": 2.5, "other": 0.5}}
    assert results["stages"]["load"]["flops"] == 1e9


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples and a little running text, of which a token is a byte: more than two windows of 512 of WikiText."""
    folder = tmp_path_factory.mktemp("mirror") / "root"
    shutil.copytree(SAMPLES, folder)
    texts: dict[str, list[dict[str, object]]] = {
        "Salesforce/wikitext/wikitext-2-v1/validation": [{"text": " the lobster is blue . \n" * 60}],
        "EleutherAI/lambada_openai/default/test": [{"text": "she saw the sea"}, {"text": "no one\nknew her name"}],
        "nyu-mll/glue/sst2/validation": [{"sentence": "bleak ", "label": 0}, {"sentence": "a joy", "label": 1}],
    }
    for name, rows in texts.items():
        path = (folder / name).with_suffix(".parquet")
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


@pytest.fixture(scope="module")
def words(root: Path, saved_model: Path) -> list[str]:
    keys = {
        **{"--config": REPOSITORY / "recipes/truthfulqa.yaml", "--model_name_or_path": saved_model},
        **{"--datasets_root": root, "--dtype": "float32", "--eval_limit": 4, "--retention_limit": 2},
        **{"--free_answers": "false", "--evaluation_split": "validation", "--lora_r": 4},
    }
    return [str(word) for pair in keys.items() for word in pair]


def our_figures(shared: SharedRows, args: EavssArguments, training: TrainingArguments) -> dict[str, dict[str, float]]:
    """The metrics of the base by our own evaluation, named as the benchmark names them."""
    settings = replace(args.evaluation, cache_bytes=0.0, fresh=True)
    model = load_whole(args.base_model, training)
    found = evaluate(model, shared.encoder.tokenizer, shared.benchmarks, settings, "before")
    ours = {name: mean_metrics(records) for name, records in found.records.items()}
    ours |= {f"{name} hidden": mean_metrics(records, "hidden") for name, records in found.records.items()}
    return ours | {name: {m: v for m, v in values.items() if m != "n"} for name, values in found.retention.items()}


@torch.no_grad()
def rolling_perplexity(text: str) -> float:
    """The harness's: 512 tokens after the end-of-sequence token, then 512 after the last of these."""
    model, ids = tiny_model("llama"), tiny_tokenizer()(text)["input_ids"]
    assert len(ids) == 1024
    windows = ([tiny_tokenizer().eos_token_id, *ids[:512]], ids[511:])
    return math.exp(-sum(naive_logprobs(model, window, 1, 513).sum().item() for window in windows) / 1024)


@pytest.mark.slow
@needs_lm_eval
def test_the_harness_scores_our_rows_as_we_do_and_trl_trains_our_pairs(words: list[str], tmp_path: Path) -> None:
    """In float32 all metrics are equal, but for WikiText-2, whose windows' first tokens the harness predicts too."""
    from scripts.benchmarks.benchmark_run_peer import main

    args, training = parse([*words, "--output_dir", str(tmp_path / "run")])
    shared = SharedRows.of(args, training)
    examples = args.source.training_pools("truthfulqa")[0][:8]
    path = tmp_path / "training_examples.jsonl"
    path.write_text("".join(json.dumps(example.to_json()) + "\n" for example in examples))
    pairs = shared.pairs(tmp_path, 8)
    assert len(pairs) == 8
    rows = {"tasks": shared.tasks(), "pairs": pairs.as_text(shared.encoder.tokenizer)}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    main(["--folder", str(tmp_path), "--batch_size", "3", "--steps", "2", *words])
    found = json.loads((tmp_path / "peer.json").read_text())
    ours, theirs = our_figures(shared, args, training), shared.figures(found["before"])
    assert theirs.keys() == ours.keys()
    assert theirs.pop("wikitext")["perplexity"] == pytest.approx(
        rolling_perplexity(shared.texts["wikitext"][0]["prompt"])
    )
    for name, metrics in theirs.items():
        assert metrics == pytest.approx(ours[name], rel=1e-3, abs=1e-3), name
    assert found["after"].keys() == found["before"].keys()
    assert found["after"] != found["before"]
    stages = {"imports", "data", "load", "before: lm-eval", "reference pass", "train", "after: lm-eval", "other"}
    assert found["stages"].keys() == stages
    assert all(seconds > 0 and math.isfinite(seconds) for seconds in found["stages"].values())
