"""The scores of selectors that run the model again: with gradients, or with a block dropped, repeated or patched."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from eavss.activity import activity_differences
from eavss.causal import Intervention, causal_effects
from eavss.gradients import GradientProfile, gradient_profile_batch
from eavss.profile import PairedBatch
from eavss.selectors import MODEL_SELECTORS
from eavss.stability import Resampled, mean_effects, split_half_tau
from train.model.sharding import is_divided
from train.runtime.distributed import map_sharded
from train.runtime.errors import RecipeError
from train.runtime.hardware import release_memory


@dataclass(frozen=True)
class ModelScores:
    """The scores of one selector.

    Args:
        selector: its name.
        scores: one of each block.
        split_half_tau: Kendall's tau between the rankings from two random halves of the questions, the mean of 50.
        gradients: what the scores of `gradient` come from; None for the others.
    """

    selector: str
    scores: list[float]
    split_half_tau: float
    gradients: GradientProfile | None = None


def model_scores(model: PreTrainedModel, batches: list[PairedBatch], selector: str, seed: int) -> ModelScores | None:
    """Score the blocks as `selector` asks, the batches divided among the ranks; None if the profile is all it needs.

    Args:
        model: a causal LM, whole on each rank.
        batches: those that the profile was made from.
        selector: its name.
        seed: the seed of the random halves.

    Raises:
        RecipeError: the model is divided among the ranks, or no question can be measured.
        EavssError: see `eavss.causal.causal_effects`.
    """
    if selector not in MODEL_SELECTORS:
        return None
    if is_divided(model):
        raise RecipeError(
            f"selector: {selector!r} needs a whole model on each rank, and ZeRO-3 divides it; choose another selector, "
            "or score with scripts/score_layers.py first and name the blocks (layers)"
        )
    if selector == "gradient":
        parts = map_sharded(lambda batch: gradient_profile_batch(model, batch), batches, "gradients of the answers")
        release_memory()
        gradients = GradientProfile.merge(parts)
        return _scores(selector, gradients.block_norms, len(gradients.differences), seed, gradients)

    def effects_of(batch: PairedBatch) -> Tensor:
        if selector == "activity":
            return activity_differences(model, batch)
        return causal_effects(model, batch, cast(Intervention, selector))

    effects = torch.cat(map_sharded(effects_of, batches, f"scoring blocks by {selector}"))
    release_memory()
    effects = effects[~effects.isnan().any(1)]
    if len(effects) < 2:
        raise RecipeError(f"selector: {selector!r} needs two questions or more whose answers have two tokens or more")
    return _scores(selector, lambda w: mean_effects(effects, w), len(effects), seed)


def _scores(
    selector: str, resampled: Resampled, questions: int, seed: int, gradients: GradientProfile | None = None
) -> ModelScores:
    every: Tensor = resampled(torch.ones(1, questions))[0]
    tau = split_half_tau(resampled, questions, seed=seed)
    return ModelScores(selector, every.tolist(), tau, gradients)
