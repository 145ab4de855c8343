"""Profiles that say nothing are refused, in a line that names the blocks."""

from dataclasses import replace

import pytest
import torch

from eavss.errors import EavssError
from eavss.profile import LayerProfile, profile_model
from eavss.soundness import require_sound
from tests.eavss.test_profile import make_questions, paired
from tests.toys import tiny_model


@pytest.fixture(scope="module")
def profile() -> LayerProfile:
    return profile_model(tiny_model("llama"), [paired(make_questions(4))])


def test_a_profile_of_a_model_passes(profile: LayerProfile) -> None:
    require_sound(profile)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_activations_that_are_no_numbers_are_refused(profile: LayerProfile, value: float) -> None:
    """In an answer's states, or in another token's alone."""
    states, squares = profile.states.clone(), profile.all_tokens.squares.clone()
    states[3, 0, 2, 5] = value
    squares[1] = value
    for broken, block in (
        (replace(profile, states=states), 2),
        (replace(profile, all_tokens=replace(profile.all_tokens, squares=squares)), 1),
    ):
        with pytest.raises(EavssError, match=rf"activations of blocks \[{block}\] are NaN or infinite"):
            require_sound(broken)


def test_a_block_without_variance_is_refused(profile: LayerProfile) -> None:
    variance = profile.all_tokens.variance.clone()
    variance[3] = 0
    with pytest.raises(EavssError, match=r"output of blocks \[3\] is the same in every hidden unit"):
        require_sound(replace(profile, all_tokens=replace(profile.all_tokens, variance=variance)))


def test_answers_that_are_all_alike_are_refused(profile: LayerProfile) -> None:
    """One question that differs at one block is enough."""
    states = profile.states.clone()
    states[:, 1] = states[:, 0] * (1 + 1e-7)
    with pytest.raises(EavssError, match="same states at every block in all 4 questions"):
        require_sound(replace(profile, states=states))
    states[2, 1, 3, 7] += 0.1
    require_sound(replace(profile, states=states))
