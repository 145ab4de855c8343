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
LABELLED = json.dumps({"prompt": "Who?", "completion": " he", "label": False})


def messages(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": "x"} for role in roles]


def label(**columns: Any) -> str:
    return json.dumps({"prompt": "Who?", "completion": " she", "label": True} | columns)


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
        row(prompt=messages("user", "user"), chosen=messages("assistant"), rejected=messages("assistant")),
        "message 2 of the conversation has the role 'user', where 'assistant' would be right",
    ),
    (
        row(prompt=messages("user", "tool", "user"), chosen=messages("assistant"), rejected=messages("assistant")),
        "message 2 of prompt is of a tool or calls one, which is not supported",
    ),
    (
        row(prompt=messages("user", "assistant"), chosen=messages("assistant"), rejected=messages("assistant")),
        "the prompt ends with a message of 'assistant'",
    ),
    (row(prompt=[{"role": "user"}], chosen=messages("assistant"), rejected=messages("assistant")), "the content of"),
    (row(prompt=[{"role": 1, "content": "x"}]), "the role of message 1 of prompt is 1"),
    (row(prompt=[{"role": "user", "content": [{"type": "image"}]}]), "the content of message 1 of prompt"),
    (row(prompt="x" * 1_000_000, chosen=" "), "has no truthful answer"),
    (row(chosen=["x" * 1_000_000]), "message 1 of chosen is"),
    (row(rejected="\u202e\u0645 " * 3 + "\ud83d"), "rejected holds U+D83D"),
]  # fmt: skip
# The same for questions with right answers alone.
SECOND_QUESTIONS: list[tuple[str | bytes, str]] = [
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
# The same for answers with a label.
SECOND_LABELS: list[tuple[str | bytes, str]] = [
    (label(label=1), "label is 1, of type int, where true or false would be right"),
    (label(label="yes"), "label is 'yes', of type str, where true or false would be right"),
    (label(label=None), "no label; each row needs a prompt, a completion, and a label true or false"),
    (label(label=[]), "no label"),
    (label(label=[True]), "label is [True], of type list"),
    (label(completion=None), "no completion"),
    (label(completion=" "), "completion is ' ', of type str, where an answer would be right"),
    (label(completion=messages("user")), "completion ends with a message of 'user', where 'assistant' would be right"),
    (label(prompt=messages("user")), "some columns are strings and some are lists of messages; prompt and completion"),
    (label(prompt=None), "no prompt"),
    (label(prompt=" "), "the question is empty"),
    (
        label(prompt=messages("assistant"), completion=messages("assistant")),
        "message 1 of the conversation has the role",
    ),
    ('{"prompt": "Who?", "completion": " she"}', "no label"),
    ("{}", "no prompt and no completion and no label"),
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
    ("own.csv", b"", "holds no rows"),
    ("own.csv", b"prompt,chosen,rejected\n", "holds no rows"),
    ("own.csv", b"prompt,prompt,rejected\na,b,c\n", "two columns are named 'prompt'"),
    ("own.csv", b"prompt;chosen;rejected\na;b;c\n", "where a comma should divide columns"),
    ("own.csv", b"question,right,wrong\na,b,c\n", "row 1 (line 2): no chosen and no rejected; a row should have"),
    (
        "own.csv",
        b"prompt,chosen,rejected\na,b,c\nd,e\n",
        "row 2 (line 3) has 2 values, where the header names 3 columns",
    ),
    (
        "own.csv",
        b"prompt,chosen,rejected\na,b, c, d\n",
        "row 1 (line 2) has 4 values, where the header names 3 columns",
    ),
    ("own.csv", b'prompt,chosen,rejected\na,"b\n\n",c\nd,,f\n', "row 2 (line 5): no chosen"),
    ("own.csv", b'prompt,chosen,rejected\na,b,c\nd,"e,f\ng,h,i\n', "row 2 (line 3) has its quotes wrong"),
    ("own.csv", b'prompt,chosen,rejected\na,b,c\nd,"e"e,f\n', "row 2 (line 3) has its quotes wrong"),
    ("own.csv", b"prompt,chosen,rejected\na,b,\xff\n", "line 2 is not UTF-8 text: byte 5 of the line is 0xff"),
    ("own.csv", b"prompt,completion,label\na,b,true\na,c,no\n", "row 2 (line 3): label is 'no', of type str"),
    ("own.tsv", b"prompt\tanswers\nWho?\tshe\n\nWhen?\t\n", "row 2 (line 4): answers is ''"),
    ("own.tsv", b"prompt,answers\nWho?,she\n", "where a tab should divide columns"),
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


@pytest.mark.parametrize(
    ("first", "second_rows"),
    [(GOOD, SECOND_ROWS), (ASKED, SECOND_QUESTIONS), (LABELLED, SECOND_LABELS)],
    ids=["preferences", "questions", "labels"],
)
def test_a_bad_second_row(first: str, second_rows: list[tuple[str | bytes, str]], tmp_path: Path) -> None:
    """Read without a model, since the files are all that differs."""
    path = tmp_path / "own.jsonl"
    for line, message in second_rows:
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
