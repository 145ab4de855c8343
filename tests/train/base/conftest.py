"""What the tests of the base's outputs share."""

from pathlib import Path

import pytest


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one test leaves on disk from the next."""
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "cache"))
