"""The code of docs/tutorial.md runs from top to bottom and gives what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from PIL import Image

from train.model.lora import trainable_blocks
from train.recipe.arguments import REPOSITORY


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outputs").symlink_to(REPOSITORY / "outputs")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    text = (REPOSITORY / "docs/tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        exec(compile(block, "tutorial.md", "exec"), names)
    printed = capsys.readouterr().out
    assert len(blocks) >= 7
    assert "24 questions, 30 blocks" in printed
    assert len(names["selected"]) == 7
    assert f"layers_to_transform={names['selected']}" in printed
    assert f"peft_layers_to_transform: {names['selected']}" in printed
    assert "Kendall's tau" in printed or "No signal" in printed
    assert trainable_blocks(names["adapted"]) == names["selected"]
    with Image.open(tmp_path / "profile.png") as picture:
        assert picture.format == "PNG"
    snippet: dict[str, Any] = {}
    exec(printed[printed.index("from peft import") : printed.index("adapter: lora")], snippet)
    assert isinstance(snippet["peft_config"], LoraConfig)
    assert snippet["peft_config"].target_modules == names["config"].target_modules
