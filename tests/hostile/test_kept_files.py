"""Files that runs and scripts keep, each broken in its own way, read by the command that uses them."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from eavss.confidence import KINDS, Calibration
from scripts import ask, compare_cuts, compare_selectors, score_layers, summarise_runs
from tests.hostile.refusal import check_refused
from tests.train.publishing.toy_run import RESULTS, write_adapter, write_run
from train import contrastive, heal
from train.comparison.trl_sft import refusal_aware_rows
from train.publishing.run_folder import Run
from train.runtime.command import exit_status

GONE = object()
CUT = {"model": "some/model", "by": "last", "blocks": 4, "removed": [1, 3], "parameters": 1, "whole_parameters": 2}
CELL = {
    **{"settings": "x", "dataset": "nq", "seed": 0, "layers": [1], "budget": "steps", "steps": 2, "gain": 0.1},
    **{"learning_rate": 0.1, "before": 0.5, "gains": [0.1], "flops": 1.0, "seconds": 1.0, "trained_parameters": 3},
    "selector": "first",
}
FIGURES = [{"by": "last", "share": 0.25, "blocks": 4, "removed": [3], "kept": [], "average": 1.0}]
EXAMPLE = {
    **{"dataset": "nq", "question": "Who?", "truthful": ["she"], "hallucinated": ["he"], "origins": ["dataset"]},
    **{"aliases": ["she"], "verbatim": False, "support": "", "system": "", "pairs": []},
}
ANSWER = {"question": "Who?", "dataset": "nq", "answer": "she", "right": True, "known": True}
FIGURED = {"auroc": 0.5, "ece": 0.1, "thresholds": {"80": 0.0}, "curve": [], "asked": 2, "right": 1, "prompt": ""}
CALIBRATION = Calibration(by="summed", dataset="nq", aurocs=dict.fromkeys(KINDS), **FIGURED)  # type: ignore[arg-type]
MANIFEST = {"recipe": {}, "blocks": [1], "step_size": 4, "files": {}, "signature": ""}

# Part of a file by its keys and indices, what is put there (bytes: instead of the whole file), what the error says.
Row = tuple[str, Any, str]
BROKEN: list[Row] = [
    ("", b"", "it is no JSON"),
    ("", b"{", "it is no JSON"),
    ("", b"\xff\xfe", "utf-8"),
    ("", b"null", "the whole is None"),
    ("", b'"text"', "the whole is 'text'"),
    ("", b"[" * 100_000, "nested too deeply"),
    ("", None, ""),  # a folder in its place
]
ROWS: dict[str, list[Row]] = {
    "layers.json": [
        *BROKEN[:-2],
        ("", b"[]", "the whole is []"),
        ("", b"{}", "has no 'layers'"),
        ("layers", GONE, "has no 'layers'"),
        ("layers", [], "the blocks from 0 to the last one"),
        ("layers.1", 7, "layers.1 is 7, where an object would be right"),
        ("layers.0.layer", -1, "the blocks from 0 to the last one"),
        ("layers.3.layer", 2, "the blocks from 0 to the last one"),
        ("layers.2.layer", 1_000_000, "the blocks from 0 to the last one"),
        ("layers.0.layer", False, "layers.0.layer is False, where an integer would be right"),
        ("layers.1.layer", 1.0, "layers.1.layer is 1.0, where an integer would be right"),
        ("layers.1.eavss", GONE, "has no 'eavss'"),
        ("layers.1.eavss.contrast", GONE, "has no 'contrast'"),
        ("layers.1.eavss.contrast", "0.2", "layers.1.eavss.contrast is '0.2', where a number would be right"),
        ("layers.1.eavss.contrast", None, "layers.1.eavss.contrast is None"),
        ("layers.1.eavss.contrast", True, "layers.1.eavss.contrast is True"),
        ("layers.1.eavss.contrast", float("nan"), "NaN, which is no finite number"),
        ("layers.1.eavss.contrast", float("-inf"), "-Infinity, which is no finite number"),
        ("selected", [4], "selected is [4], where blocks of 0 to 3 would be right"),
        ("selected", [1, 1], "selected is [1, 1]"),
        ("selected", [3, 1], "selected is [3, 1]"),
        ("selected", [True], "selected.0 is True, where an integer would be right"),
        ("selected", "13", "selected is '13', where a list would be right"),
    ],
    "results.json": [
        *BROKEN,
        ("dataset", GONE, "has no 'dataset'"),
        ("dataset", 3, "dataset is 3, where text would be right"),
        ("benchmarks", GONE, "has no 'benchmarks'"),
        ("benchmarks", [], "benchmarks is [], where an object would be right"),
        ("benchmarks.nq.n", "7", "benchmarks.nq.n is '7', where an integer would be right"),
        ("benchmarks.nq.change.contrast_accuracy", 0.5, "contrast_accuracy is 0.5, where an object would be right"),
        ("benchmarks.nq.before.contrast_accuracy", "x", "benchmarks.nq.before.contrast_accuracy is 'x'"),
        ("train", [], "train is []"),
        ("train.flops", "many", "train.flops is 'many'"),
        ("train", GONE, "has no 'train'"),
    ],
    "recipe.yaml": [
        ("", b"", "should be a mapping"),
        ("", b"seed: x", "seed: 'x' should be an integer"),
        ("", b"seed: .inf", "seed: inf should be an integer"),
        ("", b"seed: !!python/name:os.system", "is not YAML"),
        ("", b"a: &a [*a]", "aliases are not allowed"),
        ("", b"\xff", "is not YAML"),
        ("", None, ""),
    ],
    "items/nq.jsonl": [
        ("", b"", "it is empty"),
        ("", b"{", "line 1: "),
        ("", b"[]", "line 1: the whole is []"),
        ("question", 3, "line 1: question is 3"),
        ("before", GONE, "has no 'before'"),
        ("after.metrics.contrast_accuracy", "1", "line 1: after.metrics.contrast_accuracy is '1'"),
        ("after.metrics.contrast_accuracy", GONE, "has no 'contrast_accuracy'"),
    ],
    "confidence.json": [
        ("", b"{", "is no confidence.json"),
        ("", b"[" * 100_000, "is no confidence.json"),
        ("", b"\xff", "is no confidence.json"),
        ("by", "luck", "is no confidence.json"),
        ("by", "probe", "is no confidence.json"),
        ("thresholds", {"80": "0"}, "is no confidence.json"),
        ("thresholds", {}, "keep: 80 should be one of"),
        ("probe", {"layer": 0}, "is no confidence.json"),
        ("probe", {"layer": True, "state": [], "likelihoods": [], "bias": 0.0}, "is no confidence.json"),
        ("prompt", 3, "is no confidence.json"),
    ],
    "cut.json": [
        *BROKEN,
        ("model", GONE, "has no 'model'"),
        ("model", "../other", "should be ../other"),
        ("removed", [], "removed is []"),
        ("removed", [-1], "removed is [-1]"),
        ("removed", [1, 1], "removed is [1, 1]"),
        ("removed", [3, 1], "removed is [3, 1]"),
        ("removed", [False, 1], "removed.0 is False"),
        ("removed", [9], "lie outside the model's blocks, which are 0 to 3"),
    ],
    "cells.jsonl": [
        ("", b"{", "holds something else than cells"),
        ("", b"[]", "line 1: the whole is []"),
        ("gains", [None], "line 1: gains.0 is None"),
        ("layers", [True], "line 1: layers.0 is True"),
        ("selector", GONE, "has no 'selector'"),
        ("seconds", GONE, "has no 'seconds'"),
        ("flops", GONE, "has no 'flops'"),
    ],
    "cuts.json": [
        ("", b"{}", "holds no figures of cuts"),
        ("0.share", GONE, "an entry has other keys"),
        ("0.by", "luck", "0.by is 'luck', where one of"),
        ("0.removed", [True], "0.removed.0 is True"),
    ],
    "training_examples.jsonl": [
        ("", b"{", "line 1: "),
        ("truthful", "she", "line 1: truthful is 'she'"),
        ("truthful", [], "does not hold a run's training examples"),
        ("origins", ["luck"], "line 1: origins.0 is 'luck', where one of"),
        ("aliases", GONE, "has no 'aliases'"),
    ],
    "own_answers.jsonl": [
        ("right", "yes", "line 1: right is 'yes', where true or false would be right"),
        ("question", GONE, "has no 'question'"),
        ("", b"nothing", "line 1: "),
        ("", None, "does not hold a run's own answers"),
    ],
    "checkpoint-2/eavss_checkpoint.json": [
        ("", b"{", "its eavss_checkpoint.json is damaged"),
        ("", b"[]", "its eavss_checkpoint.json is damaged"),
        ("", b"\xff", "its eavss_checkpoint.json is damaged"),
        ("files", GONE, "its eavss_checkpoint.json is damaged"),
        ("files", [], "its eavss_checkpoint.json is damaged"),
        ("recipe", None, "its eavss_checkpoint.json is damaged"),
        ("files", {"../../x": [1, "x"]}, "../../x is damaged or missing"),
        ("", b"[" * 100_000, "its eavss_checkpoint.json is damaged"),
        ("step_size", "4", "eavss_checkpoint.json is damaged"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def root(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kept file, whole."""
    results = json.loads(json.dumps(RESULTS)) | {"model": str(saved_model), "dataset": "nq"}
    for part in ("before", "after", "change"):
        del results["benchmarks"]["nq"][part]["f1"]  # which the items lack
    root = write_run(tmp_path_factory.mktemp("kept"), results)
    write_adapter(root / "adapter", saved_model)
    (root / "recipe.yaml").write_text("dataset: nq\nseed: 5\n")
    whole: dict[str, Any] = {
        **{"confidence.json": asdict(CALIBRATION), "cut.json": CUT | {"model": str(saved_model)}, "cuts.json": FIGURES},
        **{"cells.jsonl": CELL, "training_examples.jsonl": EXAMPLE, "own_answers.jsonl": ANSWER},
        "checkpoint-2/eavss_checkpoint.json": MANIFEST,
    }
    (root / "checkpoint-2").mkdir()
    for name, value in whole.items():
        (root / name).write_text(json.dumps(value) + "\n")
    return root


