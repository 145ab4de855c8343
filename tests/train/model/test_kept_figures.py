"""A figure is measured once for each model, machine and setting that it depends on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from eavss.rewiring import rewired
from tests.ranks import on_two_ranks
from tests.toys import BLOCKS, tiny_model
from train.model import written_store
from train.model.kept_figures import KeptFigures
from train.model.lora import add_lora
from train.recipe.settings import LoraSettings


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))


def adapted_model() -> PeftModel:
    return add_lora(tiny_model("llama"), [1, 2], LoraSettings())


def is_measured(model: object, settings: object = "settings") -> bool:
    """Ask for a figure, and return whether it was measured."""
    calls: list[int] = []
    KeptFigures()("scores", cast(PeftModel, model), settings, lambda: calls.append(1) or [1], "")  # type: ignore[func-returns-value]
    return bool(calls)


def in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_store, "_written", set())


def test_what_an_earlier_run_has_measured_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2, 3):
        kept = KeptFigures()
        for name in ("nq", "sciq"):
            assert kept("scores", tiny_model("llama"), name, lambda: [number], f"before: {name}") == [1]  # noqa: B023
        kept.say_used("before")
        kept.say_used("before")
        if number == 2:
            in_another_process(monkeypatch)
    line = f"before: not measured again, but read from {tmp_path} (fresh: true measures anew): nq, sciq\n"
    assert capsys.readouterr().out == line


def test_fresh_figures_are_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def figure(value: int, fresh: bool) -> int:
        return KeptFigures(fresh)("scores", tiny_model("llama"), 0, lambda: value, "")

    assert figure(1, fresh=False) == 1
    in_another_process(monkeypatch)
    assert figure(2, fresh=True) == 2
    assert figure(3, fresh=True) == 2
    assert figure(4, fresh=False) == 2


def scale(model: PeftModel) -> None:
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(2.0)


def train(model: PeftModel) -> None:
    with torch.no_grad():
        next(weight for name, weight in model.named_parameters() if "lora_B" in name).add_(1e-3)


CHANGES: dict[str, Callable[[PeftModel], object]] = {
    "the adapter's weights": train,
    "its scale": scale,
    "the adapter is off": lambda model: model.base_model.disable_adapter_layers(),
    "it is merged": lambda model: model.merge_adapter(),
    "the attention": lambda model: model.get_base_model().set_attn_implementation("eager"),
    "the dtype": lambda model: model.to(torch.bfloat16),
    "the number of threads": lambda _model: torch.set_num_threads(torch.get_num_threads() + 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_a_figure_depends_on_makes_it_another(change: str) -> None:
    model, threads = adapted_model(), torch.get_num_threads()
    assert is_measured(model)
    assert not is_measured(adapted_model())
    try:
        CHANGES[change](model)
        assert is_measured(model)
    finally:
        torch.set_num_threads(threads)


def test_an_adapter_is_no_base_and_other_settings_are_others() -> None:
    assert [is_measured(tiny_model("llama")), is_measured(adapted_model())] == [True, True]
    assert is_measured(tiny_model("llama"), "others")


def test_nothing_is_kept_of_a_rewired_model() -> None:
    model = tiny_model("llama")
    assert is_measured(model)
    for _ in range(2):
        with rewired(model, [(block,) for block in reversed(range(BLOCKS))]):
            assert is_measured(model)


def test_ranks_on_machines_of_their_own_take_what_the_first_one_has(tmp_path: Path) -> None:
    def ask(rank: int) -> tuple[list[int], list[str]]:
        os.environ["EAVSS_CACHE"] = str(tmp_path / str(rank))
        torch.set_num_threads(rank + 1)  # the first rank decides, whatever another one's key is
        kept = KeptFigures()
        first = kept("scores", tiny_model("llama"), 0, lambda: [rank], "first")
        written_store._written.clear()  # as in another process
        return [*first, *kept("scores", tiny_model("llama"), 0, lambda: [7], "again")], kept.used

    assert on_two_ranks(ask) == [([0, 0], ["again"]), ([1, 0], ["again"])]
    assert not (tmp_path / "1").exists()
