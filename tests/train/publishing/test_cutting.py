"""A cut model on disk: a plain checkpoint that is the whole one with blocks skipped, or nothing."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from eavss.choices import CRITERIA
from eavss.errors import EavssError
from eavss.surgery import skip_blocks
from train.model.loading import read_model
from train.publishing import checkpoints
from train.publishing.cutting import REASONS, CutRecord, export_cut, write_cut_card
from train.publishing.reload_check import fixed_logprobs
from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError, RecipeError

pytestmark = pytest.mark.usefixtures("in_process")
RECORD: CutRecord = {
    "model": "owner/base",
    "by": "block_influence",
    "blocks": 4,
    "removed": [0, 2],
    "parameters": 3_100_000,
    "whole_parameters": 5_000_000,
}


def test_the_checkpoint_is_the_model_with_the_blocks_skipped(base: Path, tmp_path: Path) -> None:
    export_cut(BaseModel(str(base)), [0, 2], tmp_path / "cut", "5GB")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path / "cut"), AutoTokenizer.from_pretrained(base)
    whole = read_model(BaseModel(str(base), dtype="float32"))
    assert model.dtype == torch.bfloat16 == AutoModelForCausalLM.from_pretrained(base).dtype
    with skip_blocks(whole, [0, 2]):
        expected = fixed_logprobs(whole.bfloat16(), tokenizer)
    assert fixed_logprobs(model, tokenizer) == pytest.approx(expected, abs=0.05)
    names = {path.name for path in (tmp_path / "cut").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names


def test_nothing_is_left_of_a_checkpoint_that_differs(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config that describes its blocks in an unknown way builds another model when it is loaded."""
    found = checkpoints.logprobs_in_fresh_process
    monkeypatch.setattr(checkpoints, "logprobs_in_fresh_process", lambda *words: [x - 0.1 for x in found(*words)])
    with pytest.raises(ModelError, match="the cut checkpoint gives log-probabilities that are off by 0"):
        export_cut(BaseModel(str(base)), [1], tmp_path / "cut", "5GB")
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_and_unknown_blocks_are_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(RecipeError, match="exists already"):
        export_cut(BaseModel(str(base)), [1], tmp_path, "5GB")
    with pytest.raises(EavssError, match="outside"):
        export_cut(BaseModel(str(base)), [9], tmp_path / "cut", "5GB")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("measured", [False, True])
def test_the_card_says_what_was_removed_why_and_what_it_cost(measured: bool, tmp_path: Path) -> None:
    record = RECORD
    if measured:
        record = record | {  # type: ignore[assignment]
            "kept": [
                {
                    "set": "nq",
                    "metric": "contrast_accuracy",
                    "n": 10,
                    "whole": 0.8,
                    "changed": 0.7,
                    "chance": 0.5,
                    "kept": 0.875,
                    "kept_above_chance": 2 / 3,
                }
            ]
        }
    write_cut_card(tmp_path / "smaller", record)
    text = (tmp_path / "smaller" / "README.md").read_text()
    assert text.startswith("---\nbase_model: owner/base\n")
    assert "owner/base without 2 of its 4 decoder blocks: 0, 2 (counted from 0)" in text
    assert "3.1 million parameters of 5.0" in text
    assert REASONS["block_influence"] in text
    assert ("| nq | contrast_accuracy | 10 | 0.800 | 0.700 | 0.500 | 88% | 67% |" in text) == measured
    assert ("It was not measured." in text) != measured
    assert json.loads((tmp_path / "smaller" / "cut.json").read_text()) == record


def test_every_criterion_has_its_reason() -> None:
    assert REASONS.keys() == set(CRITERIA)