def readers(root: Path, model: Path, output: Path) -> dict[str, Callable[[object], int]]:
    """The command that reads each file."""
    common = [
        *("--model_name_or_path", str(model), "--output_dir", str(output), "--dataset", "nq", "--evaluate_on", "nq"),
        *("--datasets_root", "samples", "--retention", "none"),
    ]
    summarise = lambda _: summarise_runs.run([str(root)])  # noqa: E731
    own = ["--cells", str(root / "cells.jsonl"), "--datasets", "sciq", "--report_only", "--datasets_root", "samples"]
    answers = lambda: refusal_aware_rows(root / "own_answers.jsonl", [], None, "")  # type: ignore[arg-type] # noqa: E731
    return {
        "layers.json": lambda _: score_layers.run([*common, "--against", str(root / "layers.json")]),
        "results.json": summarise,
        "recipe.yaml": summarise,
        "items/nq.jsonl": summarise,
        "confidence.json": lambda _: ask.run([str(root), "Who?"]),
        "cut.json": lambda _: heal.run([*common, "--cut", str(root)]),
        "cells.jsonl": lambda _: compare_selectors.run(own),
        "cuts.json": lambda _: compare_cuts.run([*common, "--json", str(root / "cuts.json")]),
        "training_examples.jsonl": lambda _: exit_status(Run.read(root).training_examples),
        "own_answers.jsonl": lambda _: exit_status(answers),
        "checkpoint-2/eavss_checkpoint.json": lambda _: contrastive.run(
            [*common, "--resume_from_checkpoint", str(root / "checkpoint-2")]
        ),
    }


def broken(text: str, where: str, value: Any) -> bytes:
    """The text of a file with one part of its first line, or of the whole, replaced."""
    if not where:
        return bytes(value)
    record = json.loads(text)
    *outer, last = (int(key) if key.isdecimal() else key for key in where.split("."))
    part = record
    for key in outer:
        part = part[key]
    if value is GONE:
        del part[last]
    else:
        part[last] = value
    return json.dumps(record).encode()


@pytest.mark.parametrize("name", ROWS)
def test_a_broken_file(
    name: str, root: Path, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, read = root / name, readers(root, saved_model, tmp_path / "out")[name]
    text = path.read_text()
    first, rest = (text.partition("\n")[::2]) if path.suffix == ".jsonl" else (text, "")
    try:
        for where, value, message in ROWS[name]:
            path.unlink()
            if value is None and not where:
                path.mkdir()
            else:
                path.write_bytes(broken(first, where, value) + (b"\n" + rest.encode() if where and rest else b""))
            check_refused(read, [], message, tmp_path, capsys)
            path.rmdir() if path.is_dir() else None
            path.touch()
    finally:
        path.write_text(text)
