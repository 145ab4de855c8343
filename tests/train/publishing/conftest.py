"""What the tests of publishing share: a run with an adapter, a hub, and the reload check in this process."""

import contextlib
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants

from tests.hub_server import TOKEN, Hub, serving
from tests.toys import save_tiny
from tests.train.publishing.toy_run import write_adapter, write_run
from train.publishing import reload_check
from train.runtime import hub_client


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama on disk, in bfloat16."""
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny", torch.bfloat16)


@pytest.fixture(scope="session")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on `base`, which is not to be changed."""
    folder = write_run(tmp_path_factory.mktemp("run") / "toy")
    write_adapter(folder / "adapter", base)
    return folder


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the reload check in this process, which has imported the libraries already."""

    def start(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", reload_check.__name__]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            reload_check.main(command[3:])
        return subprocess.CompletedProcess(command, 0, printed.getvalue(), "")

    monkeypatch.setattr(reload_check, "subprocess", SimpleNamespace(run=start))


@pytest.fixture(scope="session")
def server() -> Iterator[Hub]:
    """A hub that all tests share, since one takes half a second to stop."""
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """An empty hub that the client of this process speaks to, with a token that may write."""
    for held in (server.repos, server.blobs, server.requests):
        held.clear()
    server.drop = None
    server.failing.clear()
    monkeypatch.setattr(hub_client, "WAITS", (0.0, 0.0))
    # The client reads these from the environment once, when it is imported. Nothing here speaks Xet.
    for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True), ("ENDPOINT", server.endpoint)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return server
