"""The contrastive trainer on a tiny model."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils._python_dispatch import TorchDispatchMode

from eavss.blocks import find_blocks
from eavss.selectors import Selection
from tests.toys import BLOCKS, EXAMPLES, VOCABULARY, arguments, toy_setup, train_toy
from train.batching.encoding import Encoder
from train.batching.pairs import MicroBatch
from train.declining.own_answers import OwnAnswer
from train.declining.pairs import declining_pairs
from train.model.adapter_files import save_adapter
from train.recipe.parse import parse
from train.runtime.errors import ModelError, RecipeError
from train.training import TrainingSetup


def test_training_moves_the_adapter_alone_and_logs_every_term(tmp_path: Path) -> None:
    trainer, adapted, before = train_toy(tmp_path, "--infonce_weight", "0.5")
    moved = {name for name, p in adapted.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in adapted.named_parameters() if p.requires_grad}
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 6
    wanted = {"loss/ce", "loss/dpo", "loss/infonce", "logps/chosen", "logps/rejected", "rewards/margins"}
    assert all(wanted <= set(entry) for entry in logs)
    first = logs[0]
    # Nothing has moved at the first step, so the references equal the model and DPO is log 2.
    assert first["loss/dpo"] == pytest.approx(0.6931, abs=1e-3)
    assert first["loss"] == pytest.approx(first["loss/ce"] + first["loss/dpo"] + 0.5 * first["loss/infonce"], abs=1e-3)
    assert logs[-1]["rewards/margins"] > 0
    assert logs[-1]["loss"] < first["loss"]


def test_own_answers_are_trained_beside_declining(tmp_path: Path) -> None:
    """Truthful answers keep their terms, own answers have theirs, and a batch of both divides the loss by pairs."""
    words = ("--max_steps", "12", "--learning_rate", "5e-3", "--decline_weight", "1")
    args, training = arguments(tmp_path, *words)
    setup = toy_setup(args)
    own = [OwnAnswer(example, example.truthful[0], n < 2, n < 2) for n, example in enumerate(EXAMPLES)]
    encoder = Encoder(setup.tokenizer, "plain", 128)
    answers = declining_pairs(own, encoder, ["I am not sure"], share=0.9, count=10, seed=0)
    setup = TrainingSetup(setup.model, setup.tokenizer, setup.pairs.joined(answers), args, seed=0)
    trainer = setup.trainer(Selection((1, 2), "layers"), training)
    mixed = [*list(setup.pairs)[:2], *list(answers)[:2]]
    parts = trainer._parts(mixed)
    assert [[pair.declines for pair in part.pairs] for part in parts] == [[False, False], [True, True]]
    assert [part.share for part in parts] == [0.5, 0.5]
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss/decline" in entry]
    assert logs[-1]["loss/decline"] < 0.8 * logs[0]["loss/decline"]
    assert any("loss/dpo" in entry and "rewards/margins" in entry for entry in logs)


def test_training_stops_where_the_loss_is_no_number(tmp_path: Path) -> None:
    """Before the optimiser takes a step with it, so that the last checkpoint is whole."""
    words = ["--max_steps", "6", "--learning_rate", "1e30", "--lr_scheduler_type", "constant", "--save_steps", "1"]
    args, training = parse(
        ["--model_name_or_path", "toy/toy", "--dtype", "float32", "--output_dir", str(tmp_path), *words]
    )
    trainer = toy_setup(args).trainer(Selection((1, 2), "layers"), training)
    with pytest.raises(ModelError, match=r"before step \d: the loss is (nan|inf) in .* learning_rate below 1e\+30"):
        trainer.train()
    (last, *_) = sorted(tmp_path.glob("checkpoint-*"), reverse=True)
    assert 1 <= int(last.name.split("-")[1]) < 6
    assert not (tmp_path / "adapter").exists()


def test_gradient_accumulation_is_a_larger_batch(tmp_path: Path) -> None:
    whole, _, _ = train_toy(tmp_path, "--per_device_train_batch_size", "4")
    halves = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2")
    parts, _, _ = train_toy(tmp_path, *halves)
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry] for t in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


def losses_of(folder: Path, *words: str) -> list[float]:
    trainer, _, _ = train_toy(folder, *words)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize(
    "words",
    [
        ("--prefix_cache_gb", "0"),
        ("--pack_answers", "false"),
        ("--pack_answers", "false", "--prefix_cache_gb", "0"),
        ("--train_token_budget", "100"),
        ("--activation_checkpointing", "true"),
        ("--activation_checkpointing", "true", "--prefix_cache_gb", "0"),
    ],
)
def test_each_way_to_be_fast_changes_no_loss(words: tuple[str, ...], tmp_path: Path) -> None:
    assert losses_of(tmp_path / "a", *words) == pytest.approx(losses_of(tmp_path / "b"), abs=2e-5)


@pytest.mark.parametrize("cache", ["0", "1"])
@pytest.mark.parametrize("checkpointing", ["true", "false"])
def test_the_backward_pass_stops_at_the_lowest_selected_block(cache: str, checkpointing: str, tmp_path: Path) -> None:
    """And with checkpointing, only the blocks from there on run their forward pass again."""
    words = ("--prefix_cache_gb", cache, "--activation_checkpointing", checkpointing)
    trainer, adapted, _ = train_toy(tmp_path, *words)
    forward: list[int] = []
    backward: list[int] = []
    for number, block in enumerate(find_blocks(adapted).modules):
        norm = next(module for module in block.modules() if type(module).__name__.endswith("RMSNorm"))
        norm.register_forward_hook(lambda *_a, number=number: forward.append(number))
        block.register_full_backward_hook(lambda *_a, number=number: backward.append(number))
    adapted.train()
    trainer.compute_loss(adapted, {"part": MicroBatch(list(trainer.train_dataset)[:2])}).backward()
    assert sorted(backward) == [1, 2, 3]
    again = [1, 2, 3] if checkpointing == "true" else []
    assert sorted(forward) == sorted([*range(0 if cache == "0" else 1, BLOCKS), *again])


def test_reentrant_checkpointing_is_refused(tmp_path: Path) -> None:
    options = ("--activation_checkpointing", "true", "--activation_checkpointing_kwargs", '{"use_reentrant": true}')
    with pytest.raises(RecipeError, match="use_reentrant should be false"):
        train_toy(tmp_path, *options)


def test_nothing_as_large_as_all_logits_is_made(tmp_path: Path) -> None:
    """The largest tensor of vocabulary width has a row for each predicted token, in the model's dtype."""
    trainer, adapted, _ = train_toy(tmp_path)
    pairs = list(trainer.train_dataset)[:4]
    predicted = sum(len(s) - s.answer_start for pair in pairs for s in pair.sequences)
    with LargestLogits() as seen:
        trainer.compute_loss(adapted, {"part": MicroBatch(pairs)}).backward()
    assert seen.rows == predicted


