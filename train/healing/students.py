"""What of a cut model is trained, and what teaches it."""

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from eavss.blocks import find_blocks
from eavss.surgery import remove_blocks
from train.model.loading import causal_lm
from train.model.lora import add_lora
from train.recipe.settings import LoraSettings


class HealingWeights(NamedTuple):
    """The weights of the terms: of the divergence, and of the states' error (`train.healing.trainer`).

    Without the divergence no block behind the last removed one is read.
    """

    divergence: float = 1.0
    states: float = 1.0


BOTH_TERMS = HealingWeights()


@dataclass(frozen=True)
class Student:
    """A whole model, some blocks of which are skipped and some of whose weights are trained.

    Args:
        model: the model that is trained.
        teacher: the whole model; it may be `model` itself.
        removed: the blocks that the student skips, ascending.
        weights: of the loss terms.
        as_whole: a context in which the teacher is whole and untrained.
    """

    model: PreTrainedModel | PeftModel
    teacher: PreTrainedModel
    removed: list[int]
    weights: HealingWeights = BOTH_TERMS
    as_whole: Callable[[], AbstractContextManager[object]] = nullcontext

    @torch.no_grad()
    def cut(self) -> PreTrainedModel:
        """Return a copy as a plain model without the removed blocks, in the teacher's dtype."""
        whole = copy.deepcopy(self.model)
        plain = cast(PreTrainedModel, whole.merge_and_unload()) if isinstance(whole, PeftModel) else whole
        remove_blocks(plain, self.removed)
        return plain.to(self.teacher.dtype).eval()  # type: ignore[arg-type] # (a decorator hides the signature)

    def trained_parameters(self) -> int:
        """Return how many numbers are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)


def blocks_that_stay(model: nn.Module, removed: Sequence[int]) -> list[int]:
    """Return the indices of the blocks that are not removed."""
    return [layer for layer in range(len(find_blocks(model).modules)) if layer not in removed]


def adapted_student(model: PreTrainedModel, removed: Sequence[int], settings: LoraSettings) -> Student:
    """Put LoRA on every block that stays. The model teaches itself, with its adapter off and no block skipped."""
    adapted = add_lora(model, blocks_that_stay(model, removed), settings)
    return Student(adapted, causal_lm(adapted), list(removed), as_whole=adapted.disable_adapter)


def last_blocks_student(model: PreTrainedModel, count: int) -> Student:
    """Remove the last blocks, and train the head and the last three that stay.

    "Reassessing Layer Pruning in LLMs" (arXiv 2411.15558) finds this best, with cross-entropy on instructions.
    """
    first = len(find_blocks(model).modules) - count
    student = copy.deepcopy(model).requires_grad_(False)
    trained = find_blocks(student).modules[max(0, first - 3) : first]
    _train([*trained, cast(nn.Module, student.get_output_embeddings())])
    return Student(student, model, list(range(first, first + count)), HealingWeights(divergence=1.0, states=0.0))


def replaced_run_student(model: PreTrainedModel, run: Sequence[int]) -> Student:
    """Replace a run of neighbouring blocks by its first one, trained to do what the run did.

    LLM-Streamline (arXiv 2403.19135) trains a small network on the mean squared error of the hidden states.
    """
    student = copy.deepcopy(model).requires_grad_(False)
    _train([find_blocks(student).modules[run[0]]])
    return Student(student, model, list(run[1:]), HealingWeights(divergence=0.0, states=1.0))


def _train(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        module.float().requires_grad_(True)  # a step of AdamW is lost in bfloat16's rounding
