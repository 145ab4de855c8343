"""Read what a finished run left in its folder."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import yaml

from data.examples import Example
from train.evaluation.compare import item_file
from train.evaluation.records import Carried, Comparison, QuestionRecord
from train.plan import TrainFigures
from train.recipe.settings import BaseModel
from train.runtime.errors import RecipeError
from train.selection.layers_file import LayersRecord


class Results(Comparison):
    """The content of `results.json` (keys may be added, never renamed).

    Args:
        model: the base, as the recipe names it.
        dataset: the data set that the model was trained on.
        samples: whether the questions are those that eavss ships.
        selected: the indices of the trained blocks.
        benchmarks: the evaluation by set.
        retention: the cost of training by text set.
        train: what training took.
        generation: the settings that free answers were written with; absent in runs before version 0.3.
        confidence: what each shipped threshold does on each evaluated set: {calibrated on: {set: {keep: ...}}}; absent
            in runs before version 0.3.
        command: the command that started the run.
        versions: the versions of the packages by name.
    """

    model: str
    dataset: str
    samples: bool
    selected: list[int]
    train: TrainFigures
    generation: NotRequired[str]
    confidence: NotRequired[Carried]
    command: str
    versions: dict[str, str]


class Item(TypedDict):
    """A line of a file in `items/`: a question, and its records before and after training."""

    question: str
    before: QuestionRecord
    after: QuestionRecord


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: its `output_dir`.
        results: the content of `results.json`.
        recipe: the text of `recipe.yaml`.
        seed: the recipe's seed.
    """

    folder: Path
    results: Results
    recipe: str
    seed: int

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read a run from its output folder.

        Raises:
            RecipeError: the folder is not that of a finished run.
        """
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            recipe = (folder / "recipe.yaml").read_text(encoding="utf-8")
            seed = int(yaml.safe_load(recipe).get("seed", 42))
            results["dataset"], results["benchmarks"]  # so that another program's file is refused here
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
            raise RecipeError(f"{folder} is not the folder of a finished run: results.json or recipe.yaml") from None
        return cls(folder, cast(Results, results), recipe, seed)

    @property
    def dataset(self) -> str:
        """The data set that the run was trained on."""
        return self.results["dataset"]

    def training_examples(self) -> list[Example]:
        """Read the training examples that the run wrote down.

        Raises:
            RecipeError: there is no such file, or it holds something else.
        """
        path = self.folder / "training_examples.jsonl"
        try:
            return [Example.from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError, TypeError, KeyError):
            raise RecipeError(f"{path} does not hold a run's training examples") from None

    @property
    def base_model(self) -> BaseModel:
        """The base that the run was trained on, as its recipe loads it.

        Raises:
            RecipeError: results.json does not name it.
        """
        recipe = yaml.safe_load(self.recipe)
        if "model" not in self.results:
            raise RecipeError(f"{self.folder} is not the folder of a finished run: results.json names no model")
        return BaseModel(
            self.results["model"],
            str(recipe.get("model_revision", "main")),
            bool(recipe.get("trust_remote_code", False)),
            recipe.get("dtype", "auto"),
            recipe.get("attn_implementation"),
        )

    @property
    def key(self) -> tuple[str, int]:
        """The data set and the seed, which distinguish the runs of a summary."""
        return self.dataset, self.seed

    @cached_property
    def layers(self) -> LayersRecord:
        """The content of `layers.json`.

        Raises:
            RecipeError: the run has no such file, or it is broken.
        """
        try:
            layers: LayersRecord = json.loads((self.folder / "layers.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RecipeError(f"{self.folder} is not the folder of a finished run: layers.json") from None
        return layers

    @property
    def picture(self) -> bytes:
        """The content of `layers.png`.

        Raises:
            RecipeError: the run has no such file.
        """
        try:
            return (self.folder / "layers.png").read_bytes()
        except OSError:
            raise RecipeError(f"{self.folder} is not the folder of a finished run: layers.png") from None

    def items(self, name: str) -> list[Item]:
        """Read the questions of the set `name` from its file in `items/`.

        Raises:
            RecipeError: there is no such file, or it holds something else.
        """
        path = self.folder / "items" / item_file(name)
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            raise RecipeError(f"{path} does not hold the questions of results.json") from None
