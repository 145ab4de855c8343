"""Selectors by the names that `--selectors` takes."""

import pytest

from train.comparison.selector_names import NamedSelector, parse_selector
from train.runtime.errors import RecipeError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eavss:contrast", NamedSelector("eavss", form="contrast")),
        ("eavss:conditional", NamedSelector("eavss", form="conditional")),
        ("avss:scale_free", NamedSelector("avss", estimator="scale_free")),
        ("random:7", NamedSelector("random", seed=7)),
        ("layers:3,0,2", NamedSelector("layers", layers=(3, 0, 2))),
        ("middle", NamedSelector("middle")),
        ("patching", NamedSelector("patching")),
        ("parts", NamedSelector("parts")),
        ("ranks:probe", NamedSelector("ranks", score="probe")),
    ],
)
def test_a_name_is_read(name: str, expected: NamedSelector) -> None:
    assert parse_selector(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        "best",
        "eavss",
        "random",
        "random:x",
        "layers:",
        "layers:1-2",
        "middle:3",
        "",
        "ranks",
        "ranks:middle",
        "parts:2",
    ],
)
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"--selectors: .* should be one of eavss:contrast"):
        parse_selector(name)
