"""The cells of a comparison of selectors, on disk: what is finished is never run again."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.comparison.selectors import Cell
from train.runtime.errors import RecipeError

# The budget of a cell that helped to choose a learning rate.
GRID = "grid"


@dataclass(frozen=True)
class CellFile:
    """The finished cells on disk, one a line."""

    path: Path
    settings: dict[str, str]  # of each data set

    def read(self) -> list[Cell]:
        """All cells so far.

        Raises:
            RecipeError: the file is not one of cells, or they were made with other settings.
        """
        if not self.path.is_file():
            return []
        try:
            cells: list[Cell] = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
            others = [
                cell for cell in cells if cell["settings"] != self.settings.get(cell["dataset"], cell["settings"])
            ]
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError, OSError):
            raise RecipeError(f"--cells: {self.path} holds something else than cells; name another file") from None
        if others:
            where = f"those of {others[0]['dataset']} in {self.path}"
            raise RecipeError(f"--cells: {where} were made with other settings; name another file")
        return cells

    def finished(self) -> list[Cell]:
        """Those of selectors, without the grid of learning rates."""
        return [cell for cell in self.read() if cell["budget"] != GRID]

    def add(self, cells: list[Cell], **more: Any) -> None:
        """Append the cells of one run in one write, so that a file written by two processes stays whole."""
        lines = "".join(json.dumps({"settings": self.settings[cell["dataset"]]} | cell | more) + "\n" for cell in cells)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
