"""TRL's SFTTrainer on refusal-aware data, as R-Tuning has it (Zhang et al., 2024, arXiv 2311.09677)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import datasets
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from trl import SFTConfig, SFTTrainer

from data.examples import Example
from eavss.blocks import find_blocks
from eavss.costs import forward_costs
from train.batching.encoding import Encoder
from train.comparison.trl_config import trl_config
from train.declining.own_answers import read_verdicts
from train.model.lora import lora_config
from train.model.lora_counts import equivalent_parameters
from train.recipe.settings import LoraSettings
from train.runtime.errors import RecipeError


class Row(TypedDict):
    """A question as it is asked, and what the model should say."""

    prompt: str
    completion: str


def refusal_aware_rows(path: Path, examples: Sequence[Example], encoder: Encoder, wording: str) -> list[Row]:
    """Make R-Tuning's training data: the true answer where the base's own is right, else words that decline.

    Args:
        path: a run's `own_answers.jsonl`.
        examples: the run's training examples.
        encoder: as questions are asked.
        wording: what stands in place of the answers to the other questions.

    Raises:
        RecipeError: the file is missing or another one.
    """
    right = read_verdicts(path)
    space = "" if encoder.prompt_style == "chat" else " "
    rows: list[Row] = []
    for example in examples:
        known = right.get((example.dataset, example.question))
        if known is not None:
            answer = example.truthful[0] if known else wording
            rows.append({"prompt": encoder.prompt(example), "completion": f"{space}{answer}"})
    return rows


def steps_for(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    lora: LoraSettings,
    *,
    batch: int,
    flops: float,
) -> int:
    """Count the steps that so many FLOPs pay for, on all blocks, with each prompt read whole.

    Raises:
        RecipeError: they do not pay for one.
    """
    tokens = sum(len(tokenizer(row["prompt"] + row["completion"])["input_ids"]) for row in rows) / len(rows)
    blocks = range(len(find_blocks(model).modules))
    of_row = forward_costs(model).training(
        blocks, tokens, predicted=tokens, lora_parameters=equivalent_parameters(model, lora), cached=False
    )
    steps = int(flops / (batch * of_row))
    if steps < 1:
        raise RecipeError("the run's FLOPs do not pay for one step of TRL's")
    return steps


def train_refusal_aware(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    lora: LoraSettings,
    training: TrainingArguments,
) -> PeftModel:
    """Train LoRA of our shape on all blocks with TRL, with the loss on the completions alone, and return the model.

    Args:
        training: its steps, batch, learning rate and schedule.
    """
    trainer = SFTTrainer(
        model,
        args=trl_config(
            SFTConfig,
            training,
            steps=training.max_steps,
            batch=training.per_device_train_batch_size,
            max_length=None,  # by default TRL cuts at 1024 tokens
        ),
        train_dataset=datasets.Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        peft_config=lora_config(model, range(len(find_blocks(model).modules)), lora),
    )
    trainer.train()
    trained = trainer.model
    assert isinstance(trained, PeftModel)
    return trained.eval()
