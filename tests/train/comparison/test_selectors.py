"""The summary of a comparison, on gains small enough to work out by hand."""

import numpy as np
import pytest

from tests.train.comparison.toy_cells import CELLS, cell
from train.comparison.cell_file import FinishedCell
from train.comparison.selectors import SelectorRow, leads, pareto_front, summarise


def row(selector: str, cells: list[FinishedCell] = CELLS) -> SelectorRow:
    return next(row for row in summarise(cells) if row["selector"] == selector)


def test_a_row_averages_its_seeds_and_random_choices_are_one_row() -> None:
    """Contrast .5 and 1; random (.25 + 0) / 2 and .5; so .75 against .3125, .4375 above."""
    ours, chance, everything = row("eavss:contrast"), row("random"), row("all")
    assert [r["selector"] for r in summarise(CELLS)] == ["eavss:contrast", "random", "all"]
    assert (ours["gain"], ours["seeds"], chance["gain"]) == (0.75, 2, 0.3125)
    assert ours["above_random"] == 0.4375
    assert (ours["share_of_all"], everything["share_of_all"]) == (0.5, 1.0)
    assert chance["flops"] == 14
    assert (chance["above_random"], chance["above_random_interval"]) == (None, None)


def test_what_is_above_random_is_paired_by_the_seeds_that_both_have() -> None:
    """All blocks were run with seed 0 only, where random blocks gain .125."""
    assert row("all")["above_random"] == 0.75 - 0.125


def test_intervals_hold_the_mean_and_are_a_point_where_nothing_varies() -> None:
    low, high = row("eavss:contrast")["interval"]
    assert 0 <= low < 0.75 < high <= 1
    same = [cell("first", seed, [0.5, 0.5, 0.5]) for seed in (0, 1)]
    assert row("first", same)["interval"] == [0.5, 0.5]


def test_pairing_makes_a_constant_distance_certain() -> None:
    """Noise that both share, over seeds and questions, is not noise in their difference."""
    rng = np.random.default_rng(0)
    cells = []
    for seed in range(3):
        gains = rng.normal(seed, 1.0, 40)
        cells += [cell("middle", seed, list(gains + 0.25)), cell("random:0", seed, list(gains))]
    found = row("middle", cells)
    assert found["above_random_interval"] == pytest.approx([0.25, 0.25])
    assert found["interval"][1] - found["interval"][0] > 1


def test_the_interval_reflects_seeds_and_random_choices_not_questions_alone() -> None:
    """No question differs from another, but seeds do, or choices do: the interval covers their spread."""
    seeds = [cell("last", seed, [float(seed)] * 50) for seed in range(3)]
    assert row("last", seeds)["interval"] == pytest.approx([0, 2], abs=0.35)
    choices = [cell(f"random:{number}", 0, [float(number)] * 50) for number in range(3)]
    assert row("random", choices)["interval"] == pytest.approx([0, 2], abs=0.35)


def test_budgets_and_sets_are_rows_of_their_own() -> None:
    more = [cell("all", 0, [0.5], budget="flops"), cell("all", 0, [0.5], dataset="sciq")]
    found = [(r["dataset"], r["budget"], r["selector"]) for r in summarise([*CELLS, *more])]
    assert found[3:] == [("nq", "flops", "all"), ("sciq", "steps", "all")]


def test_pareto_front() -> None:
    """The cheapest row, and each dearer one that gains more than all cheaper ones; of equal FLOPs, the better."""
    points = [(3, 0.3), (1, 0.1), (2, 0.05), (1, 0.2), (4, 0.3), (5, 0.4)]
    rows = [{**row("all"), "flops": flops, "gain": gain} for flops, gain in points]
    assert [(r["flops"], r["gain"]) for r in pareto_front(rows)] == [(1, 0.2), (3, 0.3), (5, 0.4)]


def test_leads_over_the_middle_are_averaged_over_the_sets_that_have_both() -> None:
    """On nq 1 - .5 = .5 with seed 0, the one that both have; on sciq .25 - .5 = -.25; the mean is .125."""
    cells = [
        cell("middle", 0, [1.0, 0.0]),
        cell("probe", 0, [1.0, 1.0]),
        cell("probe", 1, [0.0, 0.0]),
        cell("middle", 0, [0.5, 0.5], dataset="sciq"),
        cell("probe", 0, [0.5, 0.0], dataset="sciq"),
        cell("probe", 0, [1.0, 1.0], dataset="wikiqa"),
        cell("last", 0, [1.0, 1.0], dataset="wikiqa"),
    ]
    (found,) = leads(cells)
    assert (found["selector"], found["budget"], found["datasets"]) == ("probe", "steps", ["nq", "sciq"])
    assert found["lead"] == pytest.approx(0.125)
    rows = {row["dataset"]: row for row in summarise(cells) if row["selector"] == "probe"}
    assert (rows["nq"]["above_middle"], rows["sciq"]["above_middle"]) == (0.5, -0.25)
    assert rows["wikiqa"]["above_middle"] is rows["wikiqa"]["above_middle_interval"] is None
    assert row("middle", cells)["above_middle"] is None


def test_sets_of_as_many_questions_are_drawn_apart() -> None:
    """Two sets with the same differences, of mean 0: were they drawn together, the interval would be that of one."""
    rng = np.random.default_rng(0)
    gains = rng.normal(0, 1, 100)
    one = [cell("middle", 0, [0.0] * 100), cell("probe", 0, list(gains))]
    other = [{**each, "dataset": "sciq"} for each in one]
    alone, together = (leads(cells)[0]["interval"] for cells in (one, [*one, *other]))
    ratio = (together[1] - together[0]) / (alone[1] - alone[0])
    assert ratio == pytest.approx(0.5**0.5, abs=0.06)


def test_what_scoring_took_is_averaged_where_all_cells_say_it() -> None:
    said = [{**cell("probe", s, [1.0]), "scoring_flops": 2.0 + s, "split_half_tau": 0.5} for s in (0, 2)]
    assert (row("probe", said)["scoring_flops"], row("probe", said)["split_half_tau"]) == (3.0, 0.5)  # type: ignore[arg-type]
    assert row("probe", [*said, cell("probe", 3, [1.0])])["scoring_flops"] is None  # type: ignore[list-item]
