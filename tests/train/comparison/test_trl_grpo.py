"""TruthRL's reward and training with TRL."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, TrainingArguments

from data.examples import Example
from eavss.generation import ending_ids
from tests.toys import BLOCKS, EXAMPLES, arguments, tiny_model
from train.batching.encoding import Encoder
from train.comparison.trl_grpo import SAMPLES, Asked, Rewards, SampleCosts, asked_rows, tokens_with, train_ternary
from train.model.adapter_files import save_adapter
from train.model.loading import load_adapter
from train.model.lora import add_lora, trainable_blocks
from train.recipe.settings import LoraSettings
from train.runtime.errors import RecipeError

LORA = LoraSettings(r=4, alpha=8)
QUESTIONS = [Example("toy", "who wrote emma?", ("Jane Austen",), aliases=("Jane Austen", "Austen")), *EXAMPLES[:2]]


@pytest.fixture
def encoder(tokenizer: PreTrainedTokenizerFast) -> Encoder:
    return Encoder(tokenizer, "plain", 128)


@pytest.fixture
def training(tmp_path: Path) -> TrainingArguments:
    return arguments(tmp_path, "--max_steps", "2", "--learning_rate", "1e-2", "--per_device_train_batch_size", "2")[1]


def rows_of(folder: Path, encoder: Encoder) -> list[Asked]:
    """The base answered the first two questions."""
    path = folder / "own_answers.jsonl"
    own = [{"dataset": "toy", "question": example.question, "right": False} for example in QUESTIONS[:2]]
    path.write_text("".join(json.dumps(row) + "\n" for row in own))
    return asked_rows(path, QUESTIONS, encoder)


def test_the_questions_that_the_base_answered_are_asked(tmp_path: Path, encoder: Encoder) -> None:
    rows = rows_of(tmp_path, encoder)
    assert [row["question"] for row in rows] == ["who wrote emma?", "which number follows 0?"]
    assert rows[0]["prompt"] == "Question: who wrote emma?\nAnswer:"
    assert rows[0]["aliases"] == ["Jane Austen", "Austen"]
    with pytest.raises(RecipeError, match="does not hold a run's own answers"):
        asked_rows(tmp_path / "other.jsonl", QUESTIONS, encoder)


def test_right_is_paid_and_wrong_is_fined_and_declining_neither() -> None:
    said = [" Austen\nQuestion: who", " I don't know", " Emily Bronte", "\n\nJane Austen"]
    logged: dict[str, float] = {}
    rewards = Rewards(("\n",))
    paid = rewards(
        prompts=[""] * 4,
        completions=said,
        completion_ids=[[1], [1, 2], [1, 2, 3], [1]],
        question=["who wrote emma?"] * 4,
        aliases=[["Jane Austen", "Austen"]] * 4,
        log_metric=logged.__setitem__,
    )
    assert paid == [1, 0, -1, -1]
    assert rewards.tokens == 7
    assert logged == {"right": 0.25, "declined": 0.25, "wrong": 0.25, "empty": 0.25}


def test_a_sample_is_read_twice_and_carried_back_once() -> None:
    costs = SampleCosts.of(tiny_model("llama"), LORA)
    blocks, head, lora = sum(costs.forward.blocks), costs.forward.head, 6 * sum(costs.lora_parameters)
    assert costs(10, 2) == pytest.approx(12 * (3 * blocks + lora) + 2 * 3 * head)


def test_flops_pay_for_questions(tmp_path: Path, encoder: Encoder) -> None:
    costs, rows = SampleCosts.of(tiny_model("llama"), LORA), rows_of(tmp_path, encoder)[:1]
    of_question = SAMPLES * costs(len(rows[0]["prompt"]), len(" No idea") + 1)
    assert costs.questions(encoder.tokenizer, rows, "No idea", 3.5 * of_question) == 3
    assert costs.questions(encoder.tokenizer, rows, "No idea", 0.5 * of_question) == 0


def test_only_the_newline_of_a_tokenizer_of_bytes_holds_one(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokens_with(tokenizer, ("\n",)) == tokenizer("\n")["input_ids"]
    assert tokens_with(tokenizer, ()) == []


def test_all_blocks_learn_and_answers_end_as_they_did_before(
    tmp_path: Path, encoder: Encoder, training: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = tiny_model("llama"), rows_of(tmp_path, encoder)
    before = ending_ids(model, encoder.tokenizer)
    # What a random model writes is all wrong, and equal rewards teach nothing.
    monkeypatch.setattr(
        "train.comparison.trl_grpo.judge",
        lambda text, *_: "right" if len(text) % 2 else "declined" if text else "empty",
    )
    trained = train_ternary(model, encoder, rows, LORA, training)
    assert trainable_blocks(trained.model) == list(range(BLOCKS))
    lora_b = [p for name, p in trained.model.named_parameters() if "lora_B" in name]
    assert all(bool(p.any()) for p in lora_b)
    assert ending_ids(trained.model, encoder.tokenizer) == before
    asked = 2 * 2 * SAMPLES
    assert trained.prompt_tokens == asked / 2 * sum(len(row["prompt"]) for row in rows)
    assert asked <= trained.answer_tokens <= asked * 32


def test_an_adapter_is_trained_on(
    tmp_path: Path, encoder: Encoder, training: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.comparison.trl_grpo.judge", lambda text, *_: "right" if len(text) % 2 else "wrong")
    save_adapter(add_lora(tiny_model("llama"), range(BLOCKS), LORA), tmp_path / "adapter")
    start = load_adapter(tiny_model("llama"), str(tmp_path / "adapter"))
    first = {name: p.detach().clone() for name, p in start.named_parameters() if "lora_A" in name}
    trained = train_ternary(start, encoder, rows_of(tmp_path, encoder), LORA, training).model
    moved = {name for name, p in trained.named_parameters() if name in first and not torch.equal(p, first[name])}
    assert trained is start
    assert moved == first.keys()


def test_a_step_needs_as_many_questions(tmp_path: Path, encoder: Encoder, training: TrainingArguments) -> None:
    rows = rows_of(tmp_path, encoder)[:1]
    with pytest.raises(RecipeError, match="per_device_train_batch_size: 2 should be at most 1, the questions"):
        train_ternary(tiny_model("llama"), encoder, rows, LORA, training)
