"""A path names one file, and the values in it are read as they stand."""

import json
import os
import re
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import nq
from data.errors import DataError
from data.files import file_rows
from data.sources import DataSource

ODD_NAMES = [
    "q[1].jsonl",
    "part?.jsonl",
    "all*.jsonl",
    "{a,b}.jsonl",
    "**.jsonl",
    "hf:x.jsonl",
    "50%20off.jsonl",
    "a=b.jsonl",
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def preferences(word: str, count: int = 12) -> list[dict[str, Any]]:
    return [{"prompt": f"{word} {n}?", "chosen": " yes", "rejected": " no"} for n in range(count)]


def prompts(dataset: Path) -> set[str]:
    split = DataSource(evaluation_share=0.5).split(str(dataset))
    return {example.question.partition(" ")[0] for example in (*split.train, *split.evaluation)}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_named_file_is_read_and_no_other(name: str, tmp_path: Path) -> None:
    for other in ("q1.jsonl", "part1.jsonl", "part2.jsonl", "all.jsonl", "allx.jsonl", "a.jsonl", "b.jsonl"):
        write_lines(tmp_path / other, preferences("other"))
    with pytest.raises(DataError, match="dataset: no file"):
        prompts(tmp_path / name)
    assert prompts(write_lines(tmp_path / name, preferences("named"))) == {"named"}


@pytest.mark.parametrize("folder", ["mirror[1]", "mirror?", "a*b", "x=y"])
def test_a_mirror_in_an_odd_folder_is_read(folder: str, tmp_path: Path) -> None:
    for name, word in ((folder, "named"), ("mirror1", "other"), ("mirror2", "other"), ("aXb", "other")):
        place = tmp_path / name / nq.SET.hub_id / nq.SET.config
        place.mkdir(parents=True)
        for split, numbers in (("train", range(3)), ("validation", range(5, 8))):
            rows = [{"question": f"{word} {n}", "answer": ["x"]} for n in numbers]
            pq.write_table(pa.Table.from_pylist(rows), place / f"{split}.parquet")
    split = DataSource(str(tmp_path / folder)).split("nq")
    assert {example.question for example in split.train} == {f"named {n}" for n in range(3)}


@pytest.mark.parametrize("value", ["2024-01-31", "2024-01-31T10:00:00", "007", "1e5", "true", "null", "12:30", "1,5"])
def test_strings_stay_strings(value: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "chosen": value, "rejected": f"not {value}"} for n in range(6)]
    for name in ("a.jsonl", "a.json"):
        assert [row["chosen"] for _, row in file_rows(write_lines(tmp_path / name, rows))] == [value] * 6
        split = DataSource(evaluation_share=0.5).split(str(tmp_path / name))
        assert split.train[0].truthful == (value,)


def test_a_json_file_is_a_list_of_rows_or_a_row_a_line(tmp_path: Path) -> None:
    rows = preferences("q", 3)
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=2))
    assert list(file_rows(tmp_path / "list.json")) == list(enumerate(rows, start=1))
    assert list(file_rows(write_lines(tmp_path / "lines.json", rows))) == list(enumerate(rows, start=1))


def test_lines_are_counted_as_the_file_has_them(tmp_path: Path) -> None:
    """A byte order mark, empty lines and a line separator inside a string do not move the numbers."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + '{"a": "x\u2028y"}\n\n{"a": "z"}\r\n'.encode())
    assert list(file_rows(path)) == [(1, {"a": "x\u2028y"}), (3, {"a": "z"})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "row 2 is not one JSON object: Expecting value"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "row 2 is [1], of type list, where an object such as {...} would be right"),
        ("a.jsonl", b'{"a": "\xff"}\n', "row 1 is not UTF-8 text: byte 8 of the line is 0xff"),
        ("a.jsonl", b"[" * 5000, "row 1 is not one JSON object"),
        ("a.json", b'[{"a": 1}, 3]', "row 2 is 3, of type int"),
        ("a.json", b'[{"a": 1},', "cannot be read as json"),
        ("a.jsonl", b"", "holds no rows"),
        ("a.json", b"[]", "holds no rows"),
        ("a.parquet", b"PAR1", "cannot be read as parquet"),
    ],
)
def test_a_broken_file_is_one_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(file_rows(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (date(2024, 1, 31), "datetime.date(2024, 1, 31), of type date"),
        (7, "7, of type int"),
        (0.5, "0.5, of type float"),
    ],
)
def test_a_column_that_is_no_text_is_named_with_its_type_and_row(value: object, described: str, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "chosen": value, "rejected": value}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        DataSource().split(str(tmp_path / "a.parquet"))
    assert f"a.parquet: row 1: chosen is {described}, where a string or a list of messages" in str(caught.value)


def test_an_odd_working_folder_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "check[out]"
    write_lines(folder / "mine.jsonl", preferences("named"))
    monkeypatch.chdir(folder)
    assert os.getcwd().endswith("check[out]")
    assert prompts(Path("mine.jsonl")) == {"named"}


def test_a_csv_file_is_read_as_a_spreadsheet_and_pandas_write_it(tmp_path: Path) -> None:
    """A byte order mark, quoted line breaks and quotes, a blank line, and values that pandas would take for others."""
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbfprompt,chosen,rejected\r\n"Who, \r\nor what?",007,NA\r\n\r\n'
        b'says ""?,"""I""",\r\n2024-01-31,1e5,null'
    )
    assert list(file_rows(path)) == [
        ("1 (line 2)", {"prompt": "Who, \r\nor what?", "chosen": "007", "rejected": "NA"}),
        ("2 (line 5)", {"prompt": 'says ""?', "chosen": '"I"', "rejected": ""}),
        ("3 (line 6)", {"prompt": "2024-01-31", "chosen": "1e5", "rejected": "null"}),
    ]


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_any_text_that_pandas_writes_is_read_back(name: str, separator: str, tmp_path: Path) -> None:
    texts = [
        "a,b",
        "a\tb",
        'a "b"',
        "a\nb",
        "a\r\nb",
        " a ",
        "a\u2028b",
        "\u00e4",
        "",
        "NA",
        "x" * 200_000,
        "'",
        "#",
        "\\",
    ]
    rows = [{"prompt": f"{n}", "answers": text, "passage": text} for n, text in enumerate(texts)]
    pd.DataFrame(rows).to_csv(tmp_path / name, index=False, sep=separator)
    found = list(file_rows(tmp_path / name))
    assert [row for _, row in found] == rows
    lines = (tmp_path / name).read_bytes().split(b"\n")
    for number, (place, row) in enumerate(found, start=1):
        begins = re.fullmatch(rf"{number} \(line (\d+)\)", str(place))
        assert begins
        assert lines[int(begins[1]) - 1].startswith(f"{row['prompt']}{separator}".encode())


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet"])
def test_a_file_is_read_row_by_row(ending: str, tmp_path: Path) -> None:
    """So that it need not fit into memory: the file has 10 MB, and a fifth of that is held at a time."""
    path = tmp_path / f"a{ending}"
    rows = pa.table({"prompt": [f"{n:04}" + "x" * 5000 for n in range(2000)], "answers": ["yes"] * 2000})
    match ending:
        case ".csv":
            rows.to_pandas().to_csv(path, index=False)
        case ".parquet":
            pq.write_table(rows, path, row_group_size=100, use_dictionary=False)
        case _:
            write_lines(path, rows.to_pylist())
    tracemalloc.start()
    found = sum(row["prompt"].startswith(f"{n:04}") for n, (_, row) in enumerate(file_rows(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == 2000
    assert (peak < 2e6) == (ending != ".json")  # which may be one list, and is read as a whole
