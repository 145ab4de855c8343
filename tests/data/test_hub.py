"""Rows of the Hub, and what may be the name of a set there. A folder of the Hub's layout stands in for it."""

from pathlib import Path

import pytest

from data.errors import DataError
from data.hub import hub_rows, is_hub_id


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_are_numbered_from_one(streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "owner" / f"pairs{streamed}"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    monkeypatch.chdir(tmp_path)
    found = list(hub_rows(f"owner/pairs{streamed}", None, "train", streamed))
    assert found == [(1, {"prompt": "a"}), (2, {"prompt": "b"})]
    with pytest.raises(DataError, match=rf"owner/pairs{streamed} \(config default, split test\) cannot be loaded"):
        list(hub_rows(f"owner/pairs{streamed}", None, "test", streamed))


@pytest.mark.parametrize("streamed", [False, True])
def test_what_breaks_in_the_middle_is_one_line(streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "owner" / f"broken{streamed}"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot be loaded from the Hub") as caught:
        list(hub_rows(f"owner/broken{streamed}", None, "train", streamed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "right"), [("owner/name", True), ("../name", False), ("name", False), ("a/b/c", False), ("a b/c", False)]
)
def test_names(name: str, right: bool) -> None:
    assert is_hub_id(name) is right
