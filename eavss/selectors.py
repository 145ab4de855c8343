"""Which blocks to train: plain functions from a profile to layer indices."""

import math
import random
from typing import Any, Literal, get_args

from torch import Tensor

from eavss.errors import EavssError

Selector = Literal[
    "eavss", "hsav", "avss", "block_influence", "probe", "first", "middle", "last", "random", "all", "cost_aware"
]
Form = Literal["contrast", "conditional"]
Estimator = Literal["paper", "scale_free"]
SELECTORS: tuple[str, ...] = get_args(Selector)


def count_to_select(fraction: float, layers: int) -> int:
    """max(1, floor(fraction * L)) blocks."""
    # 1e-9: 0.3 * 10 must give 3, although the float product is below it.
    return max(1, math.floor(fraction * layers + 1e-9))


def select_layers(
    layer_scores: list[dict[str, Any]],
    selector: Selector = "eavss",
    fraction: float = 0.25,
    form: Form = "contrast",
    estimator: Estimator = "paper",
    seed: int = 0,
    draws: Tensor | None = None,
) -> list[int]:
    """The sorted indices of the blocks that `selector` picks.

    Args:
        layer_scores: `LayerProfile.layer_scores()`, or the `layers` of a `layers.json`; one dict a block.
        selector: `eavss`, `hsav`, `avss`, `block_influence` (ShortGPT) and `probe` (`eavss.probes`) take the highest
            scores (of a tie, the deeper block, since it trains cheaper); `first`, `middle` and `last` take neighbours;
            `random` is seeded; `all` takes every block; `cost_aware` is `cheapest_equal`.
        fraction: share of blocks, rounded down, at least one.
        form: which EAVSS.
        estimator: which AVSS.
        draws: (W, L) bootstrap scores, for `cost_aware` alone.

    Raises:
        EavssError: the fraction is not in (0, 1], the selector is unknown, or `cost_aware` has no draws.
    """
    if not 0 < fraction <= 1:
        raise EavssError(f"select_fraction: {fraction} selects no block or too many; it should be above 0, at most 1")
    total = len(layer_scores)
    count = count_to_select(fraction, total)
    match selector:
        case "eavss":
            return _highest([layer["eavss"][form] for layer in layer_scores], count)
        case "hsav":
            return _highest([layer["hsav"] for layer in layer_scores], count)
        case "avss":
            return _highest([layer["avss"][estimator] for layer in layer_scores], count)
        case "block_influence" | "probe":
            return _highest([layer[selector] for layer in layer_scores], count)
        case "first":
            return list(range(count))
        case "middle":
            start = (total - count) // 2
            return list(range(start, start + count))
        case "last":
            return list(range(total - count, total))
        case "random":
            return sorted(random.Random(seed).sample(range(total), count))
        case "all":
            return list(range(total))
        case "cost_aware" if draws is not None:
            return cheapest_equal(draws, count)
        case "cost_aware":
            raise EavssError("selector: 'cost_aware' needs bootstrap scores (eavss.stability)")
    raise EavssError(f"selector: {selector!r} should be one of {', '.join(SELECTORS)}")


def check_layers(layers: list[int], total: int) -> list[int]:
    """An explicit list of layer indices, checked and sorted.

    Raises:
        EavssError: the list is empty, repeats an index, or holds one outside 0 to total - 1. (PEFT takes an empty list
            for "all layers" and ignores an index past the last.)
    """
    if not layers:
        raise EavssError("layers: the list is empty, so no block would be trained; name some, or leave the key out")
    outside = [layer for layer in layers if not 0 <= layer < total]
    if outside:
        raise EavssError(f"layers: {outside} lie outside the model's blocks, which are 0 to {total - 1}")
    if len(set(layers)) < len(layers):
        raise EavssError(f"layers: {layers} names a block twice")
    return sorted(layers)


def _highest(scores: list[float], count: int) -> list[int]:
    return sorted(sorted(range(len(scores)), key=lambda layer: (scores[layer], layer), reverse=True)[:count])


def cheapest_equal(draws: Tensor, count: int) -> list[int]:
    """Of the choices that the bootstrap cannot tell from the best, the one that trains cheapest.

    What a choice of so many blocks costs is set by its lowest block, where the backward pass stops and a frozen prefix
    ends (`eavss.costs`). So for each depth the highest-scoring blocks from there on are compared with the highest of
    all, and the deepest choice is taken whose shortfall in summed score has a 95% bootstrap interval that holds 0.

    Args:
        draws: (W, L) the blocks' scores in each bootstrap (`eavss.stability.Stability.draws`).
        count: how many blocks to select.

    Returns:
        Sorted layer indices.
    """
    scores = draws.mean(0)
    total = len(scores)
    best = _highest(scores.tolist(), count)
    for lowest in range(total - count, best[0], -1):
        choice = [lowest + layer for layer in _highest(scores[lowest:].tolist(), count)]
        shortfall = draws[:, best].sum(1) - draws[:, choice].sum(1)  # (W,)
        if shortfall.quantile(0.025) <= 0:
            return choice
    return best
