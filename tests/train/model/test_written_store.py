"""What a model wrote is written once."""

from pathlib import Path

import pytest

from tests.toys import tiny_model
from train.model.written_store import reuse_or_write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path))


def test_it_is_written_once_for_each_kind_model_and_settings(tmp_path: Path) -> None:
    calls: list[str] = []

    def write(text: str) -> list[str]:
        calls.append(text)
        return [text]

    model, other = tiny_model("llama"), tiny_model("gpt2")
    assert reuse_or_write("texts", model, {"seed": 1}, lambda: write("a")) == ["a"]
    assert reuse_or_write("texts", model, {"seed": 1}, lambda: write("b")) == ["a"]
    assert reuse_or_write("texts", model, {"seed": 2}, lambda: write("c")) == ["c"]
    assert reuse_or_write("texts", other, {"seed": 1}, lambda: write("d")) == ["d"]
    assert reuse_or_write("answers", model, {"seed": 1}, lambda: write("e")) == ["e"]
    assert calls == ["a", "c", "d", "e"]
    assert len(list(tmp_path.rglob("*.json"))) == 4


def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        reuse_or_write("texts", tiny_model("llama"), 1, lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert not list(tmp_path.rglob("*.json"))
