"""Cells of a comparison with gains small enough to work out by hand."""

import numpy as np

from train.comparison.cell_file import FinishedCell


def cell(
    selector: str, seed: int, gains: list[float], *, flops: float = 10.0, budget: str = "steps", dataset: str = "nq"
) -> FinishedCell:
    return {
        "settings": "abc",
        "dataset": dataset,
        "seed": seed,
        "layers": [1],
        "budget": budget,
        "steps": 4,
        "learning_rate": 1e-3,
        "before": 0.25,
        "gain": float(np.mean(gains)),
        "gains": gains,
        "flops": flops,
        "seconds": 2.0,
        "trained_parameters": 6,
        "selector": selector,
    }


CELLS = [
    cell("eavss:contrast", 0, [1.0, 0.0, 1.0, 0.0]),
    cell("eavss:contrast", 1, [1.0, 1.0, 1.0, 1.0]),
    cell("random:0", 0, [0.0, 0.0, 1.0, 0.0], flops=12),
    cell("random:1", 0, [0.0, 0.0, 0.0, 0.0], flops=16),
    cell("random:0", 1, [1.0, 0.0, 0.0, 1.0], flops=14),
    cell("all", 0, [1.0, 1.0, 1.0, 0.0], flops=20),
]
