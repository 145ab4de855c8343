"""Where rows come from, and that no question is on both split."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import nq, preferences, sciq, truthfulqa, wikiqa
from data.errors import DataError
from data.examples import Example, hash_fraction, normalise_question, wrong_answers
from data.sets import SETS
from data.sources import DataSource, Split

REAL_MIRROR = os.environ.get("EAVSS_DATASETS_ROOT")
Row = dict[str, Any]


def write_parquet(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_split(root: Path, module: Any, split: str, rows: list[Row]) -> Path:
    """One split of a mirror in Hub layout."""
    path: Path = root / module.SET.hub_id / module.SET.config / f"{split}.parquet"
    write_parquet(path, rows)
    return path


def write_preferences(path: Path, rows: list[Row]) -> Path:
    match path.suffix:
        case ".parquet":
            write_parquet(path, rows)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".csv" | ".tsv":
            pd.DataFrame(rows).to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    return path


def nq_rows(*questions: str) -> list[Row]:
    return [{"question": question, "answer": [f"the answer to {question}"]} for question in questions]


def questions(examples: list[Example]) -> list[str]:
    return [example.question for example in examples]


def shared_questions(split: Split) -> set[str]:
    """The questions, normalised, that stand on both split."""
    train, evaluation = ({normalise_question(e.question) for e in side} for side in (split.train, split.evaluation))
    return train & evaluation


def both(split: Split) -> list[Example]:
    return sorted([*split.train, *split.evaluation], key=lambda example: example.question)


def test_sets_are_the_five() -> None:
    assert set(SETS) == {"nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"}


@pytest.mark.parametrize("dataset", SETS)
def test_samples(dataset: str) -> None:
    split = DataSource("samples").split(dataset)
    assert (len(split.train), len(split.evaluation)) == (200, 100)
    assert shared_questions(split) == set()
    assert {example.dataset for example in both(split)} == {dataset}
    assert all(bool(example.hallucinated) == (dataset not in ("nq", "triviaqa")) for example in both(split))


@pytest.mark.skipif(not REAL_MIRROR, reason="EAVSS_DATASETS_ROOT is not set")
@pytest.mark.parametrize("dataset", SETS)
def test_real_rows(dataset: str) -> None:
    split = DataSource(REAL_MIRROR, evaluation_split="validation").split(dataset)
    assert min(len(split.train), len(split.evaluation)) > 50
    assert shared_questions(split) == set()


def test_mirror(tmp_path: Path) -> None:
    write_split(tmp_path, nq, "train", nq_rows("who swam", "who ran"))
    write_split(tmp_path, nq, "validation", nq_rows("who flew"))
    assert DataSource(str(tmp_path)).split("nq") == Split(
        [
            Example("nq", "who swam", ("the answer to who swam",), aliases=("the answer to who swam",)),
            Example("nq", "who ran", ("the answer to who ran",), aliases=("the answer to who ran",)),
        ],
        [Example("nq", "who flew", ("the answer to who flew",), aliases=("the answer to who flew",))],
    )


def test_mirrors_of_one_name_and_layout_give_their_own_rows(tmp_path: Path) -> None:
    """Loaded as folders, these two would share one entry of the cache of `datasets`, and the second be the first."""
    first, second = tmp_path / "first" / "mirror", tmp_path / "second" / "mirror"
    for root, runners in ((first, ("ann", "bea", "cat")), (second, ("dan", "eve"))):
        write_split(root, nq, "train", nq_rows(*(f"who is {name}" for name in runners)))
        write_split(root, nq, "validation", nq_rows(f"who trains {runners[0]}"))
    for _ in range(2):
        split = DataSource(str(first)).split("nq")
        assert questions(split.train) == ["who is ann", "who is bea", "who is cat"]
        assert questions(split.evaluation) == ["who trains ann"]
        split = DataSource(str(second)).split("nq")
        assert questions(split.train) == ["who is dan", "who is eve"]
        assert questions(split.evaluation) == ["who trains dan"]


def test_changed_file_gives_its_new_rows(tmp_path: Path) -> None:
    write_split(tmp_path, nq, "validation", nq_rows("who flew"))
    for number, question in enumerate(("who swam", "who sank")):
        path = write_split(tmp_path, nq, "train", nq_rows(question))
        os.utime(path, (number, number))
        assert questions(DataSource(str(tmp_path)).split("nq").train) == [question]


def sciq_rows(name: str, count: int = 3) -> list[Row]:
    wrong = {f"distractor{i}": f"not {i}" for i in (1, 2, 3)}
    return [{"question": f"{name} {n}", "correct_answer": "x", "support": "", **wrong} for n in range(count)]


@pytest.mark.parametrize(("key", "evaluated"), [(None, "test"), ("test", "test"), ("validation", "validation")])
def test_the_test_split_is_evaluated_unless_the_key_says_validation(key: Any, evaluated: str, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write_split(tmp_path, sciq, split, sciq_rows(split))
    source = DataSource(str(tmp_path), evaluation_split=key)
    assert {e.question.split()[0] for e in source.split("sciq").evaluation} == {evaluated}
    assert source.evaluation("sciq") == source.split("sciq").evaluation
    assert source.evaluated_rows("sciq") == evaluated


@pytest.mark.parametrize("dataset", ["nq", "triviaqa", "truthfulqa"])
def test_a_set_without_a_labelled_test_split_is_evaluated_on_validation(dataset: str) -> None:
    for root in (None, "somewhere", "samples"):
        assert DataSource(root).evaluated_rows(dataset) == "validation"
    with pytest.raises(DataError, match=f"evaluation_split: {dataset} has no test split with labels; leave the key"):
        DataSource("samples", evaluation_split="test").split(dataset)


def test_a_mirror_without_the_test_split_says_which_key_to_set(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_split(tmp_path, sciq, split, sciq_rows(split))
    with pytest.raises(
        DataError, match=r"test\.parquet: to evaluate on the validation split, set evaluation_split: va"
    ):
        DataSource(str(tmp_path)).evaluation("sciq")
    assert len(DataSource(str(tmp_path), evaluation_split="validation").split("sciq").evaluation) == 3


@pytest.mark.parametrize("present", ["test", "validation"])
def test_evaluation_opens_no_other_split(present: str, tmp_path: Path) -> None:
    write_split(tmp_path, sciq, present, sciq_rows(present))
    source = DataSource(str(tmp_path), evaluation_split="test" if present == "test" else "validation")
    assert len(source.evaluation("sciq")) == 3
    with pytest.raises(DataError, match=r"train\.parquet"):
        source.split("sciq")


def test_training_questions_that_are_in_validation_are_dropped(tmp_path: Path) -> None:
    """The same words are the same question, whatever their case, punctuation and answers."""
    write_split(tmp_path, nq, "train", nq_rows("who wrote emma", "who wrote 'Persuasion'?", "who wrote sanditon"))
    write_split(tmp_path, nq, "validation", nq_rows("Who wrote Emma?", "who wrote  persuasion", "who wrote it"))
    split = DataSource(str(tmp_path)).split("nq")
    assert questions(split.train) == ["who wrote sanditon"]
    assert questions(split.evaluation) == ["Who wrote Emma?", "who wrote  persuasion", "who wrote it"]


def test_truthfulqa_is_split_in_halves_by_the_words_of_the_question(tmp_path: Path) -> None:
    targets = {"choices": ["Yes", "No"], "labels": [1, 0]}
    rows = [{"question": f"Is {i} odd?", "mc1_targets": targets, "mc2_targets": targets} for i in range(40)]
    write_split(tmp_path, truthfulqa, "validation", rows)
    split = DataSource(str(tmp_path)).split("truthfulqa")
    assert sorted(questions(both(split))) == sorted(row["question"] for row in rows)
    assert all(hash_fraction(question) >= 0.5 for question in questions(split.train))
    assert all(hash_fraction(question) < 0.5 for question in questions(split.evaluation))


def nq_row_without_an_answer(root: Path) -> Path:
    return write_split(root, nq, "train", [*nq_rows("who ran"), {"question": "who sat", "answer": [""]}])


def nq_without_a_column(root: Path) -> Path:
    return write_split(root, nq, "train", [{"question": "who sat"}])


def nq_without_a_file(root: Path) -> Path:
    return root / nq.SET.hub_id / nq.SET.config / "train.parquet"


def nq_not_parquet(root: Path) -> Path:
    path = nq_row_without_an_answer(root)
    path.write_text("who sat\n\nnobody\n")
    return path


def sciq_row_without_an_answer(root: Path) -> Path:
    row = {"question": "Which?", "correct_answer": None, **{f"distractor{i}": "x" for i in (1, 2, 3)}}
    return write_split(root, sciq, "train", [row])


def truthfulqa_without_a_label(root: Path) -> Path:
    targets = {"choices": ["Yes", "No"], "labels": [1]}
    row = {"question": "Is it?", "mc1_targets": targets, "mc2_targets": targets}
    return write_split(root, truthfulqa, "validation", [row])


def wikiqa_without_a_right_sentence(root: Path) -> Path:
    row = {"question_id": "Q1", "question": "how does it work", "answer": "It was sold.", "label": 0}
    return write_split(root, wikiqa, "train", [row])


@pytest.mark.parametrize(
    ("dataset", "spoil", "what"),
    [
        ("nq", nq_without_a_file, "no file"),
        ("nq", nq_not_parquet, "cannot be read as parquet"),
        ("nq", nq_without_a_column, "has no column 'answer'"),
        ("nq", nq_row_without_an_answer, "'who sat' has no truthful answer"),
        ("sciq", sciq_row_without_an_answer, ""),
        ("truthfulqa", truthfulqa_without_a_label, ""),
        ("wikiqa", wikiqa_without_a_right_sentence, "no question with a truthful answer"),
    ],
)
def test_fault_of_a_mirror_is_told_in_a_line_that_names_the_file(
    dataset: str, spoil: Callable[[Path], Path], what: str, tmp_path: Path
) -> None:
    path = spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        DataSource(str(tmp_path)).split(dataset)
    message = str(caught.value)
    assert str(path) in message
    assert what in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("dataset", "root", "what"),
    [
        ("truthfullqa", "samples", "'truthfullqa' is neither one of nq, sciq, triviaqa, truthfulqa, wikiqa, nor a "),
        ("pairs.txt", None, "'pairs.txt' is neither"),
        ("too/many/parts", None, "'too/many/parts' is neither"),
        ("missing.jsonl", "samples", "no file missing.jsonl"),
        ("missing.parquet", None, "no file missing.parquet"),
        ("owner/pairs", "samples", "owner/pairs/default/train.parquet"),
    ],
)
def test_unknown_data_set_is_told_in_a_line(dataset: str, root: str | None, what: str) -> None:
    with pytest.raises(DataError) as caught:
        DataSource(root).split(dataset)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "names"),
    [("nq", ("google-research-datasets/nq_open", "nq_open", "train")), ("owner/pairs", ("owner/pairs", "train"))],
)
def test_hub_out_of_reach_is_told_in_a_line_that_says_what_to_do(dataset: str, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"cannot be loaded from the Hub: .*set datasets_root to ") as caught:
        DataSource().split(dataset)
    assert all(name in str(caught.value).partition(" cannot ")[0] for name in names)
    assert "\n" not in str(caught.value)


PREFERENCES: list[Row] = [
    {"prompt": f"Q: {number}?\nA:", "chosen": f"  yes, {number}\n", "rejected": " no"} for number in range(20)
]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.json", "pairs.parquet", "pairs.csv", "pairs.tsv"])
def test_strings_of_preferences_are_taken_as_they_stand(name: str, tmp_path: Path) -> None:
    path = write_preferences(tmp_path / name, PREFERENCES)
    assert both(DataSource(evaluation_share=0.5).split(str(path))) == sorted(
        (
            Example(
                dataset=str(path),
                question=row["prompt"],
                truthful=(row["chosen"],),
                wrong_answers=wrong_answers([" no"], "dataset"),
                aliases=(row["chosen"],),
                verbatim=True,
            )
            for row in PREFERENCES
        ),
        key=lambda example: example.question,
    )


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet"])
def test_conversation_of_one_turn(name: str, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": message("user", f"Is {i} odd?"),
            "chosen": message("assistant", "yes"),
            "rejected": message("assistant", "no"),
        }
        for i in range(20)
    ]
    path = write_preferences(tmp_path / name, rows)
    found = both(DataSource(evaluation_share=0.5).split(str(path)))
    assert sorted(questions(found)) == sorted(f"Is {i} odd?" for i in range(20))
    assert {(e.truthful, e.hallucinated, e.aliases, e.verbatim) for e in found} == {
        (("yes",), ("no",), ("yes",), False)
    }


def test_rows_of_one_prompt_are_merged() -> None:
    rows = [
        {"prompt": "Is it?", "chosen": "yes", "rejected": "no"},
        {"prompt": "Was it?", "chosen": "yes", "rejected": "no"},
        {"prompt": "Is it?", "chosen": "it is", "rejected": "no"},
        {"prompt": "Is it?", "chosen": "yes", "rejected": "it is not"},
    ]
    assert preferences.examples(rows, "toy") == [
        Example(
            dataset="toy",
            question="Is it?",
            truthful=("yes", "it is"),
            wrong_answers=wrong_answers(["no", "it is not"], "dataset"),
            aliases=("yes", "it is"),
            verbatim=True,
            pairs=(("yes", "no"), ("it is", "no"), ("yes", "it is not")),
        ),
        Example("toy", "Was it?", ("yes",), wrong_answers(["no"], "dataset"), ("yes",), verbatim=True),
    ]


def test_string_and_conversation_of_one_text_are_two_prompts() -> None:
    rows = [
        {"prompt": "Is it?", "chosen": "yes", "rejected": "no"},
        {
            "prompt": message("user", "Is it?"),
            "chosen": message("assistant", "yes"),
            "rejected": message("assistant", "no"),
        },
    ]
    assert [example.verbatim for example in preferences.examples(rows, "toy")] == [True, False]


GOOD = {"prompt": "Is it?", "chosen": "yes", "rejected": "no"}
TURNS = [*message("user", "Is it?"), *message("assistant", "Is what?"), *message("user", "That.")]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"prompt": "Is it?", "chosen": "yes"}, "no rejected; each row needs chosen and rejected, and a prompt"),
        ({"prompt": "Is it?"}, "no chosen and no rejected"),
        ({"question": "Is it?", "chosen": "yes", "rejected": "no"}, "there is no prompt, and chosen and rejected"),
        ({**GOOD, "prompt": None}, "no prompt"),
        ({**GOOD, "chosen": ""}, "no chosen"),
        ({**GOOD, "rejected": None}, "no rejected"),
        ({**GOOD, "chosen": " \n"}, "no truthful answer, or an empty one"),
        ({**GOOD, "rejected": " "}, "an empty hallucinated answer"),
        ({**GOOD, "prompt": " "}, "the question is empty"),
        ({**GOOD, "prompt": TURNS}, "some columns are strings and some are lists of messages"),
        ({**GOOD, "chosen": TURNS}, "some columns are strings and some are lists of messages"),
        ({**GOOD, "prompt": 7}, "prompt is 7, of type int"),
        ({**GOOD, "prompt": [{"role": "user"}]}, "message 1 of prompt is missing"),
    ],
)
def test_fault_of_a_preference_says_what_is_wrong(row: Row, what: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is what is tested)
        preferences.examples([GOOD, GOOD, row], "toy")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet"])
def test_preferences_without_a_column_name_the_file_and_row(name: str, tmp_path: Path) -> None:
    path = write_preferences(tmp_path / name, [{"prompt": "Is it?", "chosen": "yes"}])
    with pytest.raises(DataError) as caught:
        DataSource().split(str(path))
    assert str(caught.value) == (
        f"{path}: row 1: no rejected; each row needs chosen and rejected, and a prompt unless both begin with it"
    )


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("pairs.jsonl", '{"prompt": "Is it?", "chosen"', "row 1 is not one JSON object: Expecting"),
        ("pairs.jsonl", "Is it?\nyes\nno\n", "row 1 is not one JSON object"),
        ("pairs.json", '[{"prompt": "Is it?",', "cannot be read as json: Expecting"),
        ("pairs.parquet", "PAR1", "Parquet file size"),
        ("pairs.jsonl", "", "pairs.jsonl"),
    ],
)
def test_broken_file_is_told_in_a_line_that_names_it(name: str, text: str, what: str, tmp_path: Path) -> None:
    """And the cause is told, not that "an error occurred"."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        DataSource().split(str(path))
    assert str(path) in str(caught.value)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_evaluation_share_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    """A fifth of 200 prompts, give or take; the same ones when the rows are turned round and joined by others."""
    rows = [{"prompt": f"Is {number} odd?", "chosen": "yes", "rejected": "no"} for number in range(300)]
    some = DataSource(evaluation_share=0.2).split(str(write_preferences(tmp_path / "some.jsonl", rows[:200])))
    every = DataSource(evaluation_share=0.2).split(str(write_preferences(tmp_path / "all.jsonl", rows[::-1])))
    assert 20 <= len(some.evaluation) <= 60
    assert len(some.train) + len(some.evaluation) == 200
    assert shared_questions(some) == shared_questions(every) == set()
    assert set(questions(some.train)) < set(questions(every.train))
    assert set(questions(some.evaluation)) < set(questions(every.evaluation))


