"""What a model wrote is written once."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.toys import tiny_model
from train.model import written_store
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


def damage_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_value(path: Path) -> None:
    path.write_text(path.read_text().replace("first", "other"))


def damage_form(path: Path) -> None:
    path.write_text('["first"]')


def damage_nesting(path: Path) -> None:
    path.write_text("[" * 100_000)


def damage_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize("damage", [damage_half, damage_value, damage_form, damage_bytes, damage_nesting])
def test_a_damaged_file_is_told_and_written_again(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model("llama")
    reuse_or_write("texts", model, 1, lambda: ["first"])
    (path,) = tmp_path.rglob("*.json")
    damage(path)
    assert reuse_or_write("texts", model, 1, lambda: ["second"]) == ["second"]
    assert f"note: {path} is damaged" in capsys.readouterr().out
    assert reuse_or_write("texts", model, 1, lambda: ["third"]) == ["second"]


def test_what_was_unused_for_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")

    def is_written(name: str) -> bool:
        calls: list[str] = []
        reuse_or_write("texts", model, name, lambda: calls.append(name) or [name * 100])  # type: ignore[func-returns-value]
        return bool(calls)

    assert is_written("a")
    (first,) = tmp_path.rglob("*.json")
    assert is_written("b")
    for age, path in enumerate(sorted(tmp_path.rglob("*.json"), key=lambda path: path == first)):
        os.utime(path, (time.time() - 100 - age,) * 2)  # a before b
    assert not is_written("a")  # which makes b the one unused for longest
    monkeypatch.setattr(written_store, "_LIMIT", int(2.5 * first.stat().st_size))
    assert is_written("c")
    assert not is_written("a")
    assert is_written("b")


def test_where_nothing_can_be_kept_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EAVSS_CACHE", str(tmp_path / "file"))
    assert reuse_or_write("texts", tiny_model("llama"), 1, lambda: ["a"]) == ["a"]
    assert "note: nothing is kept for later runs in" in capsys.readouterr().out
