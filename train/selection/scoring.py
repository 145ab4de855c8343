"""Training questions become a profile of the blocks, and the profile a selection with what speaks for it."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from eavss.probes import probe_accuracy
from eavss.profile import LayerProfile, PairedBatch, profile_batch
from eavss.records import LayerScores
from eavss.selectors import Form, Selection, check_layers, count_to_select, select_layers
from eavss.similarity import difference_similarity
from eavss.soundness import require_sound
from eavss.stability import Stability, stability
from train.model.kept_tensors import KeptTensors
from train.recipe.settings import SelectionSettings
from train.runtime.distributed import map_sharded
from train.runtime.stages import clock
from train.selection.kept_profile import reuse_or_profile
from train.selection.model_scores import ModelScores


@clock.stage("score")
def score(model: PreTrainedModel, batches: list[PairedBatch], kept: KeptTensors | None = None) -> LayerProfile:
    """Profile the blocks of `model` on batches of training questions, divided among the ranks.

    Args:
        kept: where profiles are kept for later runs; None to make it whatever was kept.

    Raises:
        EavssError: see `profile_model`; or the profile says nothing (`eavss.soundness.require_sound`).
    """

    def make() -> LayerProfile:
        return LayerProfile.merge(map_sharded(lambda batch: profile_batch(model, batch), batches, "scoring blocks"))

    profile = make() if kept is None else reuse_or_profile(model, batches, kept, make)
    require_sound(profile)
    return profile


def block_scores(profile: LayerProfile, more: ModelScores | None = None) -> list[LayerScores]:
    """Return every score that the profile has, one record a block.

    Args:
        more: the scores of a selector that runs the model again, to go with them.
    """
    scores = profile.layer_scores()
    for layer, accuracy in zip(scores, probe_accuracy(profile.states), strict=True):
        layer["probe"] = accuracy
    if more is not None:
        for layer, value in zip(scores, more.scores, strict=True):
            layer[more.selector] = value  # type: ignore[literal-required]
    return scores


@dataclass(frozen=True)
class Choice:
    """A selection of blocks, and what it was made from.

    Args:
        selection: the blocks to train.
        scores: every block's scores.
        stability: how steady the ranking by EAVSS is, in its contrast form, whichever score selects.
        form: which EAVSS the selector reads.
        own_tau: the split-half tau of the selector's own score, where it runs the model again; else None.
    """

    selection: Selection
    scores: list[LayerScores]
    stability: Stability
    form: Form
    own_tau: float | None = None


@clock.stage("select")
def select(profile: LayerProfile, settings: SelectionSettings, seed: int, more: ModelScores | None = None) -> Choice:
    """Select the blocks to train by the profile's scores, or take those that the recipe names.

    Args:
        more: the selector's scores, where it runs the model again (`model_scores`).
        seed: the seed of the bootstrap, and of the selector `random`.

    Raises:
        EavssError: the recipe names blocks that the model does not have, or its selector scores all blocks alike.
    """
    scores = block_scores(profile, more)
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
        similarity=difference_similarity(profile.differences) if settings.selector == "diverse" else None,
    )
    own_tau = more.split_half_tau if more else None
    return Choice(Selection(tuple(blocks), settings.selector), scores, found, settings.form, own_tau)
