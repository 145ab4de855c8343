"""The text sets, from a mirror made here and from the real one."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.text import load_lambada, load_sst2, load_wikitext, require_texts

REAL_MIRROR = os.environ.get("EAVSS_DATASETS_ROOT")
FILES = {
    load_wikitext: "Salesforce/wikitext/wikitext-2-v1/validation.parquet",
    load_lambada: "EleutherAI/lambada_openai/default/test.parquet",
    load_sst2: "nyu-mll/glue/sst2/validation.parquet",
}
LOADERS = pytest.mark.parametrize("load", FILES, ids=lambda load: load.__name__)


def write_rows(root: Path, load: Any, rows: list[dict[str, Any]]) -> Path:
    """A set's file in a mirror in Hub layout."""
    path = root / FILES[load]
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_wikitext_rows_are_joined_as_they_stand(tmp_path: Path) -> None:
    rows = ["", " = Lobsters = \n", "", " A <unk> lives . \n", " It dies . \n"]
    write_rows(tmp_path, load_wikitext, [{"text": row} for row in rows])
    assert load_wikitext(str(tmp_path)) == " = Lobsters = \n A <unk> lives . \n It dies . \n"


@pytest.mark.parametrize(
    ("text", "before", "word"),
    [
        ("I don't care about signs", "I don't care about", " signs"),
        ("two  spaces", "two ", " spaces"),
        ("a line\nthen another", "a line\nthen", " another"),
        ("before a\nline", "before", " a\nline"),
        ("it was her.", "it was", " her."),
    ],
)
def test_lambada_is_split_at_the_last_space(text: str, before: str, word: str, tmp_path: Path) -> None:
    write_rows(tmp_path, load_lambada, [{"text": text}])
    assert load_lambada(str(tmp_path)) == [(before, word)]
    *context, last = text.split(" ")  # as in lm-evaluation-harness
    assert (before, word) == (" ".join(context), f" {last}")


def test_sst2(tmp_path: Path) -> None:
    rows = [{"sentence": "a charming journey ", "label": 1, "idx": 0}, {"sentence": "bleak", "label": 0, "idx": 1}]
    write_rows(tmp_path, load_sst2, rows)
    assert load_sst2(str(tmp_path)) == [("a charming journey ", 1), ("bleak", 0)]


@pytest.mark.parametrize(
    ("load", "rows", "what"),
    [
        (load_wikitext, [{"text": " \n"}], "holds no text"),
        (load_wikitext, [{"page": "x"}], "has no column 'text'"),
        (load_wikitext, [{"text": "x"}, {"text": None}], "row 2: text is None, where a value of type str belongs"),
        (load_lambada, [{"text": "two words"}, {"text": "one"}], "row 2: the text 'one' has no last word"),
        (load_lambada, [{"text": "a trailing space "}], "row 1: the text 'a trailing space ' has no last word"),
        (load_lambada, [{"text": "  word"}], "row 1: the text '  word' has no last word"),
        (load_sst2, [{"sentence": "x"}], "has no column 'label'"),
        (load_sst2, [{"sentence": "x", "label": "1"}], "row 1: label is '1', where a value of type int belongs"),
        (load_sst2, [{"sentence": "x", "label": -1}], "row 1: label is -1, where 0 (negative) or 1 (positive)"),
    ],
)
def test_fault_is_told_in_a_line(load: Any, rows: list[dict[str, Any]], what: str, tmp_path: Path) -> None:
    write_rows(tmp_path, load, rows)
    with pytest.raises(DataError) as caught:
        load(str(tmp_path))
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@LOADERS
def test_missing_or_empty_file_is_named(load: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no file .*{FILES[load]}"):
        load(str(tmp_path))
    path = write_rows(tmp_path, load, [{"text": "x", "sentence": "x", "label": 1}])
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match=f"{path} holds no rows"):
        load(str(tmp_path))


@pytest.mark.skipif(not REAL_MIRROR, reason="EAVSS_DATASETS_ROOT is not set")
def test_real_rows() -> None:
    assert load_wikitext(REAL_MIRROR).startswith(" = Homarus gammarus = \n Homarus gammarus , known as")
    passages = load_lambada(REAL_MIRROR)
    assert len(passages) > 1000
    assert all(before.rstrip() == before and word.strip() for before, word in passages)
    phrases = load_sst2(REAL_MIRROR)
    assert len(phrases) > 500
    assert 0.4 < sum(label for _, label in phrases) / len(phrases) < 0.6


def test_a_missing_file_is_told_without_reading(tmp_path: Path) -> None:
    write_rows(tmp_path, load_wikitext, [{"text": 3}])  # which reading would refuse
    require_texts(["wikitext"], str(tmp_path))
    for name in ("lambada", "sst2", "sst2_review"):
        with pytest.raises(DataError, match="no file"):
            require_texts([name], str(tmp_path))
