"""Bad rows of a user's own data, each in its own way; the row's number is right in the message."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.errors import DataError
from data.sources import DataSource
from tests.hostile.refusal import check_refused
from train.contrastive import run

GOOD = json.dumps({"prompt": "Who?", "chosen": " she", "rejected": " he"})
ASKED = json.dumps({"prompt": "Who?", "answers": ["she"]})


def messages(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": "x"} for role in roles]


def row(**columns: Any) -> str:
    return json.dumps({"prompt": "Who?", "chosen": " she", "rejected": " he"} | columns)


# The second line of a .jsonl file, and what the error says after "row 2".
SECOND_ROWS: list[tuple[str | bytes, str]] = [
    ("{", "is not one JSON object"),
    ("[1]", "where an object such as {...} would be right"),
    ('"text"', "is 'text', of type str"),
    ("null", "is None, of type NoneType"),
    ("7", "is 7, of type int"),
    (GOOD + GOOD, "is not one JSON object: Extra data"),
    (GOOD[:-5], "is not one JSON object"),
    ("{'prompt': 'x'}", "is not one JSON object"),
    ("prompt,chosen,rejected", "is not one JSON object"),
    ("[" * 100_000, "is not one JSON object"),
    ('{"prompt": ' + "1" * 5000 + "}", "is not one JSON object"),
    ("\x00", "is not one JSON object"),
    (b'{"prompt": "\xff"}', "is not UTF-8 text: byte 13 of the line is 0xff"),
    (GOOD.encode("utf-16"), "is not UTF-8 text"),
    ("{}", "no chosen and no rejected"),
    (row(prompt=None), "no prompt"),
    (row(prompt=""), "no prompt"),
    (row(prompt=[]), "no prompt"),
    (row(prompt="  "), "the question is empty"),
    (row(prompt="\t\n"), "the question is empty"),
    (row(prompt=3), "prompt is 3, of type int"),
    (row(prompt={"role": "user", "content": "x"}), "of type dict"),
    (row(prompt=["Who?"]), "message 1 of prompt is 'Who?'"),
    (row(prompt="\ud800"), "prompt holds U+D800, half of a surrogate pair"),
    (row(chosen=None), "no chosen"),
    (row(chosen=""), "no chosen"),
    (row(chosen="   "), "has no truthful answer"),
    (row(chosen=["a", "b"]), "message 1 of chosen is 'a'"),
    (row(chosen=1.5), "chosen is 1.5, of type float"),
    (row(chosen=True), "chosen is True, of type bool"),
    (row(chosen="a\udfff"), "chosen holds U+DFFF"),
    (row(rejected=None), "no rejected"),
    (row(rejected=[]), "no rejected"),
    (row(rejected=" "), "has an empty hallucinated answer"),
    (row(rejected={"text": "x"}), "rejected is {'text': 'x'}"),
    (row(rejected="\udc00x"), "rejected holds U+DC00"),
    ('{"chosen": "a", "rejected": "b"}', "there is no prompt"),
    (row(chosen=messages("assistant"), rejected=" he"), "some columns are strings and some are lists"),
    (row(prompt=messages("user"), chosen=messages("user"), rejected=messages("user")), "ends with a message of"),
    (
        row(prompt=messages("user", "assistant", "user"), chosen=messages("assistant"), rejected=messages("assistant")),
        "conversations of several turns",
    ),
    (row(prompt=[{"role": "user"}], chosen=messages("assistant"), rejected=messages("assistant")), "the content of"),
    (row(prompt=[{"role": 1, "content": "x"}]), "the role of message 1 of prompt is 1"),
    (row(prompt=[{"role": "user", "content": [{"type": "image"}]}]), "the content of message 1 of prompt"),
    (row(prompt="x" * 1_000_000, chosen=" "), "has no truthful answer"),
    (row(chosen=["x" * 1_000_000]), "message 1 of chosen is"),
    (row(rejected="\u202e\u0645 " * 3 + "\ud83d"), "rejected holds U+D83D"),
]  # fmt: skip
# The same for questions with right answers alone.
SECOND_QUESTIONS: list[tuple[str, str]] = [
    ('{"prompt": "Who?"}', "has no column 'answers'"),
    ('{"prompt": "Who?", "answers": []}', "answers is []"),
    ('{"prompt": "Who?", "answers": ""}', "answers is ''"),
    ('{"prompt": "Who?", "answers": [" "]}', "answers is [' ']"),
    ('{"prompt": "Who?", "answers": null}', "answers is missing (null)"),
    ('{"prompt": "Who?", "answers": 3}', "answers is 3, of type int"),
    ('{"prompt": "Who?", "answers": {"a": 1}}', "answers is {'a': 1}"),
    ('{"prompt": "Who?", "answers": ["a", 2]}', "value 2 of answers is 2"),
    ('{"prompt": "Who?", "answers": [["a"]]}', "value 1 of answers is ['a']"),
    ('{"prompt": "Who?", "answers": ["\\ud800"]}', "value 1 of answers holds U+D800"),
    ('{"answers": ["a"]}', "no prompt"),
    ('{"prompt": " ", "answers": ["a"]}', "the question is empty"),
    ('{"prompt": ["Who?"], "answers": ["a"]}', "message 1 of prompt is 'Who?'"),
]
# Whole files: the ending, the content, and what the error says.
FILES: list[tuple[str, bytes, str]] = [
    ("own.jsonl", b"", "holds no rows"),
    ("own.jsonl", b"\n\n \n", "holds no rows"),
    ("own.jsonl", b"\xef\xbb\xbf\xef\xbb\xbf{}", "row 1 is not one JSON object"),
    ("own.jsonl", GOOD.encode(), "both need at least one"),
    ("own.jsonl", (row(rejected=" she") + "\n").encode() * 3, "of 3 rows none has a chosen answer"),
    ("own.jsonl", f"{row()}\n{row(chosen=' he', rejected=' she')}".encode(), "of 2 rows none has a chosen answer"),
    ("own.json", b"", "row"),
    ("own.json", b"[]", "holds no rows"),
    ("own.json", b"[1]", "row 1 is 1"),
    ("own.json", f"[{GOOD}, null]".encode(), "row 2 is None"),
    ("own.json", f"[{GOOD}".encode(), "cannot be read as json"),
    ("own.json", b'{"rows": []}', "no chosen and no rejected"),
    ("own.json", b"[" * 100_000, "cannot be read as json"),
    ("own.json", b"3", "row 1 is 3"),
    ("own.json", b"\xff\xfe[\x00]\x00", "row 1 is not UTF-8 text"),
    ("own.parquet", b"", "cannot be read as parquet"),
    ("own.parquet", b"PAR1", "cannot be read as parquet"),
    ("own.parquet", GOOD.encode(), "cannot be read as parquet"),
    ("own.csv", b"prompt,chosen,rejected\n", "is neither one of"),
    ("own.JSONL", GOOD.encode(), "is neither one of"),
    ("own.txt", b"Who?", "is neither one of"),
    ("own", GOOD.encode(), "is neither one of"),
]
TABLES: list[tuple[dict[str, list[Any]], str]] = [
    ({"question": ["a", "b"], "answer": ["x", "y"]}, "row 1: no chosen and no rejected"),
    ({"prompt": ["Who?", None], "chosen": [" a", " b"], "rejected": [" c", " d"]}, "row 2: no prompt"),
    ({"prompt": ["Who?", "x"], "chosen": [" a", None], "rejected": [" c", " d"]}, "row 2: no chosen"),
    ({"prompt": ["Who?"], "chosen": [1], "rejected": [2]}, "row 1: chosen is 1, of type int"),
    ({"prompt": [b"Who?"], "chosen": [b" a"], "rejected": [b" b"]}, "row 1"),
    ({"prompt": ["Who?"], "chosen": [["a"]], "rejected": [["b"]]}, "row 1: message 1 of chosen is 'a'"),
    ({"prompt": ["Who?"], "answers": [[]]}, "row 1: answers is []"),
    ({"prompt": ["Who?", "When?"], "answers": [["a"], None]}, "row 2: answers is missing (null)"),
    ({"prompt": [], "answers": []}, "holds no rows"),
]


def words(folder: Path, model: Path, data: Path) -> list[str]:
    keys = {"model_name_or_path": model, "output_dir": folder / "out", "dataset": data, "evaluate_on": "[]"}
    recipe = folder / "recipe.yaml"
    recipe.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()) + "retention: []\n")
    return ["--config", str(recipe)]


@pytest.mark.parametrize("first", [GOOD, ASKED], ids=["preferences", "questions"])
def test_a_bad_second_row(first: str, tmp_path: Path) -> None:
    """Read without a model, since the files are all that differs."""
    path = tmp_path / "own.jsonl"
    for line, message in SECOND_ROWS if first == GOOD else SECOND_QUESTIONS:
        content = line if isinstance(line, bytes) else line.encode()
        path.write_bytes(first.encode() + b"\n" + content + b"\n" + first.encode() + b"\n")
        with pytest.raises(DataError) as caught:
            DataSource().split(str(path))
        assert f"{path}: row 2" in str(caught.value)
        assert message in str(caught.value), line[:80]
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500 + len(str(path))
        path.unlink()


@pytest.mark.parametrize(("name", "content", "message"), FILES, ids=[f"{n}" for n, _ in enumerate(FILES)])
def test_a_bad_file(
    name: str, content: bytes, message: str, tmp_path: Path, saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    check_refused(run, words(tmp_path, saved_model, tmp_path / name), message, tmp_path / "out", capsys)


@pytest.mark.parametrize(("columns", "message"), TABLES, ids=[f"{n}" for n, _ in enumerate(TABLES)])
def test_a_bad_parquet_file(
    columns: dict[str, list[Any]],
    message: str,
    tmp_path: Path,
    saved_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "own.parquet")
    check_refused(run, words(tmp_path, saved_model, tmp_path / "own.parquet"), message, tmp_path / "out", capsys)
