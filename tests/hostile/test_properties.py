"""Whatever a file holds, it is read, or refused in one line as a user's mistake."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.conversion import converted
from data.errors import DataError
from data.files import file_rows
from data.places import SAMPLES
from data.sets import SETS
from data.sources import DataSource
from eavss.confidence import Calibration
from eavss.errors import EavssError
from tests.train.publishing.toy_run import ITEMS, LAYERS, RECIPE, RESULTS
from train.publishing.cutting import read_cut
from train.publishing.run_folder import Run
from train.recipe.parse import _keys, parse
from train.resuming.manifest import MANIFEST, problem_of
from train.runtime.errors import HubError, ModelError, RecipeError

USER_ERRORS = (RecipeError, DataError, EavssError, ModelError, HubError)
few = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    st.sampled_from(["", " ", "\x00", "\u202eabc", "a\u2028b", "nq", "../x", "1e999", -1, 0, 2**63, float("nan")]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def holds(read: Callable[[], object]) -> None:
    """Check that `read` returns, or refuses in one line."""
    try:
        read()
    except USER_ERRORS as error:
        said = str(error)
    else:
        return
    assert 0 < len(said.strip()) < 2000
    assert len(said.splitlines()) == 1


def paths(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every part of a JSON value, the whole first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(path for key, each in inner for path in paths(each, (*place, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of a JSON value with another part at `path`."""
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    part = copy
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = new
    return copy


@few
@given(st.sampled_from(sorted(_keys())), values)
def test_a_recipe(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "recipe.yaml"
    # JSON is YAML, but for its names of NaN and the infinities.
    text = json.dumps({"model_name_or_path": "a/b", "output_dir": str(tmp_path / "out"), key: value})
    path.write_text(text.replace("NaN", ".nan").replace("Infinity", ".inf"), encoding="utf-8", errors="replace")
    holds(lambda: parse(["--config", str(path)]))


@few
@given(st.lists(st.sampled_from(["--seed", "--layers", "--config", "--", "-x", "1"]) | st.text(max_size=6), max_size=5))
def test_a_command_line(words: list[str]) -> None:
    if not {"-h", "--help"} & {word.partition("=")[0] for word in words}:
        holds(lambda: parse(["--model_name_or_path", "a/b", "--output_dir", "/tmp/out", *words]))


COLUMNS = ["prompt", "chosen", "rejected", "answers", "question", "answer", "label", "best_answer", "support"]
rows = st.lists(st.dictionaries(st.sampled_from(COLUMNS) | st.text(max_size=3), values, max_size=5), max_size=4)


@few
@given(rows | st.lists(values, max_size=3))
def test_rows_of_a_users_own(tmp_path: Path, found: list[Any]) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    holds(lambda: DataSource(evaluation_share=0.5).split(str(path)))


@few
@given(st.binary(max_size=200), st.sampled_from([".json", ".jsonl", ".parquet"]))
def test_bytes_of_a_users_own(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = (tmp_path / "own").with_suffix(suffix)
    path.write_bytes(content)
    holds(lambda: DataSource().split(str(path)))


@pytest.mark.parametrize("name", SETS)
@few
@given(data=st.data())
def test_rows_of_each_schema(name: str, data: st.DataObject) -> None:
    """Rows of the samples, a column of which holds anything."""
    known = SETS[name]
    whole = [
        row for _, row in islice(file_rows(SAMPLES / known.hub_id / known.config / f"{known.train_split}.parquet"), 3)
    ]
    column = data.draw(st.sampled_from(sorted(whole[0])))
    whole[data.draw(st.integers(0, 2))][column] = data.draw(values)
    holds(lambda: converted(known.examples, enumerate(whole, start=1), "the rows"))


CUT = {"model": "a/b", "by": "last", "blocks": 4, "removed": [1, 3], "parameters": 1, "whole_parameters": 2}
KEPT: dict[str, tuple[Any, Callable[[Path], object]]] = {
    "layers.json": (LAYERS, lambda folder: Run.read(folder).layers),
    "results.json": (RESULTS, lambda folder: Run.read(folder).base_model),
    "items/nq.jsonl": (ITEMS[0], lambda folder: Run.read(folder).items("nq")),
    "cut.json": (CUT, lambda folder: read_cut(folder, "a/b")),
    "confidence.json": ({"by": "summed"}, lambda folder: Calibration.read(folder)),
    MANIFEST: ({"recipe": {}, "blocks": [1], "step_size": 1, "files": {}, "signature": ""}, problem_of),
}


@pytest.mark.parametrize("name", KEPT)
@few
@given(data=st.data())
def test_a_kept_file(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """A whole one, a part of which holds anything, or which is cut short."""
    (tmp_path / "items").mkdir(exist_ok=True)
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    whole, read = KEPT[name]
    text = json.dumps(replaced(whole, data.draw(st.sampled_from(paths(whole))), data.draw(values)))
    (tmp_path / name).write_text(text[: data.draw(st.just(len(text)) | st.integers(0, len(text)))])
    holds(lambda: read(tmp_path))
