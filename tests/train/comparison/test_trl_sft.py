"""R-Tuning's data and training with TRL."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tests.toys import BLOCKS, EXAMPLES, arguments, tiny_model
from train.batching.encoding import Encoder
from train.comparison.trl_sft import Row, refusal_aware_rows, steps_for, train_refusal_aware
from train.model.lora import trainable_blocks
from train.recipe.settings import LoraSettings
from train.runtime.errors import RecipeError

LORA = LoraSettings(r=4, alpha=8)


def rows_of(folder: Path, tokenizer: PreTrainedTokenizerFast) -> list[Row]:
    """The base answered the first three questions, and the second one right."""
    path = folder / "own_answers.jsonl"
    own = [{"dataset": "toy", "question": e.question, "right": n == 1} for n, e in enumerate(EXAMPLES[:3])]
    path.write_text("".join(json.dumps(row) + "\n" for row in own))
    return refusal_aware_rows(path, EXAMPLES, Encoder(tokenizer, "plain", 128), "No idea")


def test_true_answers_where_the_base_is_right_and_refusals_elsewhere(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = rows_of(tmp_path, tokenizer)
    assert [row["completion"] for row in rows] == [" No idea", " it is 2", " No idea"]
    assert rows[1]["prompt"] == "Question: which number follows 1?\nAnswer:"


def test_another_file_is_told(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = tmp_path / "own_answers.jsonl"
    for content in (None, '{"question": 3}\n', "[]\n"):
        if content is not None:
            path.write_text(content)
        with pytest.raises(RecipeError, match="does not hold a run's own answers; decline_weight writes them"):
            refusal_aware_rows(path, EXAMPLES, Encoder(tokenizer, "plain", 128), "No idea")


def test_twice_the_flops_pay_for_twice_the_steps(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    rows, model = rows_of(tmp_path, tokenizer), tiny_model("llama")
    steps = steps_for(model, tokenizer, rows, LORA, batch=2, flops=1e10)
    assert steps > 10
    assert steps_for(model, tokenizer, rows, LORA, batch=2, flops=2e10) in (2 * steps, 2 * steps + 1)
    assert steps_for(model, tokenizer, rows, LORA, batch=4, flops=2e10) == steps
    with pytest.raises(RecipeError, match="do not pay for one step"):
        steps_for(model, tokenizer, rows, LORA, batch=2, flops=1e3)


def test_all_blocks_learn_the_completions(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    rows = rows_of(tmp_path, tokenizer)
    _, training = arguments(tmp_path, "--max_steps", "30", "--learning_rate", "2e-2")
    model = tiny_model("llama")

    def loss() -> float:
        prompt, whole = (tokenizer(text)["input_ids"] for text in (rows[0]["prompt"], "".join(rows[0].values())))
        labels = torch.tensor([[*[-100] * len(prompt), *whole[len(prompt) :]]])
        with torch.no_grad():
            return float(model(input_ids=torch.tensor([whole]), labels=labels).loss)

    before = loss()
    trained = train_refusal_aware(model, tokenizer, rows, LORA, training)
    assert trainable_blocks(trained) == list(range(BLOCKS))
    assert loss() < 0.5 * before
