"""The keys of a recipe, and the parts of it that each room is given."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tests.toys import arguments
from train.recipe.arguments import EavssArguments
from train.recipe.trainer_arguments import with_values
from train.runtime.errors import RecipeError


def test_a_recipe_cannot_be_changed_in_passing() -> None:
    with pytest.raises(FrozenInstanceError):
        EavssArguments("toy/toy").lora_r = 3  # type: ignore[misc]


def test_each_part_holds_the_recipes_values() -> None:
    args = EavssArguments(
        "org/model",
        model_revision="v2",
        dtype="float32",
        lora_r=4,
        replay_weight=0.5,
        selector="middle",
        select_fraction=0.5,
        validation_share=0.2,
        prefix_cache_gb=2,
    )
    assert (args.base_model.name, args.base_model.revision, args.base_model.dtype) == ("org/model", "v2", "float32")
    assert (args.lora.r, args.lora.alpha) == (4, 16)
    assert (args.loss_weights.replay, args.loss_weights.of("ce")) == (0.5, 1.0)
    assert (args.selection.selector, args.selection.fraction) == ("middle", 0.5)
    assert args.source.validation_share == args.evaluation.source.validation_share == 0.2
    assert args.cache_bytes == 2e9


def test_own_data_are_evaluated_beside_the_sets() -> None:
    own = EavssArguments("m", dataset="mine.jsonl", evaluate_on=["nq"], dataset_rows=50)
    assert own.source.row_limit == 50
    assert own.evaluation.sets == ("nq", "mine.jsonl")
    assert EavssArguments("m", dataset="all", evaluate_on=["nq"]).evaluation.sets == ("nq",)
    assert EavssArguments("m", dataset="sciq", evaluate_on=["nq"]).evaluation.sets == ("nq",)


def test_harness_prompts_go_before_the_recipes_style() -> None:
    assert EavssArguments("m", prompt_style="chat").evaluation.prompt_style == "chat"
    assert EavssArguments("m", prompt_style="chat", prompts="harness").evaluation.prompt_style == "harness"


def test_as_many_questions_are_drawn_as_scoring_and_training_need() -> None:
    assert EavssArguments("m").questions_to_draw is None
    assert EavssArguments("m", train_questions=10, score_questions=30).questions_to_draw == 30
    assert EavssArguments("m", train_questions=40, score_questions=30).questions_to_draw == 40


def test_a_value_out_of_range_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(RecipeError, match=r"train_questions: 0 should be 1 or more"):
        EavssArguments("m", train_questions=0)


def test_changed_arguments_are_a_copy(tmp_path: Path) -> None:
    _, training = arguments(tmp_path, "--seed", "3")
    changed = with_values(training, seed=4, max_steps=7)
    assert (changed.seed, changed.max_steps, training.seed) == (4, 7, 3)