class LargestLogits(TorchDispatchMode):
    """The most rows that a tensor as wide as the vocabulary had."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.shape[-1:] == (VOCABULARY,):
            self.rows = max(self.rows, result.numel() // VOCABULARY)
        return result


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        _, adapted, _ = train_toy(tmp_path / name)
        save_adapter(adapted, tmp_path / name / "adapter")
        files.append((tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_trackers_get_every_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the Trainer's own integrations; TensorBoard stands for W&B and trackio, which get the same dict."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    train_toy(tmp_path, "--report_to", "tensorboard")
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    wanted = {"train/loss", "train/loss/ce", "train/loss/dpo", "train/logps/chosen", "train/rewards/margins"}
    assert wanted <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss/dpo")] == [1, 2, 3, 4, 5, 6]


def test_a_tracker_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"report_to: \['codecarbon'\] should be none, or trackers"):
        train_toy(tmp_path, "--report_to", "codecarbon")


def test_the_callers_arguments_are_left_as_they_are(tmp_path: Path) -> None:
    args, training = arguments(tmp_path, "--max_steps", "1", "--activation_checkpointing", "true")
    before = training.to_dict()
    setup, selection = toy_setup(args), Selection((1, 2), "layers")
    trainer = setup.trainer(selection, training)
    trainer.train()
    assert training.to_dict() == before
    assert training.activation_checkpointing
