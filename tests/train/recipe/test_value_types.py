"""Values of a recipe have the types of their keys."""

from pathlib import Path
from typing import Any, Literal

import pytest
from transformers import SchedulerType

from train.recipe.value_types import check_value, read_recipe
from train.runtime.errors import RecipeError


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        ("1e-4", float, 1e-4),
        (None, float | None, None),
        ("1e-4", float | None, 1e-4),
        ([1, 2], list[int] | None, [1, 2]),
        ("linear", SchedulerType | str, "linear"),
        ("no", bool | str, "no"),
        ("a", Literal["a", "b"], "a"),
        ({"x": 1}, dict | str | None, {"x": 1}),
    ],
)
def test_what_is_right_is_taken(value: Any, hint: Any, expected: Any) -> None:
    found = check_value("key", value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (True, int, "an integer"),
        (True, float, "a number"),
        (1.0, int, "an integer"),
        ("3", int, "an integer"),
        ("fast", float, "a number"),
        (1, bool, "true or false"),
        ("true", bool, "true or false"),
        (3, str, "text"),
        ("c", Literal["a", "b"], "one of a, b"),
        (True, Literal["a", "b"], "one of a, b"),
        ("triangle", SchedulerType | str, "one of linear"),
        ("x", list[int] | None, "a list, each item an integer or null"),
        (["x"], list[int], "a list, each item an integer"),
        ([1], dict | None, "a mapping or null"),
    ],
)
def test_what_is_wrong_is_one_line(value: Any, hint: Any, right: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_value("key", value, hint)
    assert f"recipe: key: {value!r} should be {right}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "line 2: the key 'c' stands there twice"),
        ("- a\n", "should be a mapping"),
        ("a: [\n", "is not YAML"),
        ("env: {A: b}\n", "'env' is not allowed"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
