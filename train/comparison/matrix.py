"""Run every selector on every data set and seed of a comparison, at learning rates that validation questions choose."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from eavss.blocks import find_blocks
from eavss.selectors import Selection, check_layers, count_to_select
from train.comparison.cell_file import FLOPS, GRID, STEPS, Cell, CellFile, FinishedCell
from train.comparison.selector_names import parse_selector
from train.comparison.trials import Trials
from train.recipe.arguments import EavssArguments
from train.recipe.trainer_arguments import with_values
from train.runtime.distributed import say

_GRID_RANDOM = 1000  # a random choice that is none of those above
_GRID_SHARE = 0.25


@dataclass(frozen=True)
class Matrix:
    """All combinations of data sets, selectors and seeds, of which the finished ones are in a file.

    Args:
        options: the `datasets`, `selectors`, `seeds`, `steps` and `learning_rates` of the comparison.
        recipes: by data set.
        model, tokenizer: the base.
        file: the finished combinations.
    """

    options: argparse.Namespace
    recipes: dict[str, tuple[EavssArguments, TrainingArguments]]
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    file: CellFile

    def run(self) -> None:
        """Run every combination that is not in the file."""
        rates = self.learning_rates()
        for seed in self.options.seeds:
            for dataset in self.options.datasets:
                self._run_group(dataset, seed, rates)

    @property
    def usual(self) -> int:
        """How many blocks a selector picks."""
        fraction = next(iter(self.recipes.values()))[0].select_fraction
        return count_to_select(fraction, len(find_blocks(self.model).modules))

    def learning_rates(self) -> dict[int, float]:
        """Return the rate with the highest mean gain on validation questions, for each number of blocks.

        Adapters of other shapes than whole blocks (`parts`, `ranks`) have as many parameters as the usual number of
        blocks, and train at its rate. One rate needs no questions.
        """
        total = len(find_blocks(self.model).modules)
        names = {self.usual: f"random:{_GRID_RANDOM}"}
        if "all" in self.options.selectors:
            names[total] = "all"
        for name in self.options.selectors:
            if listed := parse_selector(name).layers:
                names.setdefault(len(check_layers(list(listed), total)), name)
        if len(self.options.learning_rates) == 1:
            return dict.fromkeys(names, self.options.learning_rates[0])
        for dataset in self.options.datasets:
            self._run_grid(dataset, names)
        grid = [cell for cell in self.file.read() if cell["budget"] == GRID]
        gains = {
            count: {
                rate: fmean(
                    cell["gain"] for cell in grid if len(cell["layers"]) == count and cell["learning_rate"] == rate
                )
                for rate in self.options.learning_rates
            }
            for count in names
        }
        for count, by_rate in gains.items():
            say(f"{count} blocks: " + ", ".join(f"{rate:g} gains {100 * gain:+.1f}" for rate, gain in by_rate.items()))
        return {count: max(by_rate, key=lambda rate: by_rate[rate]) for count, by_rate in gains.items()}

    def _run_grid(self, dataset: str, names: dict[int, str]) -> None:
        done = {
            (len(cell["layers"]), cell["learning_rate"])
            for cell in self.file.read()
            if cell["budget"] == GRID and cell["dataset"] == dataset
        }
        missing = [(n, rate) for n in names for rate in self.options.learning_rates if (n, rate) not in done]
        if not missing:
            return
        args, training = self.recipes[dataset]
        trials = self._trials(replace(args, validation_share=_GRID_SHARE), training, seed=0)
        for count, rate in missing:
            cells = trials.run(trials.selection(names[count]), rate, {GRID: self.options.steps})
            self.file.add(cells, selector=names[count])
            say(f"{dataset}, {count} blocks, learning rate {rate:g}: {100 * cells[0]['gain']:+.1f} points")

    def _run_group(self, dataset: str, seed: int, rates: dict[int, float]) -> None:
        """Run every selector on one data set and seed. Two that select the same blocks share one run."""
        done = [cell for cell in self.file.finished() if (cell["dataset"], cell["seed"]) == (dataset, seed)]
        missing = [name for name in self.options.selectors if name not in {cell["selector"] for cell in done}]
        if not missing:
            return
        trials = self._trials(*self.recipes[dataset], seed)
        flops = self.options.steps * trials.step_flops(trials.selection(self.options.selectors[0]))
        for name in missing:
            selection = trials.selection(name)
            layers = list(selection.blocks)
            cells: Sequence[Cell] = _same_adapter(done, selection)
            if not cells:
                equal = max(1, int(flops / trials.step_flops(selection) + 1e-6))
                rate = rates[self.usual if selection.ranks else len(layers)]
                cells = trials.run(selection, rate, {STEPS: self.options.steps, FLOPS: equal})
            done += self.file.add(cells, selector=name, scoring=trials.scoring(name))
            gains = ", ".join(f"{100 * cell['gain']:+.1f} after {cell['steps']} steps" for cell in cells)
            say(f"{dataset}, seed {seed}, {name} {layers}: {gains}, {cells[0]['seconds']:.0f} s")

    def _trials(self, args: EavssArguments, training: TrainingArguments, seed: int) -> Trials:
        return Trials(self.model, self.tokenizer, args, with_values(training, seed=seed, data_seed=seed))


def _same_adapter(cells: list[FinishedCell], selection: Selection) -> list[FinishedCell]:
    own = list(selection.blocks), selection.ranks
    first = next((cell for cell in cells if (cell["layers"], cell.get("ranks")) == own), None)
    return [cell for cell in cells if first is not None and cell["selector"] == first["selector"]]
