"""Which blocks to train: plain functions from a profile to layer indices."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

from eavss.errors import EavssError
from eavss.records import LayerScores

if TYPE_CHECKING:
    from torch import Tensor

# Selectors whose scores need more than the profile: they run the model again, with gradients or with a block changed.
ModelSelector = Literal["gradient", "activity", "patching", "dropping", "repeating"]
ScoreSelector = Literal["eavss", "hsav", "avss", "block_influence", "probe", ModelSelector]
Selector = Literal[ScoreSelector, "diverse", "cost_aware", "first", "middle", "last", "random", "all"]
Form = Literal["contrast", "conditional"]
Estimator = Literal["paper", "scale_free"]
SELECTORS: tuple[str, ...] = get_args(Selector)
_WHERE = {
    "probe": "probes",
    "gradient": "gradients",
    "activity": "activity",
    **dict.fromkeys(("patching", "dropping", "repeating"), "causal"),
}
MODEL_SELECTORS: tuple[str, ...] = get_args(ModelSelector)


@dataclass(frozen=True)
class Selection:
    """The blocks to train, and what chose them.

    Args:
        blocks: indices of at least one block, ascending, each once.
        source: the selector's name, or `layers` where the blocks were named by hand.
        ranks: the rank of the adapter on each linear layer of the blocks, by the block's index and the layer's name in
            it, as "3.mlp.up_proj"; None for all of them with the recipe's rank.

    Raises:
        EavssError: there is no block, or the indices do not ascend.
    """

    blocks: tuple[int, ...]
    source: str
    ranks: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not self.blocks or self.blocks[0] < 0 or any(a >= b for a, b in pairwise(self.blocks)):
            raise EavssError(f"a selection of blocks should name each once, in ascending order; got {self.blocks}")

    @property
    def lowest(self) -> int:
        """The lowest selected block, where the backward pass ends."""
        return self.blocks[0]


def count_to_select(fraction: float, layers: int) -> int:
    """Return how many of the blocks to select: max(1, floor(fraction * L))."""
    # 1e-9: 0.3 * 10 must give 3, although the float product is below it.
    return max(1, math.floor(fraction * layers + 1e-9))


def select_layers(
    layer_scores: Sequence[LayerScores],
    selector: Selector = "eavss",
    fraction: float = 0.25,
    form: Form = "contrast",
    estimator: Estimator = "paper",
    seed: int = 0,
    draws: "Tensor | None" = None,
    similarity: "Tensor | None" = None,
) -> list[int]:
    """Return the sorted indices of the blocks that `selector` selects.

    Args:
        layer_scores: `LayerProfile.layer_scores()`, or the `layers` of a `layers.json`; one dict a block.
        selector: `eavss`, `hsav`, `avss`, `block_influence` (ShortGPT), `probe` (`eavss.probes`), `gradient`
            (`eavss.gradients`), `activity` (`eavss.activity`), `patching`, `dropping` and `repeating` (`eavss.causal`)
            take the highest scores, and in a tie the deeper block, which is cheaper to train; `first`, `middle` and
            `last` take neighbours; `random` is seeded; `all` takes every block; `cost_aware` is `cheapest_equal`;
            `diverse` is `without_neighbours` of EAVSS.
        fraction: the share of blocks to select, rounded down, at least one.
        form: which EAVSS.
        estimator: which AVSS.
        draws: (W, L) bootstrap scores, for `cost_aware` alone.
        similarity: (L, L) how alike two blocks are (`eavss.similarity.difference_similarity`), for `diverse` alone.

    Raises:
        EavssError: the fraction is not in (0, 1], the selector is unknown, it scores all blocks alike, or what it needs
            is not there.
    """
    if not 0 < fraction <= 1:
        raise EavssError(f"select_fraction: {fraction} selects no block or too many; it should be above 0, at most 1")
    total = len(layer_scores)
    count = count_to_select(fraction, total)
    if selector in get_args(ScoreSelector):
        values = [_score(layer, selector, form, estimator) for layer in layer_scores]
        _require_ranking(values, selector, count)
        return _highest(values, count)
    if selector == "cost_aware":
        return cheapest_equal(_needed(draws, "cost_aware", "bootstrap scores (eavss.stability)"), count)
    if selector == "diverse":
        similarity = _needed(similarity, "diverse", "the blocks' similarity (eavss.similarity)")
        return without_neighbours([layer["eavss"][form] for layer in layer_scores], similarity, count)
    return _unscored(selector, total, count, seed)


def _unscored(selector: Selector, total: int, count: int, seed: int) -> list[int]:
    match selector:
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
    raise EavssError(f"selector: {selector!r} should be one of {', '.join(SELECTORS)}")


def _needed(tensor: "Tensor | None", selector: str, what: str) -> "Tensor":
    if tensor is None:
        raise EavssError(f"selector: {selector!r} needs {what}")
    return tensor


def _require_ranking(values: Sequence[float], selector: Selector, count: int) -> None:
    """Refuse to select some blocks by scores that are all alike."""
    if selector != "probe" and len(values) > count and len(set(values)) == 1:  # a probe may be right at every block
        raise EavssError(
            f"selector: {selector} scores every block {values[0]:.3g}, so it has no reason for any; "
            "name blocks with `layers`, or take another selector"
        )


def _score(layer: LayerScores, selector: Selector, form: Form, estimator: Estimator) -> float:
    if selector == "eavss":
        return layer["eavss"][form]
    if selector not in layer:
        raise EavssError(f"selector: {selector!r} needs scores that are not there (eavss.{_WHERE[selector]})")
    return layer["avss"][estimator] if selector == "avss" else layer[selector]  # type: ignore[typeddict-item, no-any-return]


def check_layers(layers: list[int], total: int) -> list[int]:
    """Check an explicit list of layer indices and sort it.

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


