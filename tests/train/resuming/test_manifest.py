"""A checkpoint is signed, and what somebody else has written or changed is not this user's."""

import json
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState

from tests.toys import arguments
from train.recipe.trainer_arguments import with_values
from train.resuming.callbacks import SealCheckpoints
from train.resuming.finding import find_checkpoint
from train.resuming.manifest import MANIFEST, is_own, problem_of, read_manifest
from train.runtime.errors import RecipeError
from train.runtime.files import cache_folder

RECIPE = "seed: 0\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoint-3"
    (folder / "global_step3").mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 3, "max_steps": 5, "num_train_epochs": 1}))
    (folder / "global_step3" / "zero_pp_rank_0_optim_states.pt").write_bytes(b"a pickle")
    _, training = arguments(tmp_path / "run")
    SealCheckpoints(RECIPE, [1]).on_save(training, TrainerState(global_step=3), TrainerControl())
    return folder


def owned(folder: Path) -> bool:
    manifest = read_manifest(folder)
    assert manifest is not None
    return is_own(manifest)


def resume(folder: Path, trusted: bool = False) -> str | None:
    """Resume under DeepSpeed."""
    _, training = arguments(folder.parent, "--max_steps", "5", "--resume_from_checkpoint", str(folder))
    return find_checkpoint(with_values(training, deepspeed="zero2.json"), RECIPE, trusted)


def test_what_this_user_has_written_is_taken(sealed: Path) -> None:
    assert problem_of(sealed) == ""
    assert owned(sealed)
    assert resume(sealed) == str(sealed)
    key = cache_folder() / "checkpoint_key"
    assert key.stat().st_mode & 0o077 == 0
    assert len(key.read_bytes()) == 32
    assert [path.name for path in cache_folder().iterdir()] == ["checkpoint_key"]


def test_what_another_user_has_written_is_refused_unless_it_is_trusted(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "other"))
    assert not owned(sealed)
    with pytest.raises(RecipeError, match="was not written by you here, and DeepSpeed would run code in it"):
        resume(sealed)
    assert resume(sealed, trusted=True) == str(sealed)


def test_a_manifest_that_was_made_to_fit_is_not_signed(sealed: Path) -> None:
    """Somebody puts another pickle there, and its hash into the manifest."""
    (sealed / "global_step3" / "zero_pp_rank_0_optim_states.pt").write_bytes(b"hostile!")
    assert "optim_states.pt is damaged" in problem_of(sealed)
    manifest = json.loads((sealed / MANIFEST).read_text())
    _, training = arguments(sealed.parent)
    SealCheckpoints(RECIPE, [1]).on_save(training, TrainerState(global_step=3), TrainerControl())
    forged = json.loads((sealed / MANIFEST).read_text()) | {"signature": manifest["signature"]}
    (sealed / MANIFEST).write_text(json.dumps(forged))
    assert problem_of(sealed) == ""
    with pytest.raises(RecipeError, match="was not written by you here"):
        resume(sealed)


def test_a_file_that_was_put_there_is_noticed(sealed: Path) -> None:
    (sealed / "global_step3" / "mp_rank_00_model_states.pt").write_bytes(b"hostile!")
    assert problem_of(sealed) == "global_step3/mp_rank_00_model_states.pt is damaged or missing"


def test_without_a_manifest_deepspeed_loads_nothing(sealed: Path) -> None:
    (sealed / MANIFEST).unlink()
    with pytest.raises(RecipeError, match="was not written by you here"):
        resume(sealed)
    assert resume(sealed, trusted=True) == str(sealed)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"files": {}}', "{", "\x00"])
def test_a_broken_manifest_is_a_problem(content: str, sealed: Path) -> None:
    (sealed / MANIFEST).write_text(content)
    assert problem_of(sealed) == f"its {MANIFEST} is damaged"


def test_without_a_place_for_the_key_nothing_is_signed(
    tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "file"))
    _, training = arguments(sealed.parent)
    SealCheckpoints(RECIPE, [1]).on_save(training, TrainerState(global_step=3), TrainerControl())
    assert problem_of(sealed) == ""
    assert not owned(sealed)
