"""What a run writes of its profile and its selection."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from eavss.profile import LayerProfile
from tests.toys import BLOCKS, EXAMPLES, HIDDEN, tiny_model, tiny_tokenizer
from train.batching.encoding import Encoder
from train.batching.scored_answers import paired_batches
from train.recipe.settings import SelectionSettings
from train.selection.layers_file import layers_record, write_profile
from train.selection.model_scores import ModelScores
from train.selection.scoring import score, select


@pytest.fixture(scope="module")
def profile() -> LayerProfile:
    batches = paired_batches(EXAMPLES, Encoder(tiny_tokenizer(), "plain", 128), 2, 300, 0)
    return score(tiny_model("llama"), batches)


def test_the_files_hold_the_profile_and_the_selection(profile: LayerProfile, tmp_path: Path) -> None:
    choice = select(profile, SelectionSettings(selector="middle", fraction=0.5, form="conditional"), seed=3)
    record = layers_record(profile, choice, model="toy/model", dataset="toy", seed=3)
    write_profile(tmp_path, record, profile)
    found = json.loads((tmp_path / "layers.json").read_text())
    assert found == record
    assert found["selected"] == [1, 2]
    assert (found["selector"], found["form"], found["seed"]) == ("middle", "conditional", 3)
    assert (found["model"], found["dataset"], found["questions"]) == ("toy/model", "toy", len(EXAMPLES))
    assert [layer["layer"] for layer in found["layers"]] == list(range(BLOCKS))
    for layer in found["layers"]:
        low, high = layer["bootstrap"]["interval"]
        assert low <= high
        assert 0 <= layer["bootstrap"]["frequency"] <= 1
    assert set(found["stability"]) == {"split_half_tau", "p_value", "verdict"}
    assert load_file(tmp_path / "pairs.safetensors")["states"].shape == (len(EXAMPLES), 2, BLOCKS, HIDDEN)
    assert (tmp_path / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_other_ranks_write_nothing(profile: LayerProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    choice = select(profile, SelectionSettings(selector="last"), seed=0)
    write_profile(tmp_path, layers_record(profile, choice, model="m", dataset="d", seed=0), profile)
    assert list(tmp_path.iterdir()) == []


def test_a_selectors_own_tau_is_written_where_it_has_one(profile: LayerProfile) -> None:
    own = ModelScores("gradient", [4.0, 1.0, 2.0, 3.0], 0.75)
    choice = select(profile, SelectionSettings(selector="gradient", fraction=0.5), 0, own)
    record = layers_record(profile, choice, model="m", dataset="d", seed=0)
    assert (record["selected"], record["selector_tau"]) == ([0, 3], 0.75)
    assert [layer["gradient"] for layer in record["layers"]] == [4.0, 1.0, 2.0, 3.0]
    plain = select(profile, SelectionSettings(selector="last"), seed=0)
    assert "selector_tau" not in layers_record(profile, plain, model="m", dataset="d", seed=0)
