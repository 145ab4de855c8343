"""Which blocks are selected."""

from typing import Any

import pytest
import torch

from eavss.errors import EavssError
from eavss.selectors import SELECTORS, check_layers, count_to_select, select_layers


@pytest.mark.parametrize(
    ("fraction", "layers", "count"),
    [
        (0.25, 30, 7),
        (0.25, 32, 8),
        (0.3, 10, 3),
        (0.1, 30, 3),
        (0.7, 10, 7),
        (0.29, 100, 29),
        (0.99, 10, 9),
        (0.01, 30, 1),
        (0.5, 1, 1),
        (1.0, 30, 30),
    ],
)
def test_count_to_select(fraction: float, layers: int, count: int) -> None:
    assert count_to_select(fraction, layers) == count


def layer(
    index: int, contrast: float, conditional: float, hsav: float, paper: float, scale_free: float
) -> dict[str, Any]:
    return {
        "layer": index,
        "avss": {"paper": paper, "scale_free": scale_free},
        "block_influence": -paper,
        "probe": -hsav,
        "hsav": hsav,
        "hss": 0.5,
        "eavss": {"contrast": contrast, "conditional": conditional},
    }


# Each score has its two highest elsewhere; the numbers of a column sort as text in another order.
SCORES = [
    layer(0, contrast=9, conditional=1, hsav=0.5, paper=1, scale_free=-1),
    layer(1, contrast=10, conditional=2, hsav=-0.1, paper=2, scale_free=-2),
    layer(2, contrast=-20, conditional=3, hsav=-0.2, paper=30, scale_free=-3),
    layer(3, contrast=1, conditional=4, hsav=0.6, paper=4, scale_free=-4),
    layer(4, contrast=2, conditional=5, hsav=-0.3, paper=5, scale_free=-0.5),
    layer(5, contrast=3, conditional=6, hsav=-0.4, paper=6, scale_free=-6),
    layer(6, contrast=4, conditional=7, hsav=-0.9, paper=0, scale_free=-7),
]


@pytest.mark.parametrize(
    ("options", "selected"),
    [
        ({}, [1]),
        ({"fraction": 0.3}, [0, 1]),
        ({"fraction": 0.3, "form": "conditional"}, [5, 6]),
        ({"fraction": 0.3, "selector": "hsav"}, [0, 3]),
        ({"fraction": 0.3, "selector": "hsav", "form": "conditional"}, [0, 3]),
        ({"fraction": 0.3, "selector": "avss"}, [2, 5]),
        ({"fraction": 0.3, "selector": "avss", "estimator": "scale_free"}, [0, 4]),
        ({"fraction": 0.3, "selector": "first"}, [0, 1]),
        ({"fraction": 0.3, "selector": "middle"}, [2, 3]),
        ({"fraction": 0.45, "selector": "middle"}, [2, 3, 4]),
        ({"fraction": 0.3, "selector": "last"}, [5, 6]),
        ({"fraction": 0.01, "selector": "last"}, [6]),
        ({"fraction": 0.3, "selector": "all"}, [0, 1, 2, 3, 4, 5, 6]),
        ({"fraction": 1.0}, [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_select_layers(options: dict[str, Any], selected: list[int]) -> None:
    assert select_layers(SCORES, **options) == selected


@pytest.mark.parametrize(
    ("values", "fraction", "selected"),
    [([1, 1, 1, 2], 0.5, [2, 3]), ([2, 1, 2, 2], 0.5, [2, 3]), ([3, 1, 1, 0], 0.5, [0, 2])],
)
def test_of_a_tie_the_deeper_block_is_taken(values: list[float], fraction: float, selected: list[int]) -> None:
    tied = [layer(index, *[value] * 5) for index, value in enumerate(values)]
    assert select_layers(tied, fraction=fraction) == selected


def test_scores_that_are_all_alike_select_nothing() -> None:
    """Unless all blocks are trained, or a probe finds the answer at every one."""
    alike = [layer(index, *[0.25] * 5) for index in range(4)]
    for selector in ("eavss", "hsav", "avss"):
        with pytest.raises(EavssError, match=rf"selector: {selector} scores every block 0\.25"):
            select_layers(alike, selector)  # type: ignore[arg-type] # (a loop widens the literals)
    assert select_layers(alike, fraction=1.0) == [0, 1, 2, 3]
    probed: Any = [{**scores, "probe": 1.0} for scores in alike]
    assert select_layers(probed, "probe", fraction=0.5) == [2, 3]


def test_random_is_seeded() -> None:
    many = [layer(index, *[0.0] * 5) for index in range(30)]
    drawn = [select_layers(many, "random", fraction=0.25, seed=seed) for seed in range(20)]
    assert drawn == [select_layers(many, "random", fraction=0.25, seed=seed) for seed in range(20)]
    assert len({tuple(layers) for layers in drawn}) > 15
    assert {index for layers in drawn for index in layers} == set(range(30))
    for layers in drawn:
        assert layers == sorted(set(layers))
        assert len(layers) == 7


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_of_the_list_selects(selector: Any) -> None:
    draws = torch.arange(7.0).repeat(3, 1)
    assert len(select_layers(SCORES, selector, 0.3, draws=draws)) == (7 if selector == "all" else 2)


def test_unknown_selector_is_an_error() -> None:
    with pytest.raises(EavssError, match="selector: 'best' should be one of eavss, hsav, avss, block_influence, p"):
        select_layers(SCORES, "best")


@pytest.mark.parametrize("fraction", [0.0, -0.25, 1.01, 25.0, float("nan")])
def test_fraction_outside_its_range_is_an_error(fraction: float) -> None:
    with pytest.raises(EavssError, match="select_fraction"):
        select_layers(SCORES, fraction=fraction)


@pytest.mark.parametrize(("layers", "checked"), [([2, 0, 1], [0, 1, 2]), ([29], [29]), ([0], [0])])
def test_check_layers(layers: list[int], checked: list[int]) -> None:
    assert check_layers(layers, 30) == checked


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([], "the list is empty"),
        ([0, 30], r"\[30\] lie outside the model's blocks, which are 0 to 29"),
        ([-1, 3, 31], r"\[-1, 31\] lie outside"),
        ([4, 5, 4], r"\[4, 5, 4\] names a block twice"),
    ],
)
def test_check_layers_errors(layers: list[int], what: str) -> None:
    with pytest.raises(EavssError, match=f"layers: .*{what}"):
        check_layers(layers, 30)
