"""The command that exports a checkpoint, in this process; whole processes are in tests/train/publishing."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from scripts.export_checkpoint import run
from tests.hub_server import TOKEN, serving
from tests.toys import save_tiny
from tests.train.publishing.conftest import in_process  # noqa: F401
from tests.train.publishing.toy_run import CONFIG, WEIGHTS, write_adapter, write_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder, beside its base."""
    root = tmp_path_factory.mktemp("export")
    write_adapter(write_run(root / "run") / "adapter", save_tiny(root / "base"))
    return root / "run"


@pytest.mark.usefixtures("in_process")
def test_a_run_becomes_a_folder_with_a_card_and_a_repo(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(finished), "--output_dir", str(tmp_path / "out"), "--push_to_hub", "tester/new", "--base_model", "a/b"]
    with serving() as hub:
        for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True), ("ENDPOINT", hub.endpoint)):
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert run([*words, "--commit_message", "mine", "--private"]) == 0
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        assert run([*words[:2], str(tmp_path / "again"), *words[3:]]) == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, CONFIG, "README.md", "layers.png"}
    repo = hub.repos["tester/new"]
    assert (repo.private, repo.messages) == (True, ["mine"])
    assert repo.branches["main"].keys() == {".gitattributes", WEIGHTS, CONFIG, "README.md", "layers.png"}
    printed = capsys.readouterr()
    assert f"written to {tmp_path / 'out'}, and checked in a fresh process\npushed: http://" in printed.out
    assert "refuses the token (401)" in printed.err
    assert not (tmp_path / "again").exists(), "a refused token should be found before the export"


@pytest.mark.usefixtures("in_process")
def test_an_adapter_without_a_run_has_no_card(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a Trainer's checkpoint, which also holds what resuming needs."""
    checkpoint = tmp_path / "checkpoint-2"
    shutil.copytree(finished / "adapter", checkpoint)
    (checkpoint / "optimizer.pt").write_bytes(b"")
    assert run([str(checkpoint), "--output_dir", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, CONFIG}
    assert "no model card" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_another_folder_of_the_base_can_be_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "adapter", tmp_path / "adapter")
    config = (tmp_path / "adapter" / CONFIG).read_text()
    (tmp_path / "adapter" / CONFIG).write_text(config.replace(str(finished.parent / "base"), "gone/base"))
    words = [str(tmp_path / "adapter"), "--output_dir", str(tmp_path / "out"), "--merge"]
    assert run([*words, "--model_name_or_path", str(finished.parent / "base")]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("folder", "more", "message"),
    [
        ("items", [], "no adapter in"),
        (".", ["--dtype", "float32"], "--dtype: an adapter keeps its own"),
        (".", ["--merge", "--dtype", "int8"], "invalid choice: 'int8'"),
    ],
)
def test_a_users_mistake_is_one_line(
    folder: str, more: list[str], message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(finished / folder), "--output_dir", str(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
