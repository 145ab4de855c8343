"""What finished runs came to together: the same recipe over seeds, and each recipe on every set."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from train.comparison.selectors import Floats, hierarchical_draws, interval
from train.evaluation.evaluate import item_file
from train.evaluation.metrics import CONTRAST, LEADING
from train.runtime.errors import RecipeError

# Of each question of a set, `before` and `after`; where they were measured `hidden_before` and `hidden_after` too.
Values = dict[str, Floats]


@dataclass(frozen=True)
class Run:
    """A finished run, read back from its folder."""

    dataset: str
    seed: int
    results: dict[str, Any]
    folder: Path

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other runs of a summary."""
        return self.dataset, self.seed

    @staticmethod
    def read(folder: Path) -> "Run":
        """Read `results.json` and the seed in `recipe.yaml`.

        Raises:
            RecipeError: the folder is not that of a finished run.
        """
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
            return Run(results["dataset"], int(recipe.get("seed", 42)), results, folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
            raise RecipeError(f"{folder} is not the folder of a finished run: results.json or recipe.yaml") from None

    def items(self, name: str) -> list[dict[str, Any]]:
        """The lines of one set's file in `items/`.

        Raises:
            RecipeError: there is no such file, or it holds something else.
        """
        path = self.folder / "items" / item_file(name)
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            raise RecipeError(f"{path} does not hold the questions that results.json speaks of") from None


def values_of(items: list[dict[str, Any]], metric: str) -> Values:
    """A metric of every question of one set, (n,) each, from `Run.items`."""
    return {
        prefix + moment: np.array([line[moment][kind][metric] for line in items])
        for moment in ("before", "after")
        for prefix, kind in (("", "metrics"), ("hidden_", "hidden"))
        if metric in items[0][moment].get(kind, {})
    }


def metrics_of(results: dict[str, Any], name: str, leading_only: bool) -> list[str]:
    """The set's leading metric, or all of it that `results` hold."""
    leading = LEADING.get(name, CONTRAST)
    return [leading] if leading_only else [leading, *(m for m in results["benchmarks"][name]["change"] if m != leading)]


def summarise_runs(runs: list[Run], leading_only: bool = True, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each training set, evaluated set and metric, over all of its seeds.

    Args:
        runs: of one recipe for each training set.
        leading_only: the metric alone that leads each evaluated set.
        seed: of the bootstrap over seeds and questions.

    Returns:
        Rows with `trained_on`, `set`, `metric`, `seeds`, `n`, `before`, `after`, `change` and its 95% `interval`, and
        `gained`, the change of what a question's metric is above its hidden one, or None.
    """
    rows = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        own = [run for run in runs if run.dataset == dataset]
        for name in dict.fromkeys(name for run in own for name in run.results["benchmarks"]):
            having = [run for run in own if name in run.results["benchmarks"]]
            items = {run.seed: run.items(name) for run in having}
            for metric in metrics_of(having[0].results, name, leading_only):
                rows.append({"trained_on": dataset, "set": name, "metric": metric} | _row(items, metric, seed))
    return rows


def _row(items: dict[int, list[dict[str, Any]]], metric: str, seed: int) -> dict[str, Any]:
    """Of each training seed's questions."""
    values = {own: values_of(lines, metric) for own, lines in items.items()}
    questions = {own: [line["question"] for line in lines] for own, lines in items.items()}
    changes = {own: (v["after"] - v["before"])[None] for own, v in values.items()}
    hidden = [v for v in values.values() if "hidden_after" in v]
    gained = [v["after"] - v["before"] - (v["hidden_after"] - v["hidden_before"]) for v in hidden]
    return {
        "seeds": len(values),
        "n": round(fmean(len(v["before"]) for v in values.values())),
        "before": fmean(v["before"].mean() for v in values.values()),
        "after": fmean(v["after"].mean() for v in values.values()),
        "change": fmean(change.mean() for change in changes.values()),
        "interval": interval(hierarchical_draws(changes, seed, questions)),
        "gained": fmean(g.mean() for g in gained) if gained else None,
    }


def costs_of(runs: list[Run]) -> list[dict[str, Any]]:
    """A row for each training set: means over its seeds of what was kept, and of what training took."""
    rows = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        own = [run.results for run in runs if run.dataset == dataset]
        train = {key: fmean(r["train"][key] for r in own) for key in ("steps", "flops", "all_blocks_flops")}
        seconds = fmean(r["train"]["seconds"] + r["train"]["reading_seconds"] for r in own)
        rows.append({"trained_on": dataset, **train, "seconds": seconds, "retention": _retention(own)})
    return rows


def _retention(results: list[dict[str, Any]]) -> dict[str, float]:
    """Changes by "set metric": of perplexities relative, of accuracies in points."""
    found: dict[str, list[float]] = {}
    for each in results:
        for name, figures in each["retention"].items():
            for metric, before in figures["before"].items():
                after = figures["after"][metric]
                if metric.endswith("perplexity"):
                    found.setdefault(f"{name} {metric}", []).append(after / before - 1)
                elif metric != "n":
                    found.setdefault(f"{name} {metric}", []).append(after - before)
    return {name: fmean(values) for name, values in found.items()}


def summary_table(rows: list[dict[str, Any]]) -> str:
    """The rows of `summarise_runs` in Markdown, in points."""
    lines = [
        "| trained on | evaluated on | metric | seeds | n | before | after | change | 95% | relative | "
        "on the question |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval"]
        gained = "" if row["gained"] is None else f"{100 * row['gained']:+.1f}"
        relative = f"{row['after'] / row['before'] - 1:+.0%}" if row["before"] else ""
        lines.append(
            f"| {row['trained_on']} | {row['set']} | {row['metric']} | {row['seeds']} | {row['n']} | "
            f"{row['before']:.3f} | {row['after']:.3f} | {100 * row['change']:+.1f} | "
            f"{100 * low:+.1f} to {100 * high:+.1f} | {relative} | {gained} |"
        )
    return "\n".join(lines)


def transfer_table(rows: list[dict[str, Any]]) -> str:
    """The change in each set's leading metric by training set, in points, in Markdown; below it, the part of it that
    was gained on the question. ~ marks an interval that holds 0."""
    names = list(dict.fromkeys(row["set"] for row in rows))
    cells = {(row["trained_on"], row["set"]): row for row in rows if row["metric"] == LEADING.get(row["set"], CONTRAST)}
    lines = ["| trained on | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for dataset in dict.fromkeys(row["trained_on"] for row in rows):
        own = [_cell(cells.get((dataset, name))) for name in names]
        lines.append(f"| {dataset} | " + " | ".join(own) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    noise = " ~" if row["interval"][0] <= 0 <= row["interval"][1] else ""
    gained = "" if row["gained"] is None else f" ({100 * row['gained']:+.1f})"
    return f"{100 * row['change']:+.1f}{noise}{gained}"


def cost_table(rows: list[dict[str, Any]]) -> str:
    """The rows of `costs_of` in Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row["retention"]))
    lines = [
        "| trained on | steps | s | TFLOPs | of all blocks' | " + " | ".join(names) + " |",
        "|---" * (len(names) + 5) + "|",
    ]
    for row in rows:
        kept = (_kept(name, row["retention"].get(name)) for name in names)
        lines.append(
            f"| {row['trained_on']} | {row['steps']:.0f} | {row['seconds']:.0f} | {row['flops'] / 1e12:.1f} | "
            f"{row['flops'] / row['all_blocks_flops']:.0%} | " + " | ".join(kept) + " |"
        )
    return "\n".join(lines)


def _kept(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.1%}" if name.endswith("perplexity") else f"{100 * value:+.1f} points"
