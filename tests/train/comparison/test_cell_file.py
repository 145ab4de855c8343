"""The file of finished cells."""

import json
from pathlib import Path

import pytest

from tests.train.comparison.toy_cells import cell
from train.comparison.cell_file import GRID, Cell, CellFile, Scoring
from train.runtime.errors import RecipeError

SETTINGS = {"nq": "abc", "sciq": "def"}


def unnamed(dataset: str = "nq", budget: str = "steps") -> Cell:
    """A cell as a trial gives it, before it has a selector and settings."""
    found = cell("first", 0, [0.5], dataset=dataset, budget=budget)
    return {key: value for key, value in found.items() if key not in ("selector", "settings")}  # type: ignore[return-value]


def test_cells_are_appended_under_their_selector_and_read_back(tmp_path: Path) -> None:
    file = CellFile(tmp_path / "folder" / "cells.jsonl", SETTINGS)
    assert file.read() == []
    first = file.add([unnamed(), unnamed(budget="flops")], selector="first")
    second = file.add([unnamed("sciq")], selector="last")
    assert file.read() == [*first, *second]
    assert [(c["selector"], c["settings"]) for c in file.read()] == [
        ("first", "abc"),
        ("first", "abc"),
        ("last", "def"),
    ]
    keys = list(json.loads(file.path.read_text().splitlines()[0]))
    assert (keys[0], keys[-1]) == ("settings", "selector")


def test_a_cell_that_two_selectors_share_is_written_for_both(tmp_path: Path) -> None:
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    (first,) = file.add([unnamed()], selector="first")
    (again,) = file.add([first], selector="eavss:contrast")
    assert again == {**first, "selector": "eavss:contrast"}


def test_cells_of_the_grid_are_no_cells_of_selectors(tmp_path: Path) -> None:
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    file.add([unnamed(budget=GRID)], selector="random:1000")
    (kept,) = file.add([unnamed()], selector="first")
    assert len(file.read()) == 2
    assert file.finished() == [kept]


def test_cells_that_were_made_with_other_settings_are_refused(tmp_path: Path) -> None:
    """Those of a data set that is not compared now do not matter."""
    CellFile(tmp_path / "cells.jsonl", SETTINGS).add([unnamed(), unnamed("sciq")], selector="first")
    assert len(CellFile(tmp_path / "cells.jsonl", {"sciq": "def"}).read()) == 2
    with pytest.raises(RecipeError, match=r"those of nq in .* were made with other settings"):
        CellFile(tmp_path / "cells.jsonl", {"nq": "other"}).read()


@pytest.mark.parametrize("text", ["{", "[]", '{"dataset": "nq"}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(text)
    with pytest.raises(RecipeError, match="holds something else than cells"):
        CellFile(tmp_path / "notes.txt", SETTINGS).read()


def test_cells_say_what_their_selector_took(tmp_path: Path) -> None:
    file = CellFile(tmp_path / "cells.jsonl", SETTINGS)
    (first,) = file.add([unnamed()], selector="gradient", scoring=Scoring(2e12, 0.75))
    (again,) = file.add([first], selector="first", scoring=Scoring(0.0, None))
    assert file.read() == [first, again]
    assert (first["scoring_flops"], first["split_half_tau"]) == (2e12, 0.75)
    assert (again["scoring_flops"], again["split_half_tau"]) == (0.0, None)
