"""Keep the finished cells of a comparison of selectors on disk, so that no cell is run twice."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from train.runtime.errors import RecipeError
from train.runtime.records import read_records

# The budgets of a cell: equal steps, equal FLOPs, and that of a cell which helped to choose a learning rate.
STEPS, FLOPS, GRID = "steps", "flops", "grid"


class Scoring(NamedTuple):
    """What a selector's scores took, and how steady they are.

    Args:
        flops: the counted FLOPs; 0 for a choice without scores.
        split_half_tau: Kendall's tau between the rankings from random halves of the questions; None where there is no
            ranking, or one that cannot be made again without the model.
    """

    flops: float
    split_half_tau: float | None


class Cell(TypedDict):
    """What training on one choice of blocks gave.

    Args:
        dataset: the data set that was trained and evaluated on.
        seed: the seed of training.
        layers: the indices of the trained blocks.
        budget: `STEPS`, `FLOPS` or `GRID`.
        steps: the number of steps that the budget allowed.
        learning_rate: the learning rate.
        before: the mean of the leading metric before training.
        gain: its mean change.
        gains: its change for every question.
        flops: the counted FLOPs of reading and training.
        seconds: the time of training.
        trained_parameters: the adapter's size.
        ranks: the rank of each adapted linear layer, where they differ
            (`eavss.selectors.Selection`).
        asked_before, asked: the shares of right, wrong and declined answers before and after, and what only a set has
            (`train.evaluation.answered.shares`), where declining was trained.
    """

    dataset: str
    seed: int
    layers: list[int]
    budget: str
    steps: int
    learning_rate: float
    before: float
    gain: float
    gains: list[float]
    flops: float
    seconds: float
    trained_parameters: int
    ranks: NotRequired[dict[str, int]]
    asked_before: NotRequired[dict[str, float]]
    asked: NotRequired[dict[str, float]]


class FinishedCell(Cell):
    """A cell in the file.

    Args:
        settings: a hash of what the cell depends on besides its own keys.
        selector: the name of the selector that chose the blocks.
        scoring_flops, split_half_tau: see `Scoring`; cells of earlier versions have neither.
    """

    settings: str
    selector: str
    scoring_flops: NotRequired[float]
    split_half_tau: NotRequired[float | None]


@dataclass(frozen=True)
class CellFile:
    """The file of finished cells, one on each line.

    Args:
        path: the file.
        settings: the hash of the settings of each data set.
    """

    path: Path
    settings: dict[str, str]

    def read(self) -> list[FinishedCell]:
        """Read all cells.

        Raises:
            RecipeError: the file holds something else, or cells that were made with other settings.
        """
        if not self.path.is_file():
            return []
        try:
            cells = read_records(self.path, FinishedCell)
            others = [
                cell for cell in cells if cell["settings"] != self.settings.get(cell["dataset"], cell["settings"])
            ]
        except ValueError as error:
            raise RecipeError(
                f"--cells: {self.path} holds something else than cells; name another file: {error}"
            ) from None
        if others:
            where = f"those of {others[0]['dataset']} in {self.path}"
            raise RecipeError(f"--cells: {where} were made with other settings; name another file")
        for key in FinishedCell.__required_keys__:
            for cell in cells:
                cell[key]  # type: ignore[literal-required] # (one that is missing is told now, and not after hours)
        return cells

    def finished(self) -> list[FinishedCell]:
        """Read the cells of selectors, without those that helped to choose a learning rate."""
        return [cell for cell in self.read() if cell["budget"] != GRID]

    def add(
        self,
        cells: Sequence[Cell],
        selector: str,
        scoring: Scoring = Scoring(0.0, None),  # noqa: B008 (immutable)
    ) -> list[FinishedCell]:
        """Append the cells of one run under the name of its selector, and return them as they were written.

        They are appended in one write, so that a file written by two processes stays whole.
        """
        finished: list[FinishedCell] = [
            {
                "settings": self.settings[cell["dataset"]],
                **cell,
                "scoring_flops": scoring.flops,
                "split_half_tau": scoring.split_half_tau,
                "selector": selector,
            }
            for cell in cells
        ]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(cell) + "\n" for cell in finished))
        return finished