def cheapest_equal(draws: "Tensor", count: int) -> list[int]:
    """Return the cheapest of the choices that the bootstrap cannot tell from the best one.

    The cost of a choice depends on its lowest block, where the backward pass ends and training starts
    (`eavss.costs`). So for each depth the highest-scoring blocks from there on are compared with the highest-scoring
    blocks of all. The deepest choice is taken whose shortfall in summed score has a 95% bootstrap interval that holds
    0.

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


def without_neighbours(scores: Sequence[float], similarity: "Tensor", count: int) -> list[int]:
    """Take one block after the other, each time the one with the highest score less its likeness to those taken.

    This is maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998, with lambda = 1/2): the score, divided by
    the largest, less the highest similarity with a block that was taken already. In a tie the deeper block is taken.

    Args:
        scores: of the L blocks; the largest is that of the highest absolute value.
        similarity: (L, L), 1 for a block and itself.
        count: how many blocks to take.

    Returns:
        Sorted layer indices.
    """
    alike, largest = similarity.tolist(), max(map(abs, scores)) or 1.0
    taken: list[int] = []
    for _ in range(count):
        rest = [layer for layer in range(len(scores)) if layer not in taken]
        gains = {k: scores[k] / largest - max((alike[k][other] for other in taken), default=0.0) for k in rest}
        taken.append(max(rest, key=lambda layer: (gains[layer], layer)))
    return sorted(taken)


def share_ranks(scores: Sequence[float], total: int) -> list[int]:
    """Share out `total` ranks among the blocks in proportion to their scores, by largest remainders.

    A score below 0 counts as 0. In a tie the deeper block gets the rank.

    Raises:
        EavssError: no score is above 0.
    """
    positive = [max(0.0, score) for score in scores]
    if not any(positive):
        raise EavssError("ranks cannot be shared out by scores of which none is above 0")
    exact = [total * score / sum(positive) for score in positive]
    ranks = [math.floor(share) for share in exact]
    by_rest = sorted(range(len(ranks)), key=lambda layer: (exact[layer] - ranks[layer], layer), reverse=True)
    for layer in by_rest[: total - sum(ranks)]:
        ranks[layer] += 1
    return ranks


def fill(values: Sequence[float], sizes: Sequence[int], budget: int) -> list[int]:
    """Take the items of the highest value for their size, as long as they fit into the budget; return sorted indices.

    An item that does not fit any more is passed over for a smaller one of less value.
    """
    taken: list[int] = []
    for item in sorted(range(len(values)), key=lambda item: (values[item] / sizes[item], item), reverse=True):
        if sum(sizes[other] for other in taken) + sizes[item] <= budget:
            taken.append(item)
    return sorted(taken)
