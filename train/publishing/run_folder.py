"""Read what a finished run left in its folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast, get_type_hints

import yaml

from data.examples import Example, Origin
from eavss.asking import FEW_SHOT, Pose
from train.batching.encoding import style_for
from train.evaluation.compare import item_file
from train.evaluation.records import Carried, Comparison, QuestionRecord
from train.plan import TrainFigures
from train.recipe.arguments import EavssArguments
from train.recipe.model_arguments import ModelArguments
from train.recipe.settings import BaseModel
from train.recipe.value_types import check_value, read_recipe
from train.runtime.errors import RecipeError
from train.runtime.records import read_record, read_records
from train.runtime.stages import StageFigures
from train.selection.layers_file import LayersRecord, read_layers

# The file of the questions that a run learned from.
TRAINING_EXAMPLES = "training_examples.jsonl"


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
        stages: the seconds and the counted FLOPs of each stage, in the order of the run; absent in runs before version
            0.4.
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
    stages: NotRequired[dict[str, StageFigures]]
    confidence: NotRequired[Carried]
    command: str
    versions: dict[str, str]


class ExampleRow(TypedDict):
    """A line of `training_examples.jsonl` (`data.examples.Example.to_json`)."""

    dataset: str
    question: str
    truthful: list[str]
    hallucinated: list[str]
    origins: list[Origin]
    aliases: list[str]
    verbatim: bool
    support: str
    system: str
    pairs: list[list[str]]


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
        name = "results.json"
        try:
            results = read_record(folder / name, Results)
            results["dataset"], results["benchmarks"]  # so that another program's file is refused here
            name = "recipe.yaml"
            seed = check_value("seed", read_recipe(folder / name).get("seed", 42), int)
            recipe = (folder / name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RecipeError(f"{folder} is not the folder of a finished run: {name}: {error}") from None
        return cls(folder, results, recipe, seed)

    def require_trusted(self, said: bool) -> None:
        """Refuse to run the code of a model's repo because a recipe in the folder, perhaps a stranger's, says so.

        Args:
            said: whether the command line says so too.

        Raises:
            RecipeError: it does not.
        """
        if yaml.safe_load(self.recipe).get("trust_remote_code") and not said:
            raise RecipeError(
                f"{self.folder}/recipe.yaml: trust_remote_code is true; say --trust_remote_code on the command line "
                "too if you trust the code that comes with the model"
            )

    @property
    def dataset(self) -> str:
        """The data set that the run was trained on."""
        return self.results["dataset"]

    def training_examples(self) -> list[Example]:
        """Read the training examples that the run wrote down; see `read_training_examples`."""
        return read_training_examples(self.folder)

    @property
    def base_model(self) -> BaseModel:
        """The base that the run was trained on, as its recipe loads it.

        Raises:
            RecipeError: results.json does not name it.
        """
        recipe, hints = yaml.safe_load(self.recipe), get_type_hints(ModelArguments)
        if "model" not in self.results:
            raise RecipeError(f"{self.folder} is not the folder of a finished run: results.json names no model")
        values = {key: check_value(key, recipe[key], hint) for key, hint in hints.items() if key in recipe}
        return ModelArguments(**values | {"model_name_or_path": self.results["model"]}).base_model

    def pose(self, has_template: bool) -> Pose:
        """Return how the run posed its questions, where no calibration says it.

        Args:
            has_template: whether its tokenizer has a chat template.
        """
        recipe, hints = yaml.safe_load(self.recipe), get_type_hints(EavssArguments)
        style, system = (
            check_value(key, recipe.get(key, default), hints[key])
            for key, default in (("prompt_style", "auto"), ("system_prompt", None))
        )
        return Pose(None if style_for(style, has_template) == "chat" else FEW_SHOT, system or "")

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
            return read_layers(self.folder / "layers.json")
        except ValueError as error:
            raise RecipeError(f"{self.folder} is not the folder of a finished run: layers.json: {error}") from None

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
            items = read_records(path, Item)
        except ValueError as error:
            raise RecipeError(f"{path} does not hold the questions of results.json: {error}") from None
        if not items:
            raise RecipeError(f"{path} does not hold the questions of results.json: it is empty")
        return items


def read_training_examples(folder: Path) -> list[Example]:
    """Read the training examples that a run wrote down in its folder.

    Raises:
        RecipeError: there is no such file, or it holds something else.
    """
    path = folder / TRAINING_EXAMPLES
    try:
        return [Example.from_json(cast(Any, row)) for row in read_records(path, ExampleRow)]
    except ValueError as error:
        raise RecipeError(f"{path} does not hold a run's training examples: {error}") from None
