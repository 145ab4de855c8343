"""Where the rows of a data set are, and that what is missing is told without reading any."""

from pathlib import Path

import pytest

from data.errors import DataError
from data.places import SAMPLES, locate, locate_own
from data.sets import SETS
from data.sources import DataSource


def test_the_hub_has_no_file() -> None:
    assert locate("owner/name", "default", "train", None) is None
    assert locate_own("owner/name", None) is None


def test_the_samples_are_where_they_are_looked_for() -> None:
    known = SETS["nq"]
    path = locate(known.hub_id, known.config, "train", "samples")
    assert path is not None
    assert path.is_relative_to(SAMPLES)


@pytest.mark.parametrize("name", [*SETS, "all"])
def test_what_the_samples_hold_is_there(name: str) -> None:
    DataSource("samples").require(name, to_train=True)


def test_an_evaluated_set_needs_its_evaluated_split_alone(tmp_path: Path) -> None:
    folder = tmp_path / SETS["sciq"].hub_id / "default"
    folder.mkdir(parents=True)
    (folder / "test.parquet").touch()
    source = DataSource(str(tmp_path))
    source.require("sciq", to_train=False)
    with pytest.raises(DataError, match=r"no file .*train\.parquet"):
        source.require("sciq", to_train=True)


@pytest.mark.parametrize(("name", "message"), [("none.jsonl", "no file none.jsonl"), ("skiq", "'skiq' is neither")])
def test_own_data_that_are_not_there_are_told(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        DataSource(None).require(name, to_train=True)
