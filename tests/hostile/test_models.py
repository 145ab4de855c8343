"""Folders of models and adapters, each broken in its own way."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts import export_checkpoint, score_layers
from tests.hostile.refusal import check_refused
from tests.train.publishing.toy_run import CONFIG, WEIGHTS, write_adapter

Break = Callable[[Path], object]


class Trap:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def change(name: str, **values: Any) -> Break:
    """Set keys of a JSON file; None removes one."""

    def broken(folder: Path) -> None:
        found = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return broken


def put(name: str, content: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(content)


def without(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def cut(name: str, share: float) -> Break:
    """Keep the first share of a file's bytes."""

    def broken(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return broken


def reweigh(name: str, work: Callable[[dict[str, torch.Tensor]], object]) -> Break:
    """Change the tensors of a file."""

    def broken(folder: Path) -> None:
        tensors = load_file(folder / name)
        work(tensors)
        save_file(tensors, folder / name, {"format": "pt"})

    return broken


def pickled(name: str, instead: str) -> Break:
    """Leave weights only as a pickle that runs code."""

    def broken(folder: Path) -> None:
        (folder / instead).unlink()
        (folder / name).write_bytes(pickle.dumps(Trap(folder.parent / "trapped")))

    return broken


def first(tensors: dict[str, torch.Tensor]) -> str:
    return min(name for name in tensors if tensors[name].ndim == 2)


MODEL = "model.safetensors"
MODELS: list[tuple[Break, str]] = [
    (shutil.rmtree, "no folder"),
    (without("config.json"), "cannot be loaded"),
    (put("config.json", b""), "cannot be loaded"),
    (put("config.json", b"{"), "cannot be loaded"),
    (put("config.json", b"[]"), "cannot be loaded"),
    (put("config.json", b"null"), "cannot be loaded"),
    (put("config.json", b"\xff\xfe"), "cannot be loaded"),
    (put("config.json", b"[" * 100_000), "cannot be loaded"),
    (put("config.json", b"{}"), "cannot be loaded"),
    (change("config.json", model_type="luck"), "cannot be loaded"),
    (change("config.json", model_type=3), "cannot be loaded"),
    (change("config.json", model_type="bert"), "is not complete"),
    (change("config.json", hidden_size="32"), "cannot be loaded"),
    (change("config.json", hidden_size=64), "is not complete"),
    (change("config.json", num_hidden_layers=6), "is not complete: it lacks"),
    (change("config.json", num_hidden_layers=2), "has more blocks than its config"),
    (change("config.json", num_hidden_layers=-1), "expected one list of -1 decoder blocks"),
    (change("config.json", num_hidden_layers=True), "model_name_or_path"),
    (change("config.json", vocab_size=10), "is of another model"),
    (change("config.json", auto_map={"AutoModelForCausalLM": "trap.Model"}, model_type="trap"), "cannot be loaded"),
    (change("config.json", quantization_config={"quant_method": "gptq", "bits": 4}), "cannot be loaded"),
    (without(MODEL), "cannot be loaded"),
    (put(MODEL, b""), "cannot be loaded"),
    (put(MODEL, b"\xff" * 64), "cannot be loaded"),
    (put(MODEL, (2**62).to_bytes(8, "little") + b"{}"), "cannot be loaded"),
    (cut(MODEL, 0.5), "cannot be loaded"),
    (cut(MODEL, 0.001), "cannot be loaded"),
    (pickled("pytorch_model.bin", MODEL), "cannot be loaded"),
    (reweigh(MODEL, lambda tensors: tensors.pop(first(tensors))), "is not complete: it lacks"),
    (reweigh(MODEL, lambda t: t.update({first(t): torch.zeros(3, 3)})), "another shape"),
    (without("tokenizer.json"), "model_name_or_path"),
    (put("tokenizer.json", b"{"), "cannot be loaded"),
    (put("tokenizer.json", b"[]"), "cannot be loaded"),
    (put("tokenizer_config.json", b"{"), "cannot be loaded"),
    (put("tokenizer_config.json", b"[]"), "cannot be loaded"),
    (put("tokenizer_config.json", b"\xff"), "cannot be loaded"),
]
ADAPTERS: list[tuple[Break, str]] = [
    (shutil.rmtree, "no adapter in"),
    (without(WEIGHTS), "no adapter in"),
    (without(CONFIG), "no adapter in"),
    (pickled("adapter_model.bin", WEIGHTS), "no adapter in"),
    (put(WEIGHTS, b""), "cannot be loaded"),
    (put(WEIGHTS, pickle.dumps({"a": 1})), "cannot be loaded"),
    (cut(WEIGHTS, 0.5), "cannot be loaded"),
    (put(CONFIG, b""), "adapter"),
    (put(CONFIG, b"{"), "adapter"),
    (put(CONFIG, b"[]"), "adapter"),
    (put(CONFIG, b"\xff"), "adapter"),
    (put(CONFIG, b"[" * 100_000), "adapter"),
    (put(CONFIG, b"{}"), "adapter"),
    (change(CONFIG, peft_type="LUCK"), "adapter"),
    (change(CONFIG, peft_type=None), "adapter"),
    (change(CONFIG, r="8"), "adapter"),
    (change(CONFIG, r=-8), "adapter"),
    (change(CONFIG, r=4), "adapter"),
    (change(CONFIG, target_modules=["luck"]), "adapter"),
    (change(CONFIG, target_modules=[]), "adapter"),
    (change(CONFIG, layers_to_transform=[9]), "adapter"),
    (change(CONFIG, layers_to_transform=[-1]), "adapter"),
    (change(CONFIG, layers_to_transform=[1]), "adapter"),
    (change(CONFIG, base_model_name_or_path=None), "model_name_or_path"),
    (change(CONFIG, base_model_name_or_path="../nowhere"), "no folder ../nowhere"),
    (change(CONFIG, base_model_name_or_path="a\nb"), "no folder a b"),
    (reweigh(WEIGHTS, lambda tensors: tensors.pop(first(tensors))), "is not whole"),
    (reweigh(WEIGHTS, lambda t: t.update({"luck": torch.zeros(1)})), "does not fit this model"),
    (reweigh(WEIGHTS, lambda t: t.update({first(t): torch.zeros(3, 3)})), "adapter"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "message"), MODELS, ids=[f"{n}" for n, _ in enumerate(MODELS)])
def test_a_bad_model(
    broken: Break, message: str, tmp_path: Path, saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(saved_model, tmp_path / "model"))
    broken(model)
    words = ["--model_name_or_path", str(model), "--datasets_root", "samples", "--output_dir", str(tmp_path / "out")]
    check_refused(score_layers.run, [*words, "--json", str(tmp_path / "a.json")], message, tmp_path, capsys)


@pytest.mark.parametrize(("broken", "message"), ADAPTERS, ids=[f"{n}" for n, _ in enumerate(ADAPTERS)])
def test_a_bad_adapter(
    broken: Break, message: str, tmp_path: Path, saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "adapter", saved_model)
    broken(adapter)
    words = [str(adapter), "--output_dir", str(tmp_path / "out")]
    check_refused(export_checkpoint.run, words, message, tmp_path, capsys)
