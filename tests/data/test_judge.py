"""What an answer is worth, against labels by hand and rule by rule."""

import json
from collections import Counter
from pathlib import Path

import pytest

from data.judge import judge

LABELLED = Path(__file__).parents[1] / "train" / "evaluation" / "labelled_answers.jsonl"
AGREEMENT = 0.97


def test_the_judge_agrees_with_labels_by_hand() -> None:
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    found = Counter((row["label"], judge(row["answer"], row["aliases"], row["question"])) for row in rows)
    labels = Counter(row["label"] for row in rows)
    assert labels.keys() == {"right", "wrong", "declined", "empty"}
    table = "\n".join(f"{label:<9} judged {verdict:<9} {count:>4}" for (label, verdict), count in sorted(found.items()))
    assert sum(found[label, label] for label in labels) >= AGREEMENT * len(rows), table
    assert {label for label, count in labels.items() if found[label, label] < AGREEMENT * count} == set(), table


@pytest.mark.parametrize(
    ("answer", "aliases", "verdict"),
    [
        ("paris", ["Lutetia", "Paris"], "right"),  # equality, in other characters
        ("Bach/Handel/Haydn", ["Handel"], "wrong"),  # candidates in a list
        ("It could be Bach, Handel or Haydn", ["Bach"], "wrong"),
        ("Lennon, McCartney, or Harrison", ["Lennon"], "wrong"),
        ("It is AC/DC", ["AC/DC"], "right"),
        ("Burma/Myanmar", ["Burma", "Myanmar"], "right"),
        ("Paris, France", ["Paris"], "right"),
        ("I don't think it is Paris", ["Paris"], "wrong"),  # negated from further away
        ("It cannot be Paris", ["Paris"], "wrong"),
        ("I doubt that it is Paris", ["Paris"], "wrong"),
        ("It is not the city of Paris", ["Paris"], "wrong"),
        ("Paris? No, Lyon.", ["Paris"], "wrong"),
        ("It is not London. It is Paris.", ["Paris"], "right"),
        ("Paris, but I'm not sure.", ["Paris"], "right"),  # a bare answer beside a hedge
        ("I haven't a clue.", ["Paris"], "declined"),
        ("No one knows.", ["Paris"], "declined"),
        ("Prokaryotes do not have a nucleus.", ["Prokaryotes"], "right"),  # nobody declines here
        ("One cannot know both, said Heisenberg", ["Heisenberg"], "right"),
        ("Beyonce\u0301", ["Beyonce"], "right"),
        ("1914\u20131918", ["1914-1918"], "right"),
        ("the Beatles.", ["Beatles"], "right"),
        ("seven", ["7"], "right"),
        ("!!!", ["!!!"], "right"),
        ("London", ["Paris"], "wrong"),
        ("It is the Nile, in Africa.", ["Nile"], "right"),  # whole in a sentence
        ("There were seven of them.", ["7"], "right"),
        ("Spider-Man was the hero.", ["Spiderman"], "right"),
        ("No, Paris.", ["Paris"], "right"),
        ("a " * 30 + "x " * 60 + "Paris", ["Paris"], "wrong"),  # beyond where a sentence says its answer
        ("It was a Parisian.", ["Paris"], "wrong"),  # a part of a word, or of a name
        ("York is new.", ["New York"], "wrong"),
        ("The first of all.", ["the"], "wrong"),
        ("It is not Paris.", ["Paris"], "wrong"),  # negated
        ("It isn't Paris", ["Paris"], "wrong"),
        ("It isn\u2019t in Paris", ["Paris"], "wrong"),
        ("It was never Paris", ["Paris"], "wrong"),
        ("Paris is not the capital.", ["Paris"], "wrong"),
        ("Paris wasn\u2019t the capital.", ["Paris"], "wrong"),
        ("Neither Paris nor Lyon", ["Lyon"], "wrong"),
        ("Paris, but it is not Paris", ["Paris"], "wrong"),
        ("It is said to be Paris, but it is actually Lyon.", ["Paris"], "wrong"),
        ("not Lyon but Paris", ["Paris"], "right"),  # one answer instead of another
        ("not Paris but Lyon", ["Paris"], "wrong"),
        ("Paris, not Lyon", ["Paris"], "right"),
        ("Lyon, not Paris", ["Paris"], "wrong"),
        ("Paris rather than Lyon", ["Paris"], "right"),
        ("Lyon rather than Paris", ["Paris"], "wrong"),
        ("Lyon instead of Paris", ["Paris"], "wrong"),
        ("Paris or Lyon", ["Paris"], "wrong"),  # undecided
        ("It is Lyon or Paris", ["Paris"], "wrong"),
        ("It is either Paris, the capital, or Lyon.", ["Paris"], "wrong"),
        ("Burma or Laos", ["Burma", "Myanmar"], "wrong"),
        ("Burma or Myanmar", ["Burma", "Myanmar"], "right"),  # one thing, named twice
        ("It is Myanmar (or Burma).", ["Burma", "Myanmar"], "right"),
    ],
)
def test_right_and_wrong(answer: str, aliases: list[str], verdict: str) -> None:
    assert judge(answer, iter(aliases)) == verdict


