"""Which blocks are selected."""

from typing import Any

import pytest
import torch

from eavss.errors import EavssError
from eavss.selectors import (
    MODEL_SELECTORS,
    SELECTORS,
    check_layers,
    count_to_select,
    fill,
    select_layers,
    share_ranks,
    without_neighbours,
)


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
    scores: Any = [layer | dict.fromkeys(MODEL_SELECTORS, float(layer["layer"])) for layer in SCORES]
    selected = select_layers(scores, selector, 0.3, draws=draws, similarity=torch.eye(7))
    assert len(selected) == (7 if selector == "all" else 2)


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


@pytest.mark.parametrize("selector", MODEL_SELECTORS)
def test_scores_of_selectors_that_run_the_model_are_read_where_they_are(selector: Any) -> None:
    with pytest.raises(EavssError, match=f"selector: '{selector}' needs scores that are not there"):
        select_layers(SCORES, selector)
    scores: Any = [{**each, selector: float(each["layer"] == 2)} for each in SCORES]
    assert select_layers(scores, selector, 0.25) == [2]


def test_a_redundant_neighbour_is_passed_over() -> None:
    """Scores 1, .9, .5, .4. After block 0, block 1 is worth .9 - .8 and block 2 .5 - .1. Then 1 is worth .1, 3 -.5."""
    similarity = torch.tensor([[1, 0.8, 0.1, 0.1], [0.8, 1, 0.1, 0.1], [0.1, 0.1, 1, 0.9], [0.1, 0.1, 0.9, 1]])
    scores = [2.0, 1.8, 1.0, 0.8]
    assert without_neighbours(scores, similarity, 2) == [0, 2]
    assert without_neighbours(scores, similarity, 3) == [0, 1, 2]
    layers: Any = [{"eavss": {"contrast": score}} for score in scores]
    assert select_layers(layers, "diverse", 0.5, similarity=similarity) == [0, 2]
    assert without_neighbours([-2.0, -1.8, 0.0, -1.0], similarity, 2) == [1, 2]
    with pytest.raises(EavssError, match="'diverse' needs the blocks' similarity"):
        select_layers(layers, "diverse", 0.5)


@pytest.mark.parametrize(
    ("scores", "total", "ranks"),
    [
        ([1, 1, 2], 8, [2, 2, 4]),
        # 8/3 each: two ranks are left over, for the deeper ones.
        ([1, 1, 1], 8, [2, 3, 3]),
        # 5.6, 1.6, .8: one rank is left over twice, for .8 and .6 of the deeper.
        ([3.5, 1, 0.5], 8, [5, 2, 1]),
        ([-1, 0, 3], 8, [0, 0, 8]),
    ],
)
def test_ranks_are_shared_out_by_score(scores: list[float], total: int, ranks: list[int]) -> None:
    assert share_ranks(scores, total) == ranks
    assert sum(ranks) == total


def test_ranks_need_a_score() -> None:
    with pytest.raises(EavssError, match="none is above 0"):
        share_ranks([0.0, -1.0], 8)


@pytest.mark.parametrize(
    ("budget", "taken"),
    # Worth for their size: 2, 1, 3, .5. The second is passed over for the last where it does not fit.
    [(2, [2]), (6, [0, 2]), (7, [0, 2, 3]), (12, [0, 2, 3]), (16, [0, 1, 2]), (17, [0, 1, 2, 3]), (1, [3])],
)
def test_items_of_the_highest_value_for_their_size_fill_a_budget(budget: int, taken: list[int]) -> None:
    assert fill([8.0, 10.0, 6.0, 0.5], [4, 10, 2, 1], budget) == taken
