"""The profile, and the selection made from it, on a tiny model."""

import pytest

from eavss.errors import EavssError
from eavss.profile import LayerProfile
from tests.toys import BLOCKS, EXAMPLES, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.recipe.settings import SelectionSettings
from train.selection.scoring import score, select


@pytest.fixture(scope="module")
def profile() -> LayerProfile:
    batches = paired_batches(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, 300, 0)
    return score(tiny_model("llama"), batches)


def test_the_selector_decides_and_is_named(profile: LayerProfile) -> None:
    choice = select(profile, SelectionSettings(selector="last", fraction=0.5), seed=0)
    assert choice.selection.blocks == (2, 3)
    assert choice.selection.source == "last"
    assert choice.selection.lowest == 2
    assert len(choice.scores) == BLOCKS
    assert all(0 <= layer["probe"] <= 1 for layer in choice.scores)


def test_the_highest_scores_are_selected(profile: LayerProfile) -> None:
    choice = select(profile, SelectionSettings(selector="hsav", fraction=0.25), seed=0)
    best = max(choice.scores, key=lambda layer: layer["hsav"])
    assert choice.selection.blocks == (best["layer"],)


def test_named_blocks_go_before_scores(profile: LayerProfile) -> None:
    choice = select(profile, SelectionSettings(layers=[3, 1]), seed=0)
    assert choice.selection.blocks == (1, 3)
    assert choice.selection.source == "layers"


def test_a_block_that_is_not_there_is_refused(profile: LayerProfile) -> None:
    with pytest.raises(EavssError, match=r"layers: \[4\] lie outside"):
        select(profile, SelectionSettings(layers=[4]), seed=0)
