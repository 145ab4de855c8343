"""Scores of selectors that run the model again, and the selection made from them."""

from dataclasses import replace

import pytest
import torch

from eavss.causal import causal_effects
from eavss.profile import PairedBatch
from eavss.selectors import MODEL_SELECTORS
from tests.toys import BLOCKS, EXAMPLES, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.recipe.settings import SelectionSettings
from train.runtime.errors import RecipeError
from train.selection import model_scores as module
from train.selection.model_scores import model_scores
from train.selection.scoring import score, select


def batches(examples: int = 6) -> list[PairedBatch]:
    return paired_batches(EXAMPLES[:examples], Encoder(tiny_tokenizer(), "plain", 128), 2, 300, 0)


@pytest.mark.parametrize("selector", MODEL_SELECTORS)
def test_the_blocks_with_the_highest_scores_are_selected(selector: str) -> None:
    model = tiny_model("llama")
    found = model_scores(model, batches(), selector, 0)
    assert found is not None
    assert len(found.scores) == BLOCKS
    assert -1 <= found.split_half_tau <= 1
    settings = SelectionSettings(selector=selector, fraction=0.25)  # type: ignore[arg-type]
    choice = select(score(model, batches()), settings, 0, found)
    assert choice.selection.blocks == (max(range(BLOCKS), key=lambda layer: found.scores[layer]),)
    assert (choice.selection.source, choice.own_tau) == (selector, found.split_half_tau)
    assert [layer[selector] for layer in choice.scores] == found.scores  # type: ignore[literal-required]


def test_an_effect_counts_whichever_its_sign_and_in_the_mean() -> None:
    """With the truthful and the hallucinated answers the other way round, the effects change their signs alone."""
    model = tiny_model("llama")
    swapped = [replace(batch, hallucinated=~batch.hallucinated) for batch in batches()]
    first, second = (model_scores(model, given, "dropping", 0) for given in (batches(), swapped))
    effects = torch.cat([causal_effects(model, batch, "dropping") for batch in batches()])
    assert first is not None
    assert second is not None
    assert first.scores == pytest.approx(effects.mean(0).abs().tolist(), rel=1e-5)
    assert first.scores == pytest.approx(second.scores, rel=1e-3)


@pytest.mark.parametrize("selector", ["eavss", "middle", "diverse", "cost_aware"])
def test_others_need_the_profile_alone(selector: str) -> None:
    assert model_scores(tiny_model("llama"), batches(), selector, 0) is None


def test_a_divided_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_divided", lambda _model: True)
    with pytest.raises(RecipeError, match="selector: 'gradient' needs a whole model on each rank, and ZeRO-3 divides"):
        model_scores(tiny_model("llama"), batches(), "gradient", 0)


def test_one_question_is_too_few() -> None:
    with pytest.raises(RecipeError, match="selector: 'patching' needs two questions or more"):
        model_scores(tiny_model("llama"), batches(1), "patching", 0)
