"""Sum up the cells of a comparison of selectors, with intervals over everything that was drawn at random."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TypedDict

import numpy as np

from train.comparison.cell_file import STEPS, FinishedCell
from train.evaluation.statistics import Floats, hierarchical_draws, percentile_interval

RANDOM, ALL, MIDDLE = "random", "all", "middle"


class SelectorRow(TypedDict):
    """One selector on one data set under one budget, over its seeds.

    Args:
        dataset, budget, selector: what the row is about; all `random:N` make one row `random`.
        seeds: the number of seeds.
        gain: the mean change in the leading metric.
        interval: its 95% interval.
        above_random: the gain less that of random blocks, paired by seed and question; None without random blocks.
        above_random_interval: the 95% interval of `above_random`.
        above_middle, above_middle_interval: the same for the middle blocks, which need no score.
        steps, flops, seconds, trained_parameters: means over the cells.
        scoring_flops: the mean FLOPs of scoring; None where a cell does not say (earlier versions).
        split_half_tau: how steady the scores are, the mean over the cells; None without a ranking.
        share_of_all: the FLOPs as a share of those that as many steps take on all blocks; None without such a cell.
    """

    dataset: str
    budget: str
    selector: str
    seeds: int
    gain: float
    interval: list[float]
    above_random: float | None
    above_random_interval: list[float] | None
    above_middle: float | None
    above_middle_interval: list[float] | None
    steps: float
    flops: float
    share_of_all: float | None
    seconds: float
    trained_parameters: int
    scoring_flops: float | None
    split_half_tau: float | None


class Lead(TypedDict):
    """How much more a selector gains than the middle blocks, over all data sets together.

    Args:
        budget, selector: what the row is about.
        datasets: the sets on which both were tried.
        lead: the mean over the sets of the difference in gain, each paired by seed and question.
        interval: its 95% interval. Sets are drawn apart from each other, and are not drawn themselves.
    """

    budget: str
    selector: str
    datasets: list[str]
    lead: float
    interval: list[float]


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
            chance = _above(gains, by_selector, RANDOM, selector, seed)
            middle = _above(gains, by_selector, MIDDLE, selector, seed)
            flops = fmean(cell["flops"] for cell in members)
            rows.append(
                {
                    "dataset": dataset,
                    "budget": budget,
                    "selector": selector,
                    "seeds": len(gains),
                    "gain": _mean(gains),
                    "interval": percentile_interval(hierarchical_draws(gains, seed)),
                    "above_random": chance[0] if chance else None,
                    "above_random_interval": chance[1] if chance else None,
                    "above_middle": middle[0] if middle else None,
                    "above_middle_interval": middle[1] if middle else None,
                    "steps": fmean(cell["steps"] for cell in members),
                    "flops": flops,
                    "share_of_all": flops / fmean(all_flops) if all_flops else None,
                    "seconds": fmean(cell["seconds"] for cell in members),
                    "trained_parameters": round(fmean(cell["trained_parameters"] for cell in members)),
                    "scoring_flops": _mean_of([cell.get("scoring_flops") for cell in members]),
                    "split_half_tau": _mean_of([cell.get("split_half_tau") for cell in members]),
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


def _above(
    gains: dict[int, Floats], by_selector: Mapping[str, Sequence[FinishedCell]], other: str, selector: str, seed: int
) -> tuple[float, list[float]] | None:
    """Return the gain less that of another selector, and its interval; None where there is no other."""
    found = _difference(gains, _gains(by_selector[other]), seed) if other in by_selector and selector != other else None
    return (found[0], percentile_interval(found[1])) if found else None


def _difference(gains: dict[int, Floats], others: dict[int, Floats], seed: int) -> tuple[float, Floats] | None:
    """Return the difference in mean gain over the seeds that both have, and its bootstrap draws, (2000,)."""
    common = sorted(gains.keys() & others.keys())
    if not common:
        return None
    ours, theirs = {s: gains[s] for s in common}, {s: others[s] for s in common}
    return _mean(ours) - _mean(theirs), hierarchical_draws(ours, seed) - hierarchical_draws(theirs, seed)


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def leads(cells: Sequence[FinishedCell], seed: int = 0) -> list[Lead]:
    """Return how much more each selector gains than the middle blocks, over all sets on which both were tried.

    Args:
        cells: cells of whole runs, without those of the grid of learning rates.
        seed: the seed of the bootstrap.
    """
    datasets = list(dict.fromkeys(cell["dataset"] for cell in cells))
    grouped = {
        (budget, name): _by_selector([c for c in cells if (c["budget"], c["dataset"]) == (budget, name)])
        for budget in dict.fromkeys(cell["budget"] for cell in cells)
        for name in datasets
    }
    rows: list[Lead] = []
    for budget in dict.fromkeys(budget for budget, _ in grouped):
        for selector in _by_selector(cells):
            found: dict[str, tuple[float, Floats]] = {}
            for number, name in enumerate(datasets):
                here = grouped[budget, name]
                if selector != MIDDLE and MIDDLE in here and selector in here:
                    # Another seed for each set, since sets of as many questions would get the same draws.
                    ahead = _difference(_gains(here[selector]), _gains(here[MIDDLE]), seed + number)
                    found |= {name: ahead} if ahead else {}
            if found:
                draws = np.mean([each[1] for each in found.values()], axis=0)
                rows.append(
                    {
                        "budget": budget,
                        "selector": selector,
                        "datasets": list(found),
                        "lead": fmean(each[0] for each in found.values()),
                        "interval": percentile_interval(draws),
                    }
                )
    return rows


def pareto_front(rows: Sequence[SelectorRow]) -> list[SelectorRow]:
    """Return the rows that no other row beats in gain at no more FLOPs, the cheapest first."""
    front: list[SelectorRow] = []
    for row in sorted(rows, key=lambda row: (row["flops"], -row["gain"])):
        if not front or row["gain"] > front[-1]["gain"]:
            front.append(row)
    return front
