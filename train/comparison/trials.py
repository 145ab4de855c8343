"""Try choices of blocks on one data set and seed."""

import time
from dataclasses import replace
from statistics import fmean
from typing import cast

from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from eavss.selectors import Selection
from train.batching.encoding import Encoder
from train.comparison.cell_file import Cell, Scoring
from train.comparison.choosing import Chooser
from train.comparison.measures import Measured, measure
from train.declining.asking import answers_to_learn_from, base_asker
from train.evaluation.benchmarks import load_benchmarks
from train.model.loading import choose_training_attention
from train.model.lora_counts import lora_parameters
from train.recipe.arguments import EavssArguments
from train.recipe.trainer_arguments import with_values
from train.runtime.hardware import release_memory
from train.training import TrainingSetup, make_scoring_batches, make_training_examples, make_training_pairs

_EVALUATION_SEED = 0


class Snapshots(TrainerCallback):
    """Keeps copies of the adapter after some of the steps, with the seconds until then."""

    def __init__(self, steps: set[int]) -> None:
        self.start = time.perf_counter()
        self.kept: dict[int, tuple[dict[str, Tensor], float]] = {}
        self._steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: object
    ) -> None:
        """Copy the adapter's tensors."""
        if state.global_step in self._steps:
            tensors = {
                name: t.detach().clone()
                for name, t in get_peft_model_state_dict(cast(PeftModel, context["model"])).items()
            }
            self.kept[state.global_step] = (tensors, time.perf_counter() - self.start)


class Trials:
    """One data set and seed on a model, on which choices of blocks are tried; what they share is computed once.

    Args:
        model: the base; each trial's adapter is taken out of it again.
        tokenizer: its tokenizer.
        args: the recipe of the data set.
        training: the Trainer's arguments, with the seed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        args: EavssArguments,
        training: TrainingArguments,
    ) -> None:
        set_seed(training.seed)
        choose_training_attention(model, args.base_model, args.max_length)
        self.model = model
        self.args = args
        self.seed = training.seed
        self._training = training
        self._encoder = Encoder.of(tokenizer, args)
        pools = args.source.training_pools(args.dataset)
        self._examples = make_training_examples(pools, model, tokenizer, args, self.seed)
        # The same questions whichever the seed, which is that of training.
        self._benchmark = load_benchmarks(args.evaluation, _EVALUATION_SEED)[0]
        free = base_asker(model, self._encoder, args)
        answers = answers_to_learn_from(free, self._examples, args, self.seed) if args.declines else []
        whole = with_values(training, max_steps=-1)  # so that budgets of more steps than the recipe's see more pairs
        pairs = make_training_pairs(self._examples, self._encoder, args, whole, answers)
        self._setup = TrainingSetup(model, tokenizer, pairs, args, self.seed)
        batches = make_scoring_batches(self._examples, self._encoder, args, self.seed)
        self._chooser = Chooser(model, batches, args, self.seed)
        self._before = self._measure(model, "before")  # now, since adapters are put into the same model

    def selection(self, name: str) -> Selection:
        """Return what a selector picks from one profile of the training questions, or the blocks that its name lists.

        Raises:
            RecipeError: there is no such selector.
        """
        return self._chooser.selection(name)

    def scoring(self, name: str) -> Scoring:
        """Return what the selector's scores took, and how steady they are."""
        return self._chooser.scoring(name)

    def step_flops(self, selection: Selection) -> float:
        """Count the FLOPs of one training step."""
        cached = self._setup.cached_at(selection) is not None
        costs = self._setup.costs
        if selection.ranks is not None:  # which are of linear layers, whose parameters are priced as they are
            costs = replace(costs, priced=self._adapter(selection))
        return costs.step(selection.blocks, self._training.train_batch_size, cached)

    def _adapter(self, selection: Selection) -> tuple[int, ...]:
        """Return the parameters of the adapter in each block; the model should have no adapter."""
        if selection.ranks is None:
            return self._setup.costs.adapter
        return lora_parameters(self.model, self.args.lora, selection.ranks)

    def run(self, selection: Selection, learning_rate: float, budgets: dict[str, int]) -> list[Cell]:
        """Train on the selected blocks, and measure after as many steps as each budget allows.

        Args:
            budgets: the number of steps by the budget's name.
        """
        training = with_values(self._training, learning_rate=learning_rate, max_steps=max(budgets.values()))
        trainer = self._setup.trainer(selection, training)
        snapshots = Snapshots(set(budgets.values()))
        trainer.add_callback(snapshots)
        trainer.train()
        adapted = trainer.adapted
        found: dict[int, Measured] = {}
        for budget, steps in budgets.items():
            if steps not in found:
                set_peft_model_state_dict(adapted, snapshots.kept[steps][0])
                found[steps] = self._measure(adapted, budget)
        adapted.unload()
        release_memory()
        return [
            self._cell(
                selection,
                budget,
                steps,
                rate=learning_rate,
                after=found[steps],
                seconds=snapshots.kept[steps][1],
            )
            for budget, steps in budgets.items()
        ]

    def _cell(
        self, selection: Selection, budget: str, steps: int, *, rate: float, after: Measured, seconds: float
    ) -> Cell:
        adapter = self._adapter(selection)
        gains = [a - b for a, b in zip(after.values, self._before.values, strict=True)]
        cell: Cell = {
            "dataset": self.args.dataset,
            "seed": self.seed,
            "layers": list(selection.blocks),
            "budget": budget,
            "steps": steps,
            "learning_rate": rate,
            "before": round(fmean(self._before.values), 5),
            "gain": round(fmean(gains), 5),
            "gains": [round(gain, 4) for gain in gains],
            "flops": self._setup.costs.reading + steps * self.step_flops(selection),
            "seconds": round(seconds, 1),
            "trained_parameters": sum(adapter[block] for block in selection.blocks),
        }
        if selection.ranks is not None:
            cell["ranks"] = dict(selection.ranks)
        if after.asked:
            cell["asked_before"], cell["asked"] = dict(self._before.asked), dict(after.asked)
        return cell

    def _measure(self, model: PreTrainedModel | PeftModel, description: str) -> Measured:
        name = f"{description}: {self._benchmark.name}"
        return measure(model, self._encoder, self._benchmark, self.args, name)
