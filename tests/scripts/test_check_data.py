"""A data set is checked with the tokenizer alone, and refused in the words of training."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.check_data import run
from tests.hostile.refusal import check_refused
from tests.toys import save_tiny
from train import contrastive

Row = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder without its weights."""
    folder = save_tiny(tmp_path_factory.mktemp("model"))
    (folder / "model.safetensors").unlink()
    return folder


def words(path: Path, model: Path, *more: str, root: str = "samples") -> list[str]:
    common = ["--model_name_or_path", str(model), "--datasets_root", root, "--evaluation_share", "0.5"]
    return [str(path), *common, "--evaluate_on", "nq", *more]


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(prompt: str, chosen: str = " yes", rejected: str = " no") -> Row:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


PAIRS = [
    *(pair(f"Question: Is {n} odd?\nAnswer:") for n in range(10)),
    *(pair("Question: Is 0 odd?\nAnswer:"), pair("same?", " a", " a"), pair("both?", " a", " b")),
    *(pair("both?", " b", " a"), pair("rank?", " a", " b"), pair("rank?", " b", " c")),
    pair("Question: What is the capital of Belgium?\nAnswer:"),
    pair("Say: " + "x" * 100 + "? ", "yes", "no"),
    pair("Long?", " " + "y" * 100, " " + "y" * 99 + "z"),
]


def test_figures(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One token a byte. Long answers are cut to 40 tokens, of which 10 stay the prompt's, and are equal then."""
    path = write(tmp_path / "own.jsonl", PAIRS)
    assert run(words(path, model, "--max_length", "40", "--json", str(tmp_path / "figures.json"))) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    printed = capsys.readouterr().out
    assert (figures["rows"], figures["repeated"], figures["prompts"], figures["pairs"]) == (19, 1, 14, 15)
    assert figures["train"] + figures["evaluation"] == figures["prompts"] == figures["verbatim"]
    assert list(figures["findings"].values()) == [1, 2, 1]
    assert (figures["cut_prompts"], figures["cut_answers"], figures["equal"], figures["merged"]) == (2, 1, 1, 0)
    assert figures["tokens"]["prompt"][2] == 107
    assert figures["tokens"]["wrong answer"][2] == 102
    assert figures["tokens"]["prompt and answer"][2] == 111
    leak = {"questions": 100, "prompts": 1, "found": ["what is the capital of belgium"], "unread": ""}
    assert figures["leaks"] == {"nq": leak}
    assert "      19 rows, of which 1 repeat another one" in printed
    assert "'A' 'n' 's' 'w' 'e' 'r' ':'"[4:] + " | ' ' 'y' 'e' 's' | '<eos>'" in printed
    assert printed.count("wrong: ") == 5


def test_questions_and_labels_in_csv(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "questions.csv"
    questions.write_text("prompt,answers\n" + "".join(f"Is {n} odd?,yes\n" for n in range(20)))
    assert run(words(questions, model)) == 0
    assert "0 pairs; wrong answers are found when a run starts" in capsys.readouterr().out
    labels = tmp_path / "labels.csv"
    row = "Is {n} odd?, yes,True\nIs {n} odd?, no,False\n"
    labels.write_text("prompt,completion,label\n" + "".join(row.format(n=n) for n in range(20)) + "Why?, so,True\n")
    assert run(words(labels, model)) == 0
    printed = capsys.readouterr().out
    assert "      20 pairs\n" in printed
    assert "       1 rows have no row of the same prompt and the other label" in printed


def test_bad_rows_are_named_in_the_words_of_training(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.csv"
    path.write_text('prompt,chosen,rejected\na,b,c\n"d\n", ,f\ng,h,i\nj,k,\n')
    recipe = ["--output_dir", str(tmp_path / "out"), "--dataset", *words(path, model)]
    check_refused(contrastive.run, recipe, "own.csv: row 2 (line 3): ", tmp_path / "out", capsys)
    assert run(words(path, model)) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1].startswith(
        f"error: {path}: row 2 (line 3): the question 'd\\n' has no truthful"
    )
    assert printed.out.splitlines()[-1].startswith(f"{path}: row 4 (line 6): no rejected; each row needs")


def test_many_bad_rows_are_counted(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "own.jsonl", [pair("a"), *([{"prompt": "a"}] * 50)])
    assert run(words(path, model)) == 2
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 20
    assert printed[-1] == "50 rows cannot be read, of which 20 are named"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nq", "", "FILE: nq should be data of your own"),
        ("none.csv", None, "dataset: no file"),
        ("own.txt", "", "is neither one of nq, sciq"),
        ("own.jsonl", "{", "row 1 is not one JSON object"),
        ("own.jsonl", json.dumps(pair("a")), "both need at least one"),
        ("own.csv", "question,answer\na,b\n", "this one has 'question', 'answer'"),
    ],
)
def test_a_mistake_is_one_line(
    name: str, content: str | None, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    given = words(Path("nq") if name == "nq" else path, model)
    check_refused(run, given, message, tmp_path, capsys)


def test_a_benchmark_that_cannot_be_read_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "own.jsonl", PAIRS)
    assert run(words(path, model, root=str(tmp_path))) == 0
    assert "    nq: not looked for: no file " in capsys.readouterr().out
