"""A sweep of rewirings on a tiny saved model and the samples, with and without an adapter."""

import json
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from torch import nn

from scripts import rewire_layers
from scripts.rewire_layers import run
from tests.toys import BLOCKS, tiny_model

WORDS = ["--datasets_root", "samples", "--dtype", "float32", "--limit", "3", "--evaluate_on", "nq", "truthfulqa"]


def rewire(model: Path, path: Path, *words: str) -> int:
    return run(["--model_name_or_path", str(model), "--json", str(path), *WORDS, *words])


def save_adapter(folder: Path) -> Path:
    """An adapter that changes what the model says."""
    adapted = get_peft_model(tiny_model("llama"), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.constant_(parameter, 0.5)
    adapted.save_pretrained(str(folder))
    return folder


def test_a_sweep_measures_what_is_missing_and_draws_everything(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, adapter = tmp_path / "rewired.json", save_adapter(tmp_path / "adapter")
    assert rewire(saved_model, path, "--kinds", "skipped", "dropped") == 0
    first = json.loads(path.read_text())
    assert [(t["model"], t["kind"], t["group"]) for t in first["trials"]] == [
        ("base", "skipped", [1, 2]),
        ("base", "dropped", [1]),
        ("base", "dropped", [2]),
    ]
    words = ["--kinds", "skipped", "shuffled", "looped_parallel", "--layers", "3", "0"]
    assert rewire(saved_model, path, *words, "--shuffles", "2", "--loops", "2", "--adapter", str(adapter)) == 0
    sweep = json.loads(path.read_text())
    assert sweep["trials"][:3] == first["trials"]
    wanted = [("skipped", None, None), ("shuffled", 0, None), ("shuffled", 1, None), ("looped_parallel", None, 2)]
    for model in ("base", str(adapter)):
        own = [
            (t["kind"], t["seed"], t["loops"]) for t in sweep["trials"] if t["model"] == model and t["group"] == [0, 3]
        ]
        assert own == [(kind, 42 + seed if seed is not None else None, loops) for kind, seed, loops in wanted]
    whole = {t["model"]: [row["whole"] for row in t["kept"]] for t in sweep["trials"]}
    assert whole["base"] != whole[str(adapter)]
    assert [len(figures["matrix"]) for figures in sweep["similarity"]] == [BLOCKS, BLOCKS]
    names = ["rewired_adapter1_similarity", "rewired_curves", "rewired_similarity"]  # 0 and 3 are no middle
    assert sorted(picture.stem for picture in tmp_path.glob("*.png")) == names
    table = capsys.readouterr().out.split("| model ")[-1]
    assert table.count("| (none) |") == 2
    assert table.count("| looped_parallel x2 | 0, 3 |") == 2
    monkeypatch.setattr(rewire_layers, "rewired", lambda *_: pytest.fail("measured again"))
    assert rewire(saved_model, path, "--kinds", "skipped", "dropped") == 0
    assert json.loads(path.read_text()) == sweep


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--starts", "2"], "start: 2 leaves fewer than two of 4 blocks"),
        (["--layers", "1", "9"], "[9] lie outside the model's blocks, which are 0 to 3"),
        (["--kinds", "magic"], "invalid choice: 'magic'"),
        (["--loops", "0"], "--loops: 0 should be 1 or more"),
        (["--limit", "0"], "--limit: 0 should be 1 or more"),
        (["--adapter", "nowhere"], "adapter: nowhere"),
        (["--starts", "one"], "invalid int value: 'one'"),
    ],
)
def test_a_users_mistake_is_one_line(
    words: list[str], message: str, saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rewired.json"
    assert rewire(saved_model, path, *words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not path.exists()


def test_a_file_of_other_settings_is_left_alone(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rewired.json"
    assert rewire(saved_model, path, "--kinds", "dropped") == 0
    content = path.read_text()
    assert rewire(saved_model, path, "--kinds", "swapped", "--seed", "1") == 2
    assert "figures with seed 42, here it is 1; name another file" in capsys.readouterr().err
    assert path.read_text() == content
