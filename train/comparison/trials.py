"""One data set and seed on a model, on which choices of blocks are tried: what they share is computed once."""

import copy
import gc
import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

from peft import get_peft_model_state_dict, set_peft_model_state_dict
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

from eavss.selectors import select_layers
from eavss.stability import bootstrap_weights, resampled_scores
from train.base.reading import BaseOutputs, read_base
from train.base.replay_texts import write_texts
from train.batching.encoding import Encoder
from train.batching.packing import Packer
from train.batching.pairs import make_pairs
from train.comparison.selectors import Cell
from train.evaluation.benchmarks import leading_metric, load_benchmarks
from train.evaluation.likelihood import AnswerScorer
from train.model.lora import add_lora
from train.plan import pair_costs, prefix_layer
from train.recipe.arguments import EavssArguments
from train.runtime.errors import RecipeError
from train.selection.scoring import block_scores, score, training_examples
from train.trainer import ContrastiveTrainer

_EVALUATION_SEED = 0


class Snapshots(TrainerCallback):
    """Keeps the adapter as it is after some steps, and the seconds until then."""

    def __init__(self, steps: set[int]) -> None:
        self.start = time.perf_counter()
        self.kept: dict[int, tuple[dict[str, Tensor], float]] = {}
        self._steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **context: Any
    ) -> None:
        """Copy the adapter's tensors."""
        if state.global_step in self._steps:
            tensors = {name: t.detach().clone() for name, t in get_peft_model_state_dict(context["model"]).items()}
            self.kept[state.global_step] = (tensors, time.perf_counter() - self.start)


@dataclass
class Trials:
    """One data set and seed on a model: everything that the choices of blocks share."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    args: EavssArguments
    training: TrainingArguments
    _bases: dict[int, BaseOutputs] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_seed(self.seed)
        args = self.args
        self.encoder = Encoder(self.tokenizer, args.prompt_style, args.max_length)
        self.examples = training_examples(args.training_pools(), self.model, self.tokenizer, args, self.seed)
        # The same questions whichever the seed, which is that of training.
        self.benchmark = load_benchmarks(args, _EVALUATION_SEED)[0]
        self.pairs = make_pairs(self.examples, self.encoder, args.pairs_per_question, False, self.seed)
        self.packer = Packer.of(self.model, args.pack_answers)
        self.texts = write_texts(self.model, self.tokenizer, self.seed) if args.replay_weight else []
        self.costs = pair_costs(self.model, self.pairs, self.packer, args)
        self.before = self._measure(self.model, "before")  # now, since adapters are put into the same model

    @property
    def seed(self) -> int:
        return self.training.seed

    def layers(self, name: str) -> list[int]:
        """The blocks that a selector picks, from one profile of the training questions, or that its name lists."""
        options = check_selector(name)
        if "layers" in options:
            return sorted(options["layers"])
        scores, draws = self._scores
        return select_layers(scores, fraction=self.args.select_fraction, draws=draws, **options)

    @cached_property
    def _scores(self) -> tuple[list[dict[str, Any]], Tensor]:
        profile = score(self.model, self.examples[: self.args.score_questions], self.encoder, self.args, self.seed)
        weights = bootstrap_weights(profile.questions, 200, self.seed)
        return block_scores(profile), resampled_scores(profile.differences, weights)

    def step_flops(self, layers: list[int]) -> float:
        """FLOPs of one training step."""
        cached_at = prefix_layer(self.model, layers, self.pairs, self.args)
        return self.costs.step(layers, self.training.train_batch_size, cached=cached_at is not None)

    def run(self, layers: list[int], learning_rate: float, budgets: dict[str, int]) -> list[Cell]:
        """Train on `layers`, and measure after as many steps as each budget allows."""
        base = self._base(layers)
        set_seed(self.seed)
        adapted = add_lora(self.model, layers, self.args)
        training = copy.copy(self.training)
        training.learning_rate, training.max_steps = learning_rate, max(budgets.values())
        trainer = ContrastiveTrainer(
            adapted, layers, self.args, training, self.pairs, base, self.packer, self.tokenizer
        )
        snapshots = Snapshots(set(budgets.values()))
        trainer.add_callback(snapshots)
        trainer.train()
        gains_after: dict[int, list[float]] = {}
        cells = []
        for budget, steps in budgets.items():
            tensors, seconds = snapshots.kept[steps]
            if steps not in gains_after:
                set_peft_model_state_dict(adapted, tensors)
                gains_after[steps] = [a - b for a, b in zip(self._measure(adapted, budget), self.before, strict=True)]
            gains = gains_after[steps]
            cells.append(
                {
                    "dataset": self.args.dataset,
                    "seed": self.seed,
                    "layers": layers,
                    "budget": budget,
                    "steps": steps,
                    "learning_rate": learning_rate,
                    "before": round(fmean(self.before), 5),
                    "gain": round(fmean(gains), 5),
                    "gains": [round(gain, 4) for gain in gains],
                    "flops": self.costs.reading + steps * self.step_flops(layers),
                    "seconds": round(seconds, 1),
                    "trained_parameters": self.costs.adapter * len(layers),
                }
            )
        adapted.unload()
        gc.collect()
        return cells

    def _base(self, layers: list[int]) -> BaseOutputs:
        """References, read once for all choices, and the frozen prefix, for all with the same lowest block."""
        lowest = layers[0]
        if lowest not in self._bases:
            self._bases[lowest] = read_base(
                self.model,
                self.pairs.sequences(),
                self.packer,
                self.args.eval_token_budget,
                prefix_layer(self.model, layers, self.pairs, self.args),
                self.args.prefix_cache_gb * 1e9,
                self.texts,
                earlier=next(iter(self._bases.values()), None),
            )
        return self._bases[lowest]

    def _measure(self, model: Any, description: str) -> list[float]:
        scorer = AnswerScorer(model, self.encoder, self.args.eval_token_budget)
        return leading_metric(scorer, self.benchmark, description)


def check_selector(name: str) -> dict[str, Any]:
    """The options of `select_layers` that a name stands for: a selector, with a form, an estimator or a number; of
    `layers:8,11,14` the `layers` themselves.

    Raises:
        RecipeError: there is no such selector.
    """
    selector, _, variant = name.partition(":")
    match selector, variant:
        case "random", number if number.isdigit():
            return {"selector": selector, "seed": int(number)}
        case "layers", numbers if re.fullmatch(r"\d+(,\d+)*", numbers):
            return {"layers": [int(number) for number in numbers.split(",")]}
        case "eavss", "contrast" | "conditional":
            return {"selector": selector, "form": variant}
        case "avss", "paper" | "scale_free":
            return {"selector": selector, "estimator": variant}
        case "hsav" | "block_influence" | "probe" | "first" | "middle" | "last" | "all" | "cost_aware", "":
            return {"selector": selector}
    raise RecipeError(
        f"--selectors: {name!r} should be one of eavss:contrast, eavss:conditional, avss:paper, avss:scale_free, hsav, "
        "block_influence, probe, cost_aware, first, middle, last, all, random:NUMBER, layers:NUMBER,NUMBER,..."
    )
