"""Training questions become a profile of the blocks, and the profile a selection with what speaks for it."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from eavss.probes import probe_accuracy
from eavss.profile import LayerProfile, PairedBatch, profile_batch
from eavss.records import LayerScores
from eavss.selectors import Form, Selection, check_layers, count_to_select, select_layers
from eavss.soundness import require_sound
from eavss.stability import Stability, stability
from train.recipe.settings import SelectionSettings
from train.runtime.distributed import map_sharded


def score(model: PreTrainedModel, batches: list[PairedBatch]) -> LayerProfile:
    """Profile the blocks of `model` on batches of training questions, divided among the ranks.

    Raises:
        EavssError: see `profile_model`; or the profile says nothing (`eavss.soundness.require_sound`).
    """
    profile = LayerProfile.merge(map_sharded(lambda batch: profile_batch(model, batch), batches, "scoring blocks"))
    require_sound(profile)
    return profile


def block_scores(profile: LayerProfile) -> list[LayerScores]:
    """Return every score that a selector may ask for, one record a block."""
    scores = profile.layer_scores()
    for layer, accuracy in zip(scores, probe_accuracy(profile.states), strict=True):
        layer["probe"] = accuracy
    return scores


@dataclass(frozen=True)
class Choice:
    """A selection of blocks, and what it was made from.

    Args:
        selection: the blocks to train.
        scores: every block's scores.
        stability: how steady the ranking by EAVSS is, in its contrast form, whichever score selects.
        form: which EAVSS the selector reads.
    """

    selection: Selection
    scores: list[LayerScores]
    stability: Stability
    form: Form


def select(profile: LayerProfile, settings: SelectionSettings, seed: int) -> Choice:
    """Select the blocks to train by the profile's scores, or take those that the recipe names.

    Args:
        seed: the seed of the bootstrap, and of the selector `random`.

    Raises:
        EavssError: the recipe names blocks that the model does not have, or its selector scores all blocks alike.
    """
    scores = block_scores(profile)
    count = count_to_select(settings.fraction, len(scores))
    # The contrast form is the claim that the other scores are compared with.
    found = stability(profile.differences, count, seed=seed)
    if settings.layers is not None:
        named = check_layers(settings.layers, len(scores))
        return Choice(Selection(tuple(named), "layers"), scores, found, settings.form)
    blocks = select_layers(
        scores,
        settings.selector,
        settings.fraction,
        form=settings.form,
        estimator=settings.estimator,
        seed=seed,
        draws=found.draws,
    )
    return Choice(Selection(tuple(blocks), settings.selector), scores, found, settings.form)
