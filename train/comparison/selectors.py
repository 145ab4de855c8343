"""Sum up the cells of a comparison of selectors, with intervals over everything that was drawn at random."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import TypedDict

import numpy as np

from train.comparison.cell_file import STEPS, FinishedCell
from train.evaluation.statistics import Floats, hierarchical_draws, percentile_interval

RANDOM, ALL = "random", "all"


class _AboveRandom(TypedDict):
    above_random: float | None
    above_random_interval: list[float] | None


class SelectorRow(_AboveRandom):
    """One selector on one data set under one budget, over its seeds.

    Args:
        dataset, budget, selector: what the row is about; all `random:N` make one row `random`.
        seeds: the number of seeds.
        gain: the mean change in the leading metric.
        interval: its 95% interval.
        above_random: the gain less that of random blocks, paired by seed and question; None without random blocks.
        above_random_interval: the 95% interval of `above_random`.
        steps, flops, seconds, trained_parameters: means over the cells.
        share_of_all: the FLOPs as a share of those that as many steps take on all blocks; None without such a cell.
    """

    dataset: str
    budget: str
    selector: str
    seeds: int
    gain: float
    interval: list[float]
    steps: float
    flops: float
    share_of_all: float | None
    seconds: float
    trained_parameters: int


def summarise(cells: Sequence[FinishedCell], seed: int = 0) -> list[SelectorRow]:
    """Return one row for each data set, budget and selector, in the order in which they first appear.

    Args:
        cells: cells of whole runs, without those of the grid of learning rates.
        seed: the seed of the bootstrap.
    """
    rows: list[SelectorRow] = []
    for dataset, budget in dict.fromkeys((cell["dataset"], cell["budget"]) for cell in cells):
        here = [cell for cell in cells if (cell["dataset"], cell["budget"]) == (dataset, budget)]
        by_selector = _by_selector(here)
        all_flops = [c["flops"] for c in cells if (c["dataset"], c["selector"], c["budget"]) == (dataset, ALL, STEPS)]
        for selector, members in by_selector.items():
            gains = _gains(members)
            chance = _gains(by_selector[RANDOM]) if RANDOM in by_selector and selector != RANDOM else {}
            flops = fmean(cell["flops"] for cell in members)
            rows.append(
                {
                    "dataset": dataset,
                    "budget": budget,
                    "selector": selector,
                    "seeds": len(gains),
                    "gain": _mean(gains),
                    "interval": percentile_interval(hierarchical_draws(gains, seed)),
                    **_above_random(gains, chance, seed),
                    "steps": fmean(cell["steps"] for cell in members),
                    "flops": flops,
                    "share_of_all": flops / fmean(all_flops) if all_flops else None,
                    "seconds": fmean(cell["seconds"] for cell in members),
                    "trained_parameters": round(fmean(cell["trained_parameters"] for cell in members)),
                }
            )
    return rows


def _by_selector(cells: Sequence[FinishedCell]) -> dict[str, list[FinishedCell]]:
    found: dict[str, list[FinishedCell]] = defaultdict(list)
    for cell in cells:
        name = cell["selector"]
        found[RANDOM if name.startswith(f"{RANDOM}:") else name].append(cell)
    return found


def _gains(cells: Sequence[FinishedCell]) -> dict[int, Floats]:
    """Return the gains of n questions under each of K choices for each seed, (K, n)."""
    by_seed: dict[int, list[list[float]]] = defaultdict(list)
    for cell in cells:
        by_seed[cell["seed"]].append(cell["gains"])
    return {seed: np.array(rows) for seed, rows in sorted(by_seed.items())}


def _mean(gains: dict[int, Floats]) -> float:
    return float(np.mean([rows.mean() for rows in gains.values()]))


def _above_random(gains: dict[int, Floats], chance: dict[int, Floats], seed: int) -> _AboveRandom:
    common = sorted(gains.keys() & chance.keys())
    if not common:
        return {"above_random": None, "above_random_interval": None}
    ours, theirs = {s: gains[s] for s in common}, {s: chance[s] for s in common}
    draws = hierarchical_draws(ours, seed) - hierarchical_draws(theirs, seed)
    return {"above_random": _mean(ours) - _mean(theirs), "above_random_interval": percentile_interval(draws)}


def pareto_front(rows: Sequence[SelectorRow]) -> list[SelectorRow]:
    """Return the rows that no other row beats in gain at no more FLOPs, the cheapest first."""
    front: list[SelectorRow] = []
    for row in sorted(rows, key=lambda row: (row["flops"], -row["gain"])):
        if not front or row["gain"] > front[-1]["gain"]:
            front.append(row)
    return front
