"""Which way to select blocks is best: the cells of a comparison, summed up with intervals over everything drawn."""

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

# What one training run with one choice of blocks came to: see scripts/compare_selectors.py.
Cell = dict[str, Any]
Floats = NDArray[np.float64]

RANDOM, ALL = "random", "all"
STEPS, FLOPS = "steps", "flops"
_RESAMPLES = 2000


def summarise(cells: list[Cell], seed: int = 0) -> list[dict[str, Any]]:
    """One row for each data set, budget and way to select, in the order in which they first appear.

    Args:
        cells: of whole runs; those of `random:1`, `random:2`, ... make one row.
        seed: of the bootstrap.

    Returns:
        Rows with `gain` and its 95% `interval`, `above_random` (paired by seed and question) and its interval, the mean
        `flops`, `seconds` and `trained_parameters`, and `share_of_all`, the FLOPs as a share of those that the same
        number of steps takes on all blocks. What needs a row that is not there is None.
    """
    rows = []
    for dataset, budget in dict.fromkeys((cell["dataset"], cell["budget"]) for cell in cells):
        here = [cell for cell in cells if (cell["dataset"], cell["budget"]) == (dataset, budget)]
        by_selector = _by_selector(here)
        everything = [c["flops"] for c in cells if (c["dataset"], c["selector"], c["budget"]) == (dataset, ALL, STEPS)]
        for selector, members in by_selector.items():
            gains = _gains(members)
            chance = _gains(by_selector[RANDOM]) if RANDOM in by_selector and selector != RANDOM else None
            flops = fmean(cell["flops"] for cell in members)
            rows.append(
                {
                    "dataset": dataset,
                    "budget": budget,
                    "selector": selector,
                    "seeds": len(gains),
                    "gain": _mean(gains),
                    "interval": interval(hierarchical_draws(gains, seed)),
                    **_above(gains, chance, seed),
                    "steps": fmean(cell["steps"] for cell in members),
                    "flops": flops,
                    "share_of_all": flops / fmean(everything) if everything else None,
                    "seconds": fmean(cell["seconds"] for cell in members),
                    "trained_parameters": round(fmean(cell["trained_parameters"] for cell in members)),
                }
            )
    return rows