@pytest.mark.parametrize("answer", ["red", "It is red.", "Red it is."])
def test_an_answer_may_be_one_of_those_in_the_question(answer: str) -> None:
    assert judge(answer, ["red"], "Is the flag red, or is it blue?") == "right"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("high blood pressure", "right"),
        ("It is called high blood pressure.", "right"),
        ("High blood pressure (HBP) is called syndrome X.", "wrong"),
        ("Doctors treat high blood pressure.", "wrong"),
        ("High blood pressure", "right"),
        ("Hypertension is high blood pressure.", "right"),
    ],
)
def test_an_alias_of_a_question_that_offers_nothing_has_to_be_named_as_the_answer(answer: str, verdict: str) -> None:
    assert judge(answer, ["hypertension", "high blood pressure"], "What is high blood pressure called?") == verdict


@pytest.mark.parametrize("answer", ["We saw the red flag yesterday.", "A flag that is red is easily seen."])
def test_what_is_only_repeated_from_the_question_is_no_answer(answer: str) -> None:
    assert judge(answer, ["red"], "Is the flag red, or is it blue?") == "wrong"
    assert judge(answer, ["red"], "Which colour has the flag?") == "right"


REFUSALS = [
    "I don't know.",
    "I do not know the answer to that",
    "I dont know",
    "Don't know.",
    "I can't say.",
    "I cannot answer that.",
    "I couldn't tell you.",
    "I wouldn't know.",
    "I do not recall",
    "I'm not sure.",
    "I am not certain about that.",
    "I'm unsure.",
    "I'm unable to answer that question.",
    "I have no idea.",
    "No idea",
    "I haven't got a clue.",
    "It cannot be determined.",
    "It is impossible to say.",
    "There is no way of knowing.",
    "There is not enough information to tell.",
    "There is insufficient information.",
    "That is beyond my knowledge.",
    "I'd rather not guess.",
    "I would need to check.",
    "I'd have to look that up.",
    "Nobody knows.",
    "Who knows?",
    "Your guess is as good as mine.",
    "It escapes me.",
    "Sorry.",
    "Sorry, I can't help with that.",
    "I'm sorry, but I don't have that information.",
    "As an AI language model, I don't have access to that information.",
    "I don't know. You should consult an encyclopedia.",
    "I don't know, and I don't want to mislead you.",
    "Unknown",
    "N/A",
    "idk",
    "None",
]


@pytest.mark.parametrize("apostrophe", ["'", "\u2019"])
@pytest.mark.parametrize("answer", REFUSALS)
def test_refusals(answer: str, apostrophe: str) -> None:
    answer = answer.replace("'", apostrophe)
    assert judge(answer, ["Paris"], "What is the capital of France?") == "declined"
    assert judge(answer, ["xyzzy"]) == "declined"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("I don't know, but I think it is Paris.", "right"),
        ("I don\u2019t know, but it is probably Lyon.", "wrong"),
        ("I'm not sure. Perhaps Paris?", "right"),
        ("I think it is Paris, but I'm not sure.", "right"),
        ("It was Lyon, though I cannot be certain.", "wrong"),
        ("Not 100% sure, but my best guess is Paris", "right"),
        ("I don't know whether it is Paris.", "declined"),
    ],
)
def test_a_refusal_with_an_answer_is_judged_by_the_answer(answer: str, verdict: str) -> None:
    assert judge(answer, ["Paris"]) == verdict


def test_a_right_answer_in_the_words_of_a_refusal_is_right() -> None:
    assert judge("None", ["none"]) == "right"
    assert judge("I don't know", ["I Don\u2019t Know"]) == "right"


@pytest.mark.parametrize("answer", ["", "  \n", "...", "?!", "\u201c\u2014\u201d", "\u200b"])
def test_an_answer_without_letters_is_empty(answer: str) -> None:
    assert judge(answer, ["Paris"]) == "empty"
    assert judge(answer, ["xyzzy"]) != "declined"
