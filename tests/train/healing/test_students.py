"""What of a cut tiny model is trained, and what a student's plain copy says."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from eavss.surgery import skip_blocks
from tests.toys import tiny_model
from train.healing.students import Student, adapted_student, last_blocks_student, replaced_run_student
from train.recipe.settings import LoraSettings

IDS = torch.tensor([[3, 4, 5, 6]])
STUDENTS: dict[str, Callable[[PreTrainedModel], Student]] = {
    "lora": lambda model: adapted_student(model, [1, 2], LoraSettings()),
    "last": lambda model: last_blocks_student(model, 2),
    "run": lambda model: replaced_run_student(model, [1, 2, 3]),
}


def trained(student: Student) -> set[str]:
    """The blocks with a trained weight, and what else has one."""
    names = [name for name, p in student.model.named_parameters() if p.requires_grad]
    return {name.split("layers.")[1][0] if "layers." in name else name for name in names}


def test_each_student_trains_what_it_says() -> None:
    assert trained(STUDENTS["lora"](tiny_model("llama"))) == {"0", "3"}
    assert trained(STUDENTS["last"](tiny_model("llama"))) == {"0", "1", "lm_head.weight"}
    assert trained(STUDENTS["run"](tiny_model("llama"))) == {"1"}
    assert trained(last_blocks_student(tiny_model("gpt2"), 1)) >= {"transformer.wte.weight"}  # tied to the head


@pytest.mark.parametrize("name", STUDENTS)
def test_a_copy_without_the_blocks_says_what_the_student_says(name: str) -> None:
    student = STUDENTS[name](tiny_model("llama"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in student.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        with skip_blocks(student.model, student.removed):
            expected = student.model(input_ids=IDS, use_cache=False).logits
    cut = student.cut()
    assert cut.config.num_hidden_layers == 4 - len(student.removed)
    torch.testing.assert_close(cut(input_ids=IDS).logits, expected, atol=1e-5, rtol=1e-5)
    with student.as_whole():
        torch.testing.assert_close(student.teacher(input_ids=IDS).logits, tiny_model("llama")(input_ids=IDS).logits)


def test_weights_are_trained_in_float32_and_copied_in_the_models_dtype() -> None:
    model = tiny_model("llama").to(torch.bfloat16)  # type: ignore[arg-type]
    student = last_blocks_student(model, 1)
    assert {p.dtype for p in student.model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in student.cut().parameters()} == {torch.bfloat16}
    assert student.trained_parameters() == sum(p.numel() for p in student.model.parameters() if p.requires_grad)
