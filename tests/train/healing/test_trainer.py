"""Healing on a tiny model: what the two terms are, what moves, and what is run."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F

from eavss.batches import TokenSequence, pad
from eavss.blocks import find_blocks
from eavss.surgery import remove_blocks
from tests.toys import VOCABULARY, arguments, tiny_model, tiny_tokenizer
from train.healing.students import BOTH_TERMS, HealingWeights, Student, adapted_student
from train.healing.trainer import HealingTrainer, ends_of_runs, state_error
from train.recipe.settings import LoraSettings
from train.runtime.errors import ModelError

REMOVED = [1, 2]


def texts(count: int = 8) -> list[TokenSequence]:
    """Texts of different lengths, so that batches are padded."""
    generator = torch.Generator().manual_seed(0)
    lengths = [5 + i % 4 for i in range(count)]
    rows = [torch.randint(VOCABULARY - 50, (n,), generator=generator).tolist() for n in lengths]
    return [TokenSequence(tuple(row), 1, len(row)) for row in rows]


def healing(
    folder: Path, *words: str, removed: Sequence[int] = REMOVED, weights: HealingWeights = BOTH_TERMS
) -> tuple[HealingTrainer, PeftModel]:
    _, training = arguments(folder, "--max_steps", "30", "--learning_rate", "2e-2", "--seed", "1", *words)
    torch.manual_seed(0)
    student = replace(adapted_student(tiny_model("llama"), removed, LoraSettings(r=8)), weights=weights)
    trainer = HealingTrainer(student=student, training=training, texts=texts(), tokenizer=tiny_tokenizer())
    assert isinstance(student.model, PeftModel)
    return trainer, student.model


def loss_of(trainer: HealingTrainer) -> torch.Tensor:
    found: Any = trainer.compute_loss(trainer.model, {"batch": pad(texts())})
    return torch.as_tensor(found)


@torch.no_grad()
def naive_terms(removed: Sequence[int], end: int) -> tuple[float, float]:
    """Both terms of the unhealed model, one text at a time, from a model whose blocks are really removed."""
    whole, cut = tiny_model("llama"), tiny_model("llama")
    remove_blocks(cut, removed)
    divergences: list[torch.Tensor] = []
    errors: list[torch.Tensor] = []
    for text in texts():
        ids = torch.tensor([text.ids])
        wanted, found = (m(input_ids=ids, output_hidden_states=True) for m in (whole, cut))
        base, own = (F.log_softmax(out.logits[0].double(), -1) for out in (wanted, found))
        divergences += (base.exp() * (base - own)).sum(-1)
        state, other = wanted.hidden_states[end + 1][0], found.hidden_states[end + 1 - len(removed)][0]
        errors += ((state - other) ** 2).sum(-1) / (state**2).sum(-1)
    return float(torch.stack(divergences).mean()), float(torch.stack(errors).mean())


def test_healing_stops_where_the_loss_is_no_number(tmp_path: Path) -> None:
    trainer, _ = healing(tmp_path, "--lr_scheduler_type", "constant")
    trainer.args.learning_rate = 1e30
    with pytest.raises(ModelError, match=r"before step \d: the loss is (nan|inf) in .* learning_rate below 1e\+30"):
        trainer.train()


@pytest.mark.parametrize(
    ("removed", "ends"), [([0], [0]), ([1, 2], [2]), ([0, 2, 3], [0, 3]), ([0, 1, 3, 5, 6], [1, 3, 6])]
)
def test_where_runs_of_removed_blocks_end(removed: list[int], ends: list[int]) -> None:
    assert ends_of_runs(removed) == ends


def test_an_error_is_relative_to_the_whole_models_state() -> None:
    whole = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    found = torch.tensor([[3.0, 4.0], [2.0, 2.0]])
    assert state_error([found], [whole]) == pytest.approx(0.5)
    assert state_error([found, whole], [whole, whole]) == pytest.approx(0.25)


def test_before_a_step_the_terms_are_those_of_the_cut_model(tmp_path: Path) -> None:
    divergence, error = naive_terms(REMOVED, end=2)
    assert float(loss_of(healing(tmp_path)[0])) == pytest.approx(divergence + error, rel=1e-4)
    weights = HealingWeights(divergence=2.0, states=0.5)
    assert float(loss_of(healing(tmp_path, weights=weights)[0])) == pytest.approx(2 * divergence + error / 2, rel=1e-4)
    alone = HealingWeights(divergence=0.0)
    assert float(loss_of(healing(tmp_path, weights=alone)[0])) == pytest.approx(error, rel=1e-4)


def test_healing_brings_the_cut_model_nearer_and_leaves_the_whole_one(tmp_path: Path) -> None:
    trainer, adapted = healing(tmp_path)
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logs[-1]["loss/divergence"] < 0.6 * logs[0]["loss/divergence"]
    assert logs[-1]["loss/states"] < logs[0]["loss/states"]
    assert logs[0]["loss"] == pytest.approx(logs[0]["loss/divergence"] + logs[0]["loss/states"], abs=2e-3)
    moved = {name for name, p in adapted.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert not any(f"layers.{layer}." in name for name in moved for layer in REMOVED)
    ids = torch.tensor([texts()[0].ids])
    adapted.eval()
    with adapted.disable_adapter():
        assert torch.equal(adapted(input_ids=ids).logits, tiny_model("llama")(input_ids=ids).logits)


def test_without_the_divergence_no_block_behind_the_cut_is_run(tmp_path: Path) -> None:
    for weights, expected in ((BOTH_TERMS, [0, 1, 2, 3, 0, 3]), (HealingWeights(0.0, 1.0), [0, 1, 2, 0])):
        trainer, adapted = healing(tmp_path, weights=weights)
        ran: list[int] = []
        for number, block in enumerate(find_blocks(adapted).modules):
            norm = next(module for module in block.modules() if type(module).__name__.endswith("RMSNorm"))
            norm.register_forward_hook(lambda *_a, number=number, ran=ran: ran.append(number))
        loss_of(trainer).backward()
        assert ran == expected


def test_a_copy_may_teach(tmp_path: Path) -> None:
    """Where whole weights are trained, the whole model is another one."""
    _, training = arguments(tmp_path, "--max_steps", "20", "--learning_rate", "1e-2", "--seed", "1")
    whole = tiny_model("llama")
    student = copy.deepcopy(whole)
    student.requires_grad_(False)
    find_blocks(student).modules[3].requires_grad_(True)
    trainer = HealingTrainer(
        student=Student(student, whole, REMOVED), training=training, texts=texts(), tokenizer=tiny_tokenizer()
    )
    trainer.train()
    logs = [entry["loss/divergence"] for entry in trainer.state.log_history if "loss" in entry]
    assert logs[-1] < logs[0]
    ids = torch.tensor([texts()[0].ids])
    assert torch.equal(whole(input_ids=ids).logits, tiny_model("llama")(input_ids=ids).logits)
