"""What a sweep tries, what its file may hold, and its table."""

import json
from pathlib import Path

import pytest

from eavss.choices import REWIRING_KINDS
from eavss.errors import EavssError
from tests.train.comparison.toy_rewirings import SIMILARITY, TRIALS, figures, row
from train.comparison.rewirings import (
    Plan,
    Trial,
    average_above_chance,
    over_seeds,
    read_sweep,
    rewiring_table,
    similarity_text,
    trial_of,
)
from train.runtime.errors import RecipeError


def test_a_plan_tries_everything_once() -> None:
    """Of six blocks, start 1 leaves 1 to 4. Block 1 and block 4 are dropped; 1 and 2, 3 and 4 are swapped."""
    plan = Plan(REWIRING_KINDS, [1], [[4, 2], [1, 2, 3, 4]], [7, 8], 2)
    middle, group = (1, 2, 3, 4), (2, 4)
    assert plan.trials(6) == [
        *(Trial(kind, blocks) for kind in ("skipped", "reversed") for blocks in (middle, group)),  # type: ignore[arg-type]
        *(Trial("shuffled", blocks, seed=seed) for blocks in (middle, group) for seed in (7, 8)),
        *(Trial(kind, blocks) for kind in ("centre_repeated", "parallel") for blocks in (middle, group)),  # type: ignore[arg-type]
        *(Trial("looped_parallel", blocks, loops=2) for blocks in (middle, group)),
        *(Trial("dropped", blocks) for blocks in ((1,), (4,))),
        *(Trial("swapped", blocks) for blocks in ((1, 2), (3, 4))),
    ]


@pytest.mark.parametrize(
    ("starts", "groups", "message"), [([3], [], "fewer than two"), ([], [[9]], "outside"), ([], [[1, 1]], "twice")]
)
def test_a_plan_that_cannot_be_is_refused(starts: list[int], groups: list[list[int]], message: str) -> None:
    with pytest.raises(EavssError, match=message):
        Plan(REWIRING_KINDS, starts, groups, [0], 1).trials(6)


@pytest.mark.parametrize(
    ("trial", "order"),
    [
        (Trial("dropped", (1,)), [(0,), (2,), (3,)]),
        (Trial("swapped", (1, 2)), [(0,), (2,), (1,), (3,)]),
        (Trial("looped_parallel", (1, 2), loops=2), [(0,), (1, 2), (1, 2), (3,)]),
        (Trial("reversed", (0, 3)), [(3,), (1,), (2,), (0,)]),
    ],
)
def test_the_order_of_a_trial(trial: Trial, order: list[tuple[int, ...]]) -> None:
    assert trial.order(4) == order


def test_what_is_kept_above_chance() -> None:
    """(.5 - .25) + (.4 - .5) of (.75 - .25) + (.6 - .5)."""
    rows = [
        row("acc", 0.75, 0.5, 0.25),
        row("mc2", 0.6, 0.4, 0.5),
        row("right", 1, 0, 0.0),
        row("perplexity", 1, 9, None),
    ]
    assert average_above_chance(rows) == pytest.approx(0.15 / 0.6)
    assert average_above_chance([row("acc", 0.2, 0.9, 0.25)]) == 1


def test_shuffles_are_averaged() -> None:
    """Accuracies .25 and .75; perplexities 10 and 1000, whose geometric mean is 100."""
    averaged = [trial for trial in over_seeds(TRIALS) if trial["kind"] == "shuffled"]
    assert len(averaged) == 1
    assert [kept["changed"] for kept in averaged[0]["kept"]] == pytest.approx([0.5, 100, 200])
    assert averaged[0]["above_chance"] == pytest.approx(0.5)


def test_the_table_shows_each_model_in_its_own_order_first() -> None:
    trials = [*TRIALS, figures("parallel", [1, 2, 3], 0.5, 30, model="adapter")]
    lines = rewiring_table(trials).splitlines()
    assert lines[0] == "| model | rewired | blocks | kept | above chance | toy acc | toy perplexity |"
    assert lines[2] == "| base | (none) | | | | 0.750 | 10.0 |"
    assert lines[3] == "| base | skipped | 1-4 | 67% | 50% | 0.500 | 20.0 |"
    assert lines[5] == "| base | shuffled | 1-4 | 67% | 50% | 0.500 | 100.0 |"
    assert lines[6] == "| base | looped_parallel x2 | 1, 3 | 33% | 0% | 0.250 | 50.0 |"
    assert lines[-2:] == [
        "| adapter | (none) | | | | 0.750 | 10.0 |",
        "| adapter | parallel | 1-3 | 67% | 50% | 0.500 | 30.0 |",
    ]
    assert rewiring_table([]) == ""


def test_the_groups_in_words() -> None:
    assert similarity_text(SIMILARITY) == (
        "base: first 0, middle 1, 2, last (none); mean similarity first-middle 0.10, middle-middle 0.80; "
        "the groups explain 100% of the variance"
    )


def test_a_file_is_read_and_one_of_something_else_is_not(tmp_path: Path) -> None:
    path, settings = tmp_path / "rewired.json", {"seed": "0"}
    empty = read_sweep(path, settings, 6)
    assert empty == {"settings": settings, "blocks": 6, "similarity": [], "trials": []}
    written = {**empty, "similarity": [SIMILARITY], "trials": TRIALS}
    path.write_text(json.dumps(written))
    assert read_sweep(path, settings, 6) == written
    assert trial_of(read_sweep(path, settings, 6)["trials"][2]) == Trial("shuffled", (1, 2, 3, 4), seed=0)
    with pytest.raises(RecipeError, match="figures with seed 0, here it is 1; name another file"):
        read_sweep(path, {"seed": "1"}, 6)
    for content in ("{", "3", "[]", '{"trials": []}', '{"settings": {}, "blocks": 1, "similarity": [], "trials": [3]}'):
        path.write_text(content)
        with pytest.raises(RecipeError, match="holds no figures of rewirings"):
            read_sweep(path, settings, 6)
