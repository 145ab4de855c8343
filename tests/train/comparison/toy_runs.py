"""Folders of finished runs, small enough to work out by hand."""

import json
from pathlib import Path
from typing import Any

BEFORE = [0.0, 1.0, 0.0, 1.0]


def write_run(folder: Path, dataset: str, seed: int, after: dict[str, list[float]], hidden_gain: float = 0.0) -> Path:
    """Write the folder of a run with at most two sets, whose questions are the same for every seed."""
    (folder / "items").mkdir(parents=True)
    benchmarks = {}
    for name, values in after.items():
        metric = "acc" if name == "sciq" else "contrast_accuracy"
        lines = [
            {
                "question": f"{name} {number}",
                "before": {"metrics": {metric: old}, "hidden": {metric: 0.5}},
                "after": {"metrics": {metric: new}, "hidden": {metric: 0.5 + hidden_gain}},
            }
            for number, (old, new) in enumerate(zip(BEFORE, values, strict=True))
        ]
        (folder / "items" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        benchmarks[name] = {"change": {metric: {}}}
    results: dict[str, Any] = {
        "dataset": dataset,
        "benchmarks": benchmarks,
        "retention": {
            "wikitext": {"before": {"n": 2, "perplexity": 20.0}, "after": {"n": 2, "perplexity": 20.0 + seed}},
            "lambada": {"before": {"n": 2, "accuracy": 0.5}, "after": {"n": 2, "accuracy": 0.25}},
        },
        "train": {"steps": 10, "seconds": 4.0, "reading_seconds": 1.0, "flops": 3e12, "all_blocks_flops": 6e12},
    }
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "recipe.yaml").write_text(f"dataset: {dataset}\nseed: {seed}\n")
    return folder


def write_runs(folder: Path) -> list[Path]:
    """Write two runs on SciQ and one on NQ."""
    return [
        write_run(folder / "a", "sciq", 0, {"sciq": [1.0, 1.0, 0.0, 1.0], "nq": [0.0, 0.0, 0.0, 1.0]}),
        write_run(folder / "b", "sciq", 2, {"sciq": [1.0, 1.0, 1.0, 1.0]}, hidden_gain=0.25),
        write_run(folder / "c", "nq", 0, {"nq": [1.0, 1.0, 0.0, 1.0]}),
    ]
