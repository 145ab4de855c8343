"""Try choices of blocks on one data set and seed."""

import gc
import re
import time
from dataclasses import dataclass
from functools import cached_property
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

from eavss.records import LayerScores
from eavss.selectors import Estimator, Form, Selection, Selector, select_layers
from eavss.stability import bootstrap_weights, resampled_scores
from train.batching.encoding import Encoder
from train.batching.pairs import make_pairs
from train.comparison.cell_file import Cell
from train.evaluation.benchmarks import leading_values, load_benchmarks
from train.evaluation.likelihood import AnswerScorer
from train.model.kept_figures import KeptFigures
from train.model.kept_tensors import KeptTensors
from train.model.loading import choose_training_attention
from train.recipe.arguments import EavssArguments
from train.recipe.trainer_arguments import with_values
from train.runtime.errors import RecipeError
from train.selection.scoring import block_scores, score
from train.training import TrainingSetup, make_scoring_batches, make_training_examples

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
        self._encoder = Encoder(tokenizer, args.prompt_style, args.max_length, passages=args.passages)
        pools = args.source.training_pools(args.dataset)
        self._examples = make_training_examples(pools, model, tokenizer, args, self.seed)
        # The same questions whichever the seed, which is that of training.
        self._benchmark = load_benchmarks(args.evaluation, _EVALUATION_SEED)[0]
        pairs = make_pairs(self._examples, self._encoder, args.pairs_per_question, with_positive=False, seed=self.seed)
        self._setup = TrainingSetup(model, tokenizer, pairs, args, self.seed)
        self._before = self._measure(model, "before")  # now, since adapters are put into the same model

    def selection(self, name: str) -> Selection:
        """Return the blocks that a selector picks from one profile of the training questions, or that its name lists.

        Raises:
            RecipeError: there is no such selector.
        """
        named = parse_selector(name)
        if named.layers:
            return Selection(tuple(sorted(named.layers)), name)
        scores, draws = self._scores
        blocks = select_layers(
            scores,
            cast(Selector, named.selector),
            self.args.select_fraction,
            form=cast(Form, named.form),
            estimator=cast(Estimator, named.estimator),
            seed=named.seed,
            draws=draws,
        )
        return Selection(tuple(blocks), name)

    @cached_property
    def _scores(self) -> tuple[list[LayerScores], Tensor]:
        batches = make_scoring_batches(self._examples, self._encoder, self.args, self.seed)
        profile = score(self.model, batches, KeptTensors(self.args.cache_bytes, self.args.fresh))
        weights = bootstrap_weights(profile.questions, 200, self.seed)
        return block_scores(profile), resampled_scores(profile.differences, weights)

    def step_flops(self, selection: Selection) -> float:
        """Count the FLOPs of one training step."""
        cached = self._setup.cached_at(selection) is not None
        return self._setup.costs.step(selection.blocks, self._training.train_batch_size, cached)

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
        gains_after: dict[int, list[float]] = {}
        cells = []
        for budget, steps in budgets.items():
            tensors, seconds = snapshots.kept[steps]
            if steps not in gains_after:
                set_peft_model_state_dict(adapted, tensors)
                after = self._measure(adapted, budget)
                gains_after[steps] = [a - b for a, b in zip(after, self._before, strict=True)]
            gains = gains_after[steps]
            cells.append(self._cell(selection, budget, steps, rate=learning_rate, gains=gains, seconds=seconds))
        adapted.unload()
        gc.collect()
        return cells

    def _cell(
        self, selection: Selection, budget: str, steps: int, *, rate: float, gains: list[float], seconds: float
    ) -> Cell:
        costs = self._setup.costs
        return {
            "dataset": self.args.dataset,
            "seed": self.seed,
            "layers": list(selection.blocks),
            "budget": budget,
            "steps": steps,
            "learning_rate": rate,
            "before": round(fmean(self._before), 5),
            "gain": round(fmean(gains), 5),
            "gains": [round(gain, 4) for gain in gains],
            "flops": costs.reading + steps * self.step_flops(selection),
            "seconds": round(seconds, 1),
            "trained_parameters": sum(costs.adapter[block] for block in selection.blocks),
        }

    def _measure(self, model: PreTrainedModel | PeftModel, description: str) -> list[float]:
        kept = KeptFigures(self.args.fresh)
        scorer = AnswerScorer(model, self._encoder, self.args.eval_token_budget, kept=kept)
        values = leading_values(scorer, self._benchmark, f"{description}: {self._benchmark.name}")
        kept.say_used(description)
        return values


@dataclass(frozen=True)
class NamedSelector:
    """A selector as `--selectors` names it.

    Args:
        selector: the selector; `layers` for blocks that are listed.
        form, estimator: which EAVSS and which AVSS.
        seed: the number of a random choice.
        layers: the listed blocks.
    """

    selector: str
    form: str = "contrast"
    estimator: str = "paper"
    seed: int = 0
    layers: tuple[int, ...] = ()


def parse_selector(name: str) -> NamedSelector:
    """Read the name of a selector with its form, its estimator or a number, or `layers:8,11,14`.

    Raises:
        RecipeError: there is no such selector.
    """
    selector, _, variant = name.partition(":")
    match selector, variant:
        case "random", number if number.isdigit():
            return NamedSelector(selector, seed=int(number))
        case "layers", numbers if re.fullmatch(r"\d+(,\d+)*", numbers):
            return NamedSelector(selector, layers=tuple(int(number) for number in numbers.split(",")))
        case "eavss", "contrast" | "conditional":
            return NamedSelector(selector, form=variant)
        case "avss", "paper" | "scale_free":
            return NamedSelector(selector, estimator=variant)
        case "hsav" | "block_influence" | "probe" | "first" | "middle" | "last" | "all" | "cost_aware", "":
            return NamedSelector(selector)
    raise RecipeError(
        f"--selectors: {name!r} should be one of eavss:contrast, eavss:conditional, avss:paper, avss:scale_free, hsav, "
        "block_influence, probe, cost_aware, first, middle, last, all, random:NUMBER, layers:NUMBER,NUMBER,..."
    )
