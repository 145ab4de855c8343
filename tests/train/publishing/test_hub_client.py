"""A Hub that is busy, slow or silent: some tries, then one line; what is on disk stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils._http import close_session, default_client_factory, set_client_factory

from tests.hostile.refusal import content
from tests.hub_server import OWNER, Hub
from train.publishing.hub import HubRepo
from train.runtime.errors import HubError
from train.runtime.hub_client import bound_requests

STEPS = ("/api/whoami", "/api/models/", "/api/repos/create", "/commit/")


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    bound_requests(0.2)
    yield
    set_client_factory(default_client_factory)
    close_session()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("statuses", [[429], [500, 503], [0]])
@pytest.mark.parametrize("step", STEPS)
def test_what_is_busy_for_a_while_is_asked_again(
    step: str,
    statuses: list[int],
    hub: Hub,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.failing = {step: list(statuses)}
    HubRepo("new").push(folder, "first")
    assert hub.repos[f"{OWNER}/new"].branches["main"]["config.json"] == b"{}"
    assert hub.repos[f"{OWNER}/new"].messages == ["first"]
    said = "the Hub does not answer" if statuses == [0] else f"the Hub answers {statuses[0]}"
    assert said in capsys.readouterr().out or step == "/api/models/"  # which the client asks again by itself


@pytest.mark.parametrize(("status", "message"), [(429, "answered 429"), (500, "answered 500"), (0, "no connection to")])
@pytest.mark.parametrize("step", ["/api/whoami", "/commit/"])
def test_what_stays_busy_is_one_line_and_the_files_stay(
    step: str,
    status: int,
    message: str,
    hub: Hub,
    folder: Path,
) -> None:
    hub.failing, before = {step: [status] * 50}, content(folder)
    with pytest.raises(HubError, match=message) as caught:
        HubRepo("new").push(folder, "first")
    assert len(str(caught.value).splitlines()) == 1
    assert content(folder) == before
    assert len([path for _, path, _ in hub.requests if step in path]) <= 3
