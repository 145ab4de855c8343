"""Figures of rewirings, as a sweep writes them."""

from eavss.choices import RewiringKind
from train.comparison.rewirings import RewiredFigures, SimilarityFigures, average_above_chance
from train.evaluation.retained import Kept, average_kept

BLOCKS = 6
SIMILARITY: SimilarityFigures = {
    "model": "base",
    "matrix": [[1, 0.1, 0.1], [0.1, 1, 0.8], [0.1, 0.8, 1]],
    "groups": [[0], [1, 2], []],
    "means": [[None, 0.1, None], [0.1, 0.8, None], [None, None, None]],
    "explained": 1.0,
}


def row(metric: str, whole: float, changed: float, chance: float | None) -> Kept:
    """Make a row of what is kept, of a set that has the metric's name."""
    return {
        "set": "toy",
        "metric": metric,
        "n": 4,
        "whole": whole,
        "changed": changed,
        "chance": chance,
        "kept": 1.0,
        "kept_above_chance": None,
    }


def figures(
    kind: RewiringKind,
    group: list[int],
    accuracy: float,
    perplexity: float,
    *,
    model: str = "base",
    seed: int | None = None,
    loops: int | None = None,
) -> RewiredFigures:
    """Make the figures of a trial, of a model whose accuracy is .75 (chance .25) and whose perplexity is 10."""
    kept = [
        row("acc", 0.75, accuracy, 0.25),
        row("perplexity", 10, perplexity, None),
        row("word_perplexity", 20, 2 * perplexity, None),
    ]
    return {
        "model": model,
        "kind": kind,
        "group": group,
        "seed": seed,
        "loops": loops,
        "kept": kept,
        "average": average_kept(kept),
        "above_chance": average_above_chance(kept),
    }


TRIALS = [
    figures("skipped", [1, 2, 3, 4], 0.5, 20),
    figures("skipped", [2, 3], 0.75, 15),
    figures("shuffled", [1, 2, 3, 4], 0.25, 10, seed=0),
    figures("shuffled", [1, 2, 3, 4], 0.75, 1000, seed=1),
    figures("looped_parallel", [1, 3], 0.25, 50, loops=2),
    figures("swapped", [1, 2], 0.75, 11),
    figures("swapped", [3, 4], 0.7, 12),
]
