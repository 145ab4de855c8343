"""Pushing to the Hub: the real client and real HTTP, to a server that speaks the Hub's protocol."""

from pathlib import Path

import pytest

from tests.hub_server import OWNER, TOKEN, Hub, Repo
from train.publishing.hub import HubRepo
from train.runtime.errors import HubError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small file and one that is stored as a large one."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    (tmp_path / "out" / "model.safetensors").write_bytes(bytes(5000))
    return tmp_path / "out"


def fill(hub: Hub, name: str) -> dict[str, bytes]:
    """Put a file into a repo, whose main branch is returned."""
    hub.repos[name] = Repo(private=False)
    hub.repos[name].branches["main"]["config.json"] = b"old"
    return hub.repos[name].branches["main"]


def test_a_folder_goes_to_a_new_repo_of_the_tokens_owner(hub: Hub, folder: Path) -> None:
    address = HubRepo("new").push(folder, "first")
    repo = hub.repos[f"{OWNER}/new"]
    assert set(repo.branches["main"]) == {".gitattributes", "config.json", "model.safetensors"}
    assert repo.branches["main"]["model.safetensors"] == bytes(5000)
    assert (repo.private, repo.messages) == (False, ["first"])
    assert address.startswith(f"{hub.endpoint}/{OWNER}/new/commit/")


def test_a_private_repo_and_a_branch(hub: Hub, folder: Path) -> None:
    HubRepo("tester/new", private=True, revision="v1").push(folder, "first")
    repo = hub.repos["tester/new"]
    assert repo.private
    assert set(repo.branches["main"]) == {".gitattributes"}
    assert "model.safetensors" in repo.branches["v1"]


def test_files_that_are_there_are_not_sent_again(hub: Hub, folder: Path) -> None:
    HubRepo("new").push(folder, "first")
    before = hub.sent()
    HubRepo("new", overwrite=True).push(folder, "second")
    assert hub.sent() - before < 2500
    assert set(hub.repos[f"{OWNER}/new"].branches["main"]) == {".gitattributes", "config.json", "model.safetensors"}


def test_files_are_overwritten_only_on_request(hub: Hub, folder: Path) -> None:
    files = fill(hub, "tester/full")
    message = r"tester/full \(main\) holds 1 files already; name another repo or branch"
    with pytest.raises(HubError, match=message):
        HubRepo("tester/full").check()
    with pytest.raises(HubError, match=message):
        HubRepo("tester/full").push(folder, "over")
    assert files["config.json"] == b"old"
    HubRepo("tester/full", revision="v1").check()
    HubRepo("tester/full", overwrite=True).push(folder, "over")
    assert files["config.json"] == b"{}"


def test_a_check_creates_nothing(hub: Hub) -> None:
    HubRepo("new").check()
    assert hub.repos == {}


@pytest.mark.parametrize(
    ("token", "drop", "name", "message"),
    [
        ("hf_wrong", None, "tester/new", "refuses the token (401); it should be one that may write to tester/new"),
        ("", None, "tester/new", "there is no token; set HF_TOKEN"),
        (TOKEN, "/api/whoami", "tester/new", "no connection to http://127.0.0.1"),
        (TOKEN, "/api/repos/create", "tester/new", "no connection to http://127.0.0.1"),
        (TOKEN, None, "a/b/c", "Repo id must be in the form"),
    ],
)
def test_what_the_hub_refuses_is_one_line_without_the_token(
    token: str, drop: str | None, name: str, message: str, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.drop = drop
    with pytest.raises(HubError) as raised:
        HubRepo(name).push(folder, "first")
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert TOKEN not in str(raised.value)
    assert hub.repos == {}
