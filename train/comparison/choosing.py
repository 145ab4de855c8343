"""Choose what to train by any selector, from one set of scoring questions, and count what the choice takes."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TypeVar, cast

import torch
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from eavss.costs import flop_counter
from eavss.gradients import GradientProfile
from eavss.profile import LayerProfile, PairedBatch
from eavss.records import LayerScores
from eavss.scores import eavss_of_shares, hsav_of_shares
from eavss.selectors import (
    MODEL_SELECTORS,
    Estimator,
    Form,
    Selection,
    Selector,
    count_to_select,
    fill,
    select_layers,
    share_ranks,
)
from eavss.similarity import difference_similarity
from eavss.stability import bootstrap_weights, resampled_scores, split_half_tau
from train.comparison.cell_file import Scoring
from train.comparison.selector_names import NamedSelector, parse_selector
from train.model.lora_counts import adapter_sizes
from train.recipe.arguments import EavssArguments
from train.selection.model_scores import ModelScores, model_scores
from train.selection.scoring import block_scores, score

_UNSCORED = ("first", "middle", "last", "random", "all", "layers")
# Chance, of a probe that tells two answers apart.
_CHANCE = 0.5
_Result = TypeVar("_Result")


class Chooser:
    """Selectors on one data set and seed, which share a profile of the base.

    Args:
        model: the base, without an adapter whenever something is chosen.
        batches: the profile's answers.
        args: the recipe.
        seed: of the bootstrap and of the random halves.
    """

    def __init__(self, model: PreTrainedModel, batches: list[PairedBatch], args: EavssArguments, seed: int) -> None:
        self._model, self._batches, self._args, self._seed = model, batches, args, seed
        self._again = cache(self._model_scores)

    def selection(self, name: str) -> Selection:
        """Return what a selector picks, or the blocks that its name lists.

        Raises:
            RecipeError: there is no such selector.
        """
        named = parse_selector(name)
        if named.layers:
            return Selection(tuple(sorted(named.layers)), name)
        if named.selector in ("parts", "ranks"):
            ranks = self._part_ranks() if named.selector == "parts" else self._shared_ranks(named)
            return Selection(tuple(sorted({int(each.partition(".")[0]) for each in ranks})), name, ranks)
        draws, similarity = None, None
        if named.selector == "cost_aware":
            weights = bootstrap_weights(self._profile.questions, 200, self._seed)
            draws = resampled_scores(self._profile.differences, weights)
        if named.selector == "diverse":
            similarity = difference_similarity(self._profile.differences)
        blocks = select_layers(
            self._scores(named.selector),
            cast(Selector, named.selector),
            self._args.select_fraction,
            form=cast(Form, named.form),
            estimator=cast(Estimator, named.estimator),
            seed=named.seed,
            draws=draws,
            similarity=similarity,
        )
        return Selection(tuple(blocks), name)

    def scoring(self, name: str) -> Scoring:
        """Return what the selector's scores took, and how steady they are."""
        named = parse_selector(name)
        scorer = named.score or named.selector
        if scorer in _UNSCORED:
            return Scoring(0.0, None)
        if scorer in (*MODEL_SELECTORS, "parts"):
            (found, flops) = self._again("gradient" if scorer == "parts" else scorer)
            return Scoring(flops, found.split_half_tau)
        differences, n = self._profile.differences, self._profile.questions
        reduce = {"hsav": hsav_of_shares, **dict.fromkeys(("eavss", "diverse", "cost_aware"), eavss_of_shares)}.get(
            scorer
        )
        tau = None
        if reduce is not None and named.form == "contrast":
            tau = split_half_tau(lambda w: resampled_scores(differences, w, reduce), n, seed=self._seed)
        return Scoring(self._profiled[1], tau)

    @property
    def _profile(self) -> LayerProfile:
        return self._profiled[0]

    @cached_property
    def _profiled(self) -> tuple[LayerProfile, float]:
        return _counted(lambda: score(self._model, self._batches))

    @cached_property
    def _profile_scores(self) -> list[LayerScores]:
        return block_scores(self._profile)

    def _scores(self, selector: str) -> list[LayerScores]:
        if selector not in MODEL_SELECTORS:
            return self._profile_scores
        return block_scores(self._profile, self._again(selector)[0])

    def _model_scores(self, selector: str) -> tuple[ModelScores, float]:
        found, flops = _counted(lambda: model_scores(self._model, self._batches, selector, self._seed))
        assert found is not None
        return found, flops

    def _part_ranks(self) -> dict[str, int]:
        """Put the recipe's rank on the attention and MLPs whose gradient is largest for their size.

        They have at most as many parameters as whole blocks would.
        """
        gradients = self._again("gradient")[0].gradients
        assert gradients is not None
        sizes = adapter_sizes(self._model, self._args.lora)
        total = len(find_blocks(self._model).modules)
        budget = count_to_select(self._args.select_fraction, total) * sum(sizes.values()) // total
        return dict.fromkeys(best_parts(gradients, sizes, budget), self._args.lora.r)

    def _shared_ranks(self, named: NamedSelector) -> dict[str, int]:
        """Share out the ranks of whole blocks in proportion to a score."""
        scores = self._scores(named.score)
        count = count_to_select(self._args.select_fraction, len(scores))
        values = [_value(layer, named.score) for layer in scores]
        ranks = share_ranks(values, count * self._args.lora.r)
        names = adapter_sizes(self._model, self._args.lora)
        by_name = {name: ranks[int(name.partition(".")[0])] for name in names}
        return {name: rank for name, rank in by_name.items() if rank}


def best_parts(gradients: GradientProfile, sizes: Mapping[str, int], budget: int) -> list[str]:
    """Return the linear layers of the parts (attention or MLP of a block) with the largest gradients for their size.

    A part's value is the squared norm of its mean gradient, over its number of inputs and outputs, the parameters that
    a rank costs.

    Args:
        gradients: of the scoring questions.
        sizes: the inputs and outputs of each linear layer that can get an adapter, by name as "3.mlp.up_proj".
        budget: the inputs and outputs of all parts together, at most.
    """
    squares = gradients.matrix_squares(torch.ones(1, len(gradients.differences)))[0].tolist()
    parts: dict[tuple[int, str], list[str]] = {}
    values: dict[tuple[int, str], float] = {}
    for matrix, square in zip(gradients.matrices, squares, strict=True):
        name, part = f"{matrix.layer}.{matrix.name}", (matrix.layer, matrix.part)
        if name in sizes:
            parts.setdefault(part, []).append(name)
            values[part] = values.get(part, 0.0) + square
    taken = fill(list(values.values()), [sum(sizes[name] for name in names) for names in parts.values()], budget)
    every = list(parts.values())
    return [name for number in taken for name in every[number]]


def _value(layer: LayerScores, name: str) -> float:
    """Return the score that ranks are shared out by: in a probe's accuracy, what it has above chance."""
    if name == "probe":
        return layer["probe"] - _CHANCE
    if name in ("eavss", "avss"):
        return layer["eavss"]["contrast"] if name == "eavss" else layer["avss"]["paper"]
    return cast(float, layer[name])  # type: ignore[literal-required]


def _counted(function: Callable[[], _Result]) -> tuple[_Result, float]:
    """Return what a function returns, and the FLOPs that it takes."""
    with flop_counter() as counter:
        result = function()
    return result, float(counter.get_total_flops())
