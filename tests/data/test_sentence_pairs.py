"""The pairs of sentences, from the samples, a mirror made here, and the real one."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.sentence_pairs import PAIR_SETS, SentencePair, load_sentence_pairs

REAL_MIRROR = os.environ.get("EAVSS_DATASETS_ROOT")
SICKR = "mteb/sickr-sts/default/test.parquet"
ROW = {"sentence1": "A boat sinks", "sentence2": "A ship goes under ", "score": 4.5}


def write_rows(root: Path, rows: list[dict[str, Any]]) -> None:
    path = root / SICKR
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.mark.parametrize("name", PAIR_SETS)
def test_the_samples_cover_the_scale(name: str) -> None:
    pairs = load_sentence_pairs(name, "samples")
    assert len(pairs) == 20
    assert len({text for pair in pairs for text in (pair.one, pair.other)}) == 40
    scores = [pair.score for pair in pairs]
    assert (min(scores), max(scores)) == (0 if name == "stsb" else 1, 5)


def test_a_row_becomes_a_pair(tmp_path: Path) -> None:
    write_rows(tmp_path, [ROW])
    assert load_sentence_pairs("sickr", str(tmp_path)) == [SentencePair("A boat sinks", "A ship goes under", 4.5)]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"score": 5.5}, "row 1: score is 5.5, where a number from 0 to 5 belongs"),
        ({"score": float("nan")}, "row 1: score is nan, where a number"),
        ({"sentence2": " "}, "row 1: a sentence is empty"),
        ({"sentence1": None}, "row 1: sentence1 is None, where a value of type str belongs"),
        ({"score": "high"}, "row 1: score is 'high', where a value of type float belongs"),
    ],
)
def test_fault_is_told_in_a_line(changed: dict[str, Any], what: str, tmp_path: Path) -> None:
    write_rows(tmp_path, [ROW | changed])
    with pytest.raises(DataError) as caught:
        load_sentence_pairs("sickr", str(tmp_path))
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not REAL_MIRROR, reason="EAVSS_DATASETS_ROOT is not set")
@pytest.mark.parametrize("name", PAIR_SETS)
def test_real_rows(name: str) -> None:
    pairs = load_sentence_pairs(name, REAL_MIRROR)
    assert len(pairs) > 1000
    assert len({pair.score for pair in pairs}) > 10