@pytest.mark.parametrize(
    ("rows", "share", "counts"),
    [
        (PREFERENCES[:1], 1.0, "0 questions are left to train on and 1 for evaluation;"),
        (PREFERENCES[:1], 0.0, "1 questions are left to train on and 0 for evaluation;"),
    ],
)
def test_preferences_for_one_side_alone_are_an_error(
    rows: list[Row], share: float, counts: str, tmp_path: Path
) -> None:
    path = write_preferences(tmp_path / "pairs.jsonl", rows)
    with pytest.raises(DataError) as caught:
        DataSource(evaluation_share=share).split(str(path))
    assert str(caught.value).startswith(f"{path}: {counts} ")


def test_hub_id_of_preferences_is_found_in_a_mirror(tmp_path: Path) -> None:
    write_parquet(tmp_path / "owner" / "pairs" / "default" / "train.parquet", PREFERENCES)
    split = DataSource(str(tmp_path), evaluation_share=0.5).split("owner/pairs")
    assert len(both(split)) == 20
    assert {example.dataset for example in both(split)} == {"owner/pairs"}


def test_a_validation_side_is_carved_from_the_training_questions_alone() -> None:
    """A fifth of them, by another hash than any other side's; the evaluation side is not looked at."""
    whole, chosen = (
        DataSource("samples").split("truthfulqa"),
        DataSource("samples", validation_share=0.2).split("truthfulqa"),
    )
    assert sorted(questions([*chosen.train, *chosen.evaluation])) == sorted(questions(whole.train))
    assert 0.05 < len(chosen.evaluation) / len(whole.train) < 0.4
    assert not set(questions(chosen.evaluation)) & set(questions(whole.evaluation))


def test_no_question_that_any_set_evaluates_on_is_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training question of one set that another set evaluates on, in other letters, is left out of `all`."""
    source = DataSource("samples")
    original = DataSource.split
    shared = source.split("sciq").evaluation[0].question

    def with_shared_question(self: DataSource, dataset: str) -> Split:
        split = original(self, dataset)
        if dataset != "nq":
            return split
        return replace(split, train=[replace(split.train[0], question=shared.upper()), *split.train[1:]])

    monkeypatch.setattr(DataSource, "split", with_shared_question)
    pools = dict(zip(SETS, source.training_pools("all"), strict=True))
    assert shared.upper() not in questions(pools["nq"])
    assert len(pools["nq"]) == len(original(source, "nq").train) - 1
    assert shared.upper() in questions(source.training_pools("nq")[0])
