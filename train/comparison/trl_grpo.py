"""TRL's GRPOTrainer with a ternary reward, as TruthRL has it (Wei et al., 2025, arXiv 2509.25760)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict

import datasets
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from data.examples import Example
from data.judge import VERDICTS, Verdict, judge
from eavss.answering import until_stop
from eavss.blocks import find_blocks
from eavss.costs import ForwardCosts, forward_costs
from eavss.generation import ending_ids, plain_generation
from train.batching.encoding import Encoder
from train.comparison.trl_config import trl_config
from train.declining.own_answers import read_verdicts
from train.evaluation.free_answers import generation_limits
from train.model.loading import causal_lm
from train.model.lora import lora_config
from train.model.lora_counts import equivalent_parameters
from train.recipe.settings import LoraSettings
from train.recipe.trainer_arguments import with_values
from train.runtime.errors import RecipeError

# Sampled answers to a question, whose rewards are compared with each other: TRL's default.
SAMPLES = 8
# An answer that says nothing is neither right nor declined in words.
REWARDS: dict[Verdict, float] = {"right": 1.0, "declined": 0.0, "wrong": -1.0, "empty": -1.0}


class Asked(TypedDict):
    """A question as it is asked, and what the judge needs to know of it."""

    prompt: str
    question: str
    aliases: list[str]


def asked_rows(path: Path, examples: Sequence[Example], encoder: Encoder) -> list[Asked]:
    """Return the questions that the base has answered, as they are asked.

    Args:
        path: a run's `own_answers.jsonl`.
        examples: the run's training examples.
        encoder: as questions are asked.

    Raises:
        RecipeError: the file is missing or another one.
    """
    answered = read_verdicts(path)
    return [
        {"prompt": encoder.prompt(each), "question": each.question, "aliases": list(each.aliases)}
        for each in examples
        if (each.dataset, each.question) in answered
    ]


class Rewards:
    """Pays 1 for a right answer, 0 for one that declines, and -1 for any other, and counts the answers' tokens.

    Args:
        stops: an answer ends before the first of these strings, as in evaluation.
    """

    __name__ = "ternary"  # TRL logs the reward under this name

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self.tokens = 0

    def __call__(
        self,
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        question: Sequence[str],
        aliases: Sequence[Sequence[str]],
        log_metric: Callable[[str, float], None],
        **_others: object,
    ) -> list[float | None]:
        """Return the rewards of some answers; TRL names the arguments, after its own and the rows' columns."""
        self.tokens += sum(map(len, completion_ids))
        verdicts = [
            judge(until_stop(text, self._stops), names, asked)
            for text, names, asked in zip(completions, aliases, question, strict=True)
        ]
        for verdict in VERDICTS:
            log_metric(verdict, verdicts.count(verdict) / len(verdicts))
        return [REWARDS[verdict] for verdict in verdicts]


@dataclass(frozen=True)
class SampleCosts:
    """The FLOPs of sampling an answer and learning from it, on all blocks, with each prompt read whole both times.

    Args:
        forward: of the model without an adapter.
        lora_parameters: the adapter's parameters in each block (`train.model.lora_counts.equivalent_parameters`).
    """

    forward: ForwardCosts
    lora_parameters: tuple[float, ...]

    @staticmethod
    def of(model: PreTrainedModel, lora: LoraSettings) -> "SampleCosts":
        """Count them for a model without an adapter."""
        return SampleCosts(forward_costs(model), equivalent_parameters(model, lora))

    def __call__(self, prompt: float, answer: float) -> float:
        """Return the FLOPs, given the numbers of tokens; those of many answers if given their sums."""
        tokens, blocks = prompt + answer, range(len(self.forward.blocks))
        training = self.forward.training(
            blocks, tokens, predicted=answer, lora_parameters=self.lora_parameters, cached=False
        )
        return self.forward.reading(tokens, predicted=answer) + training

    def questions(self, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Asked], wording: str, flops: float) -> int:
        """Return how many questions so many FLOPs pay for.

        Args:
            wording: a text of as many tokens as an answer is expected to have, besides its end.
        """
        prompt = sum(len(tokenizer(row["prompt"])["input_ids"]) for row in rows) / len(rows)
        answer = len(tokenizer(f" {wording}")["input_ids"]) + 1
        return int(flops / (SAMPLES * self(prompt, answer)))


class Trained(NamedTuple):
    """A model, and how many tokens of prompts and of sampled answers it was trained on."""

    model: PeftModel
    prompt_tokens: int
    answer_tokens: int


def train_ternary(
    model: PreTrainedModel | PeftModel,
    encoder: Encoder,
    rows: Sequence[Asked],
    lora: LoraSettings,
    training: TrainingArguments,
) -> Trained:
    """Train LoRA on all blocks with TRL: answers are sampled at temperature 1, and rewarded as the judge finds them.

    Args:
        model: the base, which gets LoRA of our shape, or a model with an adapter, which is trained on.
        encoder: as questions are asked. Sampled answers end as those of an evaluation do.
        training: its steps, questions in a step, learning rate and schedule; the warm-up is a tenth of few steps.

    Raises:
        RecipeError: there are too few questions for a step.
    """
    batch = training.per_device_train_batch_size
    if len(rows) < batch:
        raise RecipeError(f"per_device_train_batch_size: {batch} should be at most {len(rows)}, the questions")
    tokenizer, (stops, limit) = encoder.tokenizer, generation_limits(encoder.prompt_style)
    peft_config = None
    if isinstance(model, PeftModel):
        model.set_adapter(model.active_adapter)  # an adapter is loaded frozen
    else:
        peft_config = lora_config(model, range(len(find_blocks(model).modules)), lora)
    rewards = Rewards(stops)
    with plain_generation(model):
        # TRL takes what ends an answer from here, and nothing but tokens.
        causal_lm(model).generation_config.eos_token_id = [
            *ending_ids(model, tokenizer, encoder.end_ids[-1:]),
            *tokens_with(tokenizer, stops),
        ]
        trainer = GRPOTrainer(
            model,
            reward_funcs=rewards,
            args=_config(training, limit),
            train_dataset=datasets.Dataset.from_list(list(rows)),
            processing_class=tokenizer,
            peft_config=peft_config,
        )
        trainer.train()
    trained = trainer.model
    assert isinstance(trained, PeftModel)
    return Trained(trained.eval(), trainer.state.num_input_tokens_seen - rewards.tokens, rewards.tokens)


def _config(training: TrainingArguments, limit: int) -> GRPOConfig:
    """Return TRL's arguments; what is not named here has TRL's defaults, so that nothing holds it to the base."""
    steps = training.max_steps
    return trl_config(
        GRPOConfig,
        with_values(training, warmup_steps=min(training.warmup_steps, steps // 10)),
        steps=steps,
        batch=training.per_device_train_batch_size * SAMPLES,
        num_generations=SAMPLES,
        max_completion_length=limit,
        logging_steps=training.logging_steps,
    )


def tokens_with(tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> list[int]:
    """Return the tokens whose text holds one of the strings."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return [token for token, text in enumerate(texts) if any(stop in text for stop in stops)]
