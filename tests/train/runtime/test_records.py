"""Files that runs keep are read as the records that they should hold."""

import json
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import pytest

from train.runtime.errors import RecipeError
from train.runtime.records import read_record, read_records


class Inner(TypedDict):
    share: float | None
    kind: Literal["a", "b"]


class Toy(TypedDict):
    name: str
    count: NotRequired[int]
    inner: dict[str, Inner]
    flags: list[bool]


WHOLE: Toy = {"name": "x", "inner": {"i": {"share": 1, "kind": "a"}}, "flags": [True]}


def test_what_was_written_is_read_with_keys_of_later_versions(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(WHOLE | {"later": 3}))
    assert read_record(path, Toy) == WHOLE | {"later": 3}
    path.write_text(f"{json.dumps(WHOLE)}\n\n{json.dumps(WHOLE)}\n")
    assert read_records(path, Toy) == [WHOLE, WHOLE]


def test_a_missing_key_is_told_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text("{}")
    record = read_record(path, Toy)
    assert record.get("name") is None
    with pytest.raises(RecipeError, match=r"toy\.json has no 'name'"):
        record["name"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": 3}, "name is 3, where text would be right"),
        ({"count": True}, "count is True, where an integer would be right"),
        ({"count": 1.0}, "count is 1.0, where an integer would be right"),
        ({"inner": []}, "inner is [], where an object would be right"),
        ({"inner": {"i": 1}}, "inner.i is 1, where an object would be right"),
        ({"inner": {"i": {"share": "1"}}}, "inner.i.share is '1', where a number would be right"),
        ({"inner": {"i": {"kind": "c"}}}, "inner.i.kind is 'c', where one of a, b would be right"),
        ({"flags": [1]}, "flags.0 is 1, where true or false would be right"),
        ({"inner": {"i": {"share": float("nan")}}}, "it holds NaN, which is no finite number"),
    ],
)
def test_another_type_is_told_with_its_place(changed: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(WHOLE | changed))
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace(".", r"\.")):
        read_record(path, Toy)
