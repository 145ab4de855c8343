"""A run's folder, read back."""

from pathlib import Path

import pytest

from eavss.asking import FEW_SHOT
from tests.train.publishing.toy_run import ITEMS, LAYERS, RESULTS, write_run
from train.publishing.run_folder import Run
from train.runtime.errors import RecipeError


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run.read(write_run(tmp_path))
    assert run.results == RESULTS
    assert run.layers == LAYERS
    assert run.items("nq") == ITEMS
    assert run.key == ("a & <i>toy</i>", 5)
    assert run.picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("recipe", "posed", "without"),
    [
        ("prompt_style: plain", (FEW_SHOT, ""), (FEW_SHOT, "")),
        ("prompt_style: chat\nsystem_prompt: Hm.", (None, "Hm."), (None, "Hm.")),
        ("prompt_style: auto", (None, ""), (FEW_SHOT, "")),
        ("seed: 1", (None, ""), (FEW_SHOT, "")),
    ],
)
def test_a_run_poses_questions_as_its_recipe_says(
    recipe: str, posed: tuple[str | None, str], without: tuple[str | None, str], tmp_path: Path
) -> None:
    write_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text(recipe)
    run = Run.read(tmp_path)
    assert (run.pose(has_template=True), run.pose(has_template=False)) == (posed, without)


def test_the_seed_of_a_recipe_without_one_is_the_trainers(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "recipe.yaml").write_text("dataset: nq\n")
    assert Run.read(tmp_path).seed == 42


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("results.json", None),
        ("results.json", "{"),
        ("results.json", "[]"),
        ("results.json", '{"dataset": "nq"}'),
        ("recipe.yaml", None),
        ("recipe.yaml", "a: [1"),
        ("recipe.yaml", "- 1"),
        ("recipe.yaml", "seed: x"),
    ],
)
def test_a_folder_that_is_not_that_of_a_run_is_refused(name: str, text: str | None, tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match="is not the folder of a finished run"):
        Run.read(tmp_path)


def test_the_profile_is_read_only_where_it_is_needed(tmp_path: Path) -> None:
    """A folder with the figures of another evaluation has no layers.json."""
    write_run(tmp_path)
    for name in ("layers.json", "layers.png"):
        (tmp_path / name).unlink()
    run = Run.read(tmp_path)
    with pytest.raises(RecipeError, match=r"not the folder of a finished run: layers\.json"):
        _ = run.layers
    with pytest.raises(RecipeError, match=r"not the folder of a finished run: layers\.png"):
        _ = run.picture


@pytest.mark.parametrize("text", [None, "{"])
def test_missing_or_broken_items_are_an_error(text: str | None, tmp_path: Path) -> None:
    path = write_run(tmp_path) / "items" / "nq.jsonl"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match="does not hold the questions"):
        Run.read(tmp_path).items("nq")


def test_code_that_comes_with_a_model_is_run_only_if_the_command_line_says_so(tmp_path: Path) -> None:
    write_run(tmp_path)
    Run.read(tmp_path).require_trusted(said=False)
    (tmp_path / "recipe.yaml").write_text("seed: 1\ntrust_remote_code: true\n")
    Run.read(tmp_path).require_trusted(said=True)
    with pytest.raises(RecipeError, match=r"recipe\.yaml: trust_remote_code is true; say --trust_remote_code"):
        Run.read(tmp_path).require_trusted(said=False)