def _by_selector(cells: list[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        name = cell["selector"]
        found[RANDOM if name.startswith(f"{RANDOM}:") else name].append(cell)
    return found


def _gains(cells: list[Cell]) -> dict[int, Floats]:
    """For each seed the questions' gains under each of K choices, (K, n)."""
    by_seed: dict[int, list[list[float]]] = defaultdict(list)
    for cell in cells:
        by_seed[cell["seed"]].append(cell["gains"])
    return {seed: np.array(rows) for seed, rows in sorted(by_seed.items())}


def _mean(gains: dict[int, Floats]) -> float:
    return float(np.mean([rows.mean() for rows in gains.values()]))


def hierarchical_draws(gains: dict[int, Floats], seed: int, questions: dict[int, list[str]] | None = None) -> Floats:
    """Means under a hierarchical bootstrap: seeds, then choices within each, and questions, all with replacement.

    A question that several seeds were evaluated on is drawn for all of them alike, since another seed does not make it
    another question. The draws depend on the seeds and the questions alone, so that two ways to select are compared on
    the same draws.

    Args:
        gains: for each seed the questions' gains under each of K choices, (K, n).
        seed: of the bootstrap.
        questions: for each seed the n questions, where they differ between seeds.

    Returns:
        (2000,)
    """
    names = questions or {own: [str(number) for number in range(rows.shape[1])] for own, rows in gains.items()}
    place = {name: number for number, name in enumerate(dict.fromkeys(n for own in gains for n in names[own]))}
    of_questions = _multinomial([seed, len(place)], len(place))
    of_seeds = _multinomial([seed, *gains], len(gains))
    total = np.zeros(_RESAMPLES)
    for column, (own, rows) in enumerate(gains.items()):
        weights = of_questions[:, [place[name] for name in names[own]]]  # (resamples, n)
        means = weights @ rows.T / weights.sum(1, keepdims=True)  # (resamples, K)
        of_choices = _multinomial([seed, own, len(rows)], len(rows))
        total += of_seeds[:, column] * (means * of_choices).sum(1) / len(rows)
    return total / len(gains)


def _multinomial(entropy: list[int], number: int) -> NDArray[np.int64]:
    """How often each of so many things is drawn, as often as there are things, (resamples, number)."""
    return np.random.default_rng(entropy).multinomial(number, [1 / number] * number, _RESAMPLES)


def interval(draws: Floats) -> list[float]:
    """The bounds of the middle 95% of the draws."""
    return [float(bound) for bound in np.quantile(draws, [0.025, 0.975])]


def _above(gains: dict[int, Floats], chance: dict[int, Floats] | None, seed: int) -> dict[str, Any]:
    common = sorted(gains.keys() & chance.keys()) if chance else []
    if not chance or not common:
        return {"above_random": None, "above_random_interval": None}
    ours, theirs = {s: gains[s] for s in common}, {s: chance[s] for s in common}
    return {
        "above_random": _mean(ours) - _mean(theirs),
        "above_random_interval": interval(hierarchical_draws(ours, seed) - hierarchical_draws(theirs, seed)),
    }


def pareto_front(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that none beats in gain at no more FLOPs, cheapest first."""
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["flops"], -row["gain"])):
        if not front or row["gain"] > front[-1]["gain"]:
            front.append(row)
    return front


def comparison_table(rows: list[dict[str, Any]]) -> str:
    """The rows for people, in Markdown, gains in points."""
    lines = [
        "| set | at equal | selector | seeds | gain | 95% | above random | 95% | FLOPs of all | TFLOPs | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        above = "" if row["above_random"] is None else f"{100 * row['above_random']:+.1f}"
        within = "" if row["above_random_interval"] is None else _points(row["above_random_interval"])
        share = "" if row["share_of_all"] is None else f"{row['share_of_all']:.0%}"
        lines.append(
            f"| {row['dataset']} | {row['budget']} | {row['selector']} | {row['seeds']} | {100 * row['gain']:+.1f} | "
            f"{_points(row['interval'])} | {above} | {within} | {share} | {row['flops'] / 1e12:.2f} | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def _points(interval: list[float]) -> str:
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"


def plot_comparison(rows: list[dict[str, Any]], path: Path) -> None:
    """A column a data set, as PNG: above, gain against FLOPs at equal steps with the Pareto front; below, gain at equal
    FLOPs, where all stand at the same cost.
    """
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    figure = Figure(figsize=(5.5 * len(datasets), 8.0), layout="constrained")
    FigureCanvasAgg(figure)
    columns = figure.subplots(2, len(datasets), squeeze=False).T
    for (above, below), dataset in zip(columns, datasets, strict=True):
        here = [row for row in rows if row["dataset"] == dataset]
        _against_flops(above, [row for row in here if row["budget"] == STEPS])
        _ranking(below, [row for row in here if row["budget"] == FLOPS])
        above.set_title(dataset)
        for axes in (above, below):
            axes.spines[["top", "right"]].set_visible(False)
    columns[0][0].set_ylabel("gain on held-out questions, points")
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _against_flops(axes: Axes, rows: list[dict[str, Any]]) -> None:
    front = pareto_front(rows)
    axes.plot([r["flops"] / 1e12 for r in front], [100 * r["gain"] for r in front], color="#94a3b8", zorder=1)
    names: dict[tuple[float, float], list[str]] = defaultdict(list)
    for row in rows:
        at, gain = row["flops"] / 1e12, 100 * row["gain"]
        axes.vlines(at, *(100 * bound for bound in row["interval"]), color=_colour(row), linewidth=0.6, alpha=0.5)
        axes.scatter(at, gain, s=26, color=_colour(row))
        names[at, gain].append(row["selector"])
    for place, together in names.items():  # choices of the same blocks share a point
        axes.annotate("\n".join(together), place, (4, 3), textcoords="offset points", fontsize=7)
    axes.margins(x=0.15)  # room for the names
    axes.set_xlabel("TFLOPs, at equal steps")


def _ranking(axes: Axes, rows: list[dict[str, Any]]) -> None:
    ranked = sorted(rows, key=lambda row: row["gain"])
    for place, row in enumerate(ranked):
        axes.hlines(place, *(100 * bound for bound in row["interval"]), color=_colour(row), linewidth=0.9)
        axes.scatter(100 * row["gain"], place, s=26, color=_colour(row))
    axes.set_yticks(range(len(ranked)), [row["selector"] for row in ranked], fontsize=8)
    axes.set_xlabel("gain on held-out questions, points, at equal FLOPs")


def _colour(row: dict[str, Any]) -> str:
    return "#c2410c" if row["selector"].startswith("eavss") else "#334155"
