"""The samples that ship with the project: their tables, and the Parquet files made from them."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data.examples import hash_fraction, normalise_question
from data.sources import DataSource
from scripts.samples.facts import (
    TABLES,
    TRAIN,
    VALIDATION,
    Fact,
    Kind,
    choose_facts,
    false_answers,
    fill,
    normalise_answer,
    query,
    read_facts,
    read_kinds,
    read_misconceptions,
)
from scripts.samples.render_samples import COUNTS, PREFERENCES, preference_rows, render_tables
from scripts.samples.schemas import (
    NQ,
    SCIQ,
    TRIVIAQA,
    TRUTHFULQA_CHOICES,
    TRUTHFULQA_GENERATION,
    WIKIQA,
    Row,
    schemas,
    write,
)

FACTS = read_facts(TABLES / "facts.tsv")
KINDS: dict[str, Kind] = {kind.name: kind for kind in read_kinds(TABLES / "kinds.tsv")}
MISCONCEPTIONS = read_misconceptions(TABLES / "misconceptions.tsv")
BY_QUESTION: dict[str, Fact] = {normalise_question(fill(KINDS[fact.kind].question, fact)): fact for fact in FACTS}
RENDERED = render_tables()
SPLIT_SETS = (NQ, SCIQ, TRIVIAQA, WIKIQA)
NEGATIONS = re.compile(r"\b(not|no|never|cannot|without|none|nothing|nobody)\b|n't", re.IGNORECASE)


def words_within(part: str, whole: str) -> bool:
    """Whether the words of one text stand in the other, in a row."""
    return f" {normalise_question(part)} " in f" {normalise_question(whole)} "


def fact_of(row: Row) -> Fact:
    """The fact that a row asks for."""
    return BY_QUESTION[normalise_question(row["question"])]


def sentence_answers(kind: str) -> dict[str, str]:
    """Each sentence that WikiQA can have for a kind, and the answer in it."""
    return {fill(KINDS[kind].sentence, fact): fact.answer for fact in FACTS if fact.kind == kind}


def splits(rows: list[Row]) -> dict[str, list[Row]]:
    """Divide TruthfulQA's rows into splits, as its reader does."""
    by_split: dict[str, list[Row]] = {TRAIN: [], VALIDATION: []}
    for row in rows:
        by_split[VALIDATION if hash_fraction(row["question"]) < 0.5 else TRAIN].append(row)
    return by_split


def test_every_question_is_unique() -> None:
    assert len(BY_QUESTION) == len(FACTS)
    questions = {normalise_question(entry.question) for entry in MISCONCEPTIONS}
    assert len(questions) == len(MISCONCEPTIONS)
    assert questions.isdisjoint(BY_QUESTION)


def test_tables_have_clean_cells() -> None:
    for fact in FACTS:
        cells = (fact.kind, fact.subject, fact.answer, *fact.aliases)
        assert all(cell and cell == cell.strip() for cell in cells), fact
        assert fact.answer not in fact.aliases
        assert len(set(fact.aliases)) == len(fact.aliases)
    for entry in MISCONCEPTIONS:
        assert len(entry.truthful) == len(entry.false) == 2
        assert len({*entry.truthful, *entry.false}) == 4


def test_no_subject_contains_its_answer() -> None:
    assert [fact for fact in FACTS if words_within(fact.answer, fact.subject)] == []


def test_same_answer_has_the_same_aliases() -> None:
    aliases = defaultdict(set)
    for fact in FACTS:
        aliases[fact.kind, fact.answer].add(fact.aliases)
    assert [key for key, values in aliases.items() if len(values) > 1] == []


def test_aliases_are_not_other_answers() -> None:
    for fact in FACTS:
        others = {other.answer.lower() for other in FACTS if other.kind == fact.kind} - {fact.answer.lower()}
        assert others.isdisjoint(alias.lower() for alias in fact.aliases), fact


def test_kinds_have_four_answers() -> None:
    assert set(KINDS) == {fact.kind for fact in FACTS}
    for kind in KINDS:
        assert len({fact.answer.lower() for fact in FACTS if fact.kind == kind}) >= 4


def test_tone_does_not_tell_true_from_false() -> None:
    truthful = [text for entry in MISCONCEPTIONS for text in entry.truthful]
    false = [text for entry in MISCONCEPTIONS for text in entry.false]
    negated = [sum(bool(NEGATIONS.search(text)) for text in texts) for texts in (truthful, false)]
    assert abs(negated[0] - negated[1]) <= len(truthful) // 20
    assert negated[0] < len(truthful) / 2
    lengths = [sum(len(text) for text in texts) / len(texts) for texts in (truthful, false)]
    assert abs(lengths[0] - lengths[1]) < 2


def test_sentences_leave_the_subject_out() -> None:
    for fact in FACTS:
        sentence = KINDS[fact.kind].sentence
        assert not words_within(fact.subject, sentence.replace("{answer}", "")), fact
        assert words_within(fact.answer, fill(sentence, fact))


@pytest.mark.parametrize("name", RENDERED)
def test_files_are_up_to_date(name: str) -> None:
    table = pq.read_table(TABLES / name)
    assert table.to_pylist() == RENDERED[name]
    assert table.schema.equals(schemas()[name.rpartition("/")[0]])


def test_own_preferences_are_up_to_date_and_can_be_trained_on() -> None:
    lines = (TABLES / PREFERENCES).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == preference_rows(FACTS, list(KINDS.values()))
    split = DataSource().split(str(TABLES / PREFERENCES))
    assert len(split.train) + len(split.evaluation) == len(lines)
    assert all(example.truthful != example.hallucinated for example in (*split.train, *split.evaluation))


def test_no_other_files() -> None:
    assert {str(path.relative_to(TABLES)) for path in TABLES.rglob("*.parquet")} == set(RENDERED)


def test_write_makes_the_same_bytes(tmp_path: Path) -> None:
    name = f"{SCIQ}/{VALIDATION}.parquet"
    for folder in ("first", "second"):
        write({name: render_tables()[name]}, tmp_path / folder)
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("name", SPLIT_SETS)
@pytest.mark.parametrize("split", COUNTS)
def test_counts(name: str, split: str) -> None:
    rows = RENDERED[f"{name}/{split}.parquet"]
    assert len({row["question"] for row in rows}) == COUNTS[split]
    assert len(rows) == COUNTS[split] * (5 if name == WIKIQA else 1)


@pytest.mark.parametrize("name", [TRUTHFULQA_CHOICES, TRUTHFULQA_GENERATION])
def test_truthfulqa_counts(name: str) -> None:
    rows = RENDERED[f"{name}/{VALIDATION}.parquet"]
    assert {split: len(own) for split, own in splits(rows).items()} == COUNTS
    assert len({normalise_question(row["question"]) for row in rows}) == len(rows)


def test_no_fact_is_on_both_sides() -> None:
    where = defaultdict(set)
    for name in SPLIT_SETS:
        for split in COUNTS:
            for row in RENDERED[f"{name}/{split}.parquet"]:
                where[fact_of(row)].add(split)
                assert (hash_fraction(row["question"]) < 0.5) == (split == VALIDATION)
    assert {len(splits) for splits in where.values()} == {1}
    assert Counter(split for splits in where.values() for split in splits) == COUNTS
    for split, rows in splits(RENDERED[f"{TRUTHFULQA_CHOICES}/{VALIDATION}.parquet"]).items():
        for row in rows:
            if normalise_question(row["question"]) in BY_QUESTION:
                assert where[fact_of(row)] == {split}


def check_false_answers(pairs: list[tuple[Fact, str]], times: int) -> None:
    """Assert what holds for all false answers of one file and side, given as pairs of a fact and a false answer."""
    facts = {fact for fact, _ in pairs}
    for fact, false in pairs:
        assert false in {other.answer for other in facts if other.kind == fact.kind and other != fact}
        assert false.lower() not in {text.lower() for text in (fact.answer, *fact.aliases)}
    assert all(count == 1 for count in Counter((fact, false.lower()) for fact, false in pairs).values())
    true_counts = Counter((fact.kind, fact.answer) for fact in facts)
    false_counts = Counter((fact.kind, false) for fact, false in pairs)
    assert false_counts == {key: times * count for key, count in true_counts.items()}


@pytest.mark.parametrize("split", COUNTS)
def test_sciq_distractors(split: str) -> None:
    rows = RENDERED[f"{SCIQ}/{split}.parquet"]
    assert all(row["correct_answer"] == fact_of(row).answer for row in rows)
    assert all(words_within(row["correct_answer"], row["support"]) for row in rows)
    check_false_answers([(fact_of(row), row[f"distractor{number}"]) for row in rows for number in (1, 2, 3)], times=3)


@pytest.mark.parametrize("split", COUNTS)
def test_wikiqa_sentences(split: str) -> None:
    rows = RENDERED[f"{WIKIQA}/{split}.parquet"]
    answers = {kind: sentence_answers(kind) for kind in KINDS}
    pairs = []
    for start in range(0, len(rows), 5):
        group = rows[start : start + 5]
        assert len({(row["question_id"], row["question"], row["document_title"]) for row in group}) == 1
        assert sorted(row["label"] for row in group) == [0, 0, 0, 0, 1]
        fact = fact_of(group[0])
        for row in group:
            answer = answers[fact.kind][row["answer"]]
            if row["label"]:
                assert answer == fact.answer
            else:
                pairs.append((fact, answer))
    check_false_answers(pairs, times=4)
    # The place of the true sentence among the five does not give it away.
    places = Counter(place % 5 for place, row in enumerate(rows) if row["label"])
    assert len(places) == 5
    assert max(places.values()) < COUNTS[split] / 3


def test_nq_rows() -> None:
    for split in COUNTS:
        for row in RENDERED[f"{NQ}/{split}.parquet"]:
            fact = fact_of(row)
            assert row["question"] == query(fill(KINDS[fact.kind].question, fact))
            assert row["question"] == row["question"].lower()
            assert not row["question"].endswith("?")
            assert row["answer"] == [fact.answer, *fact.aliases]


def test_triviaqa_rows() -> None:
    for split in COUNTS:
        for row in RENDERED[f"{TRIVIAQA}/{split}.parquet"]:
            answer = row["answer"]
            assert answer["value"] == fact_of(row).answer == answer["aliases"][0]
            assert answer["normalized_value"] in answer["normalized_aliases"]
            assert not any(row["entity_pages"].values())
            assert not any(row["search_results"].values())


def test_normalise_answer() -> None:
    assert normalise_answer("The Washington, D.C.") == "washington d c"
    assert normalise_answer("J. R. R. Tolkien") == "j r r tolkien"


def test_truthfulqa_rows() -> None:
    choices = RENDERED[f"{TRUTHFULQA_CHOICES}/{VALIDATION}.parquet"]
    generation = RENDERED[f"{TRUTHFULQA_GENERATION}/{VALIDATION}.parquet"]
    assert [row["question"] for row in choices] == [row["question"] for row in generation]
    for row, other in zip(choices, generation, strict=True):
        one, many = row["mc1_targets"], row["mc2_targets"]
        truthful, false = other["correct_answers"], other["incorrect_answers"]
        assert one == {"choices": [truthful[0], *false], "labels": [1] + [0] * len(false)}
        assert many == {"choices": [*truthful, *false], "labels": [1] * len(truthful) + [0] * len(false)}
        assert other["best_answer"] == truthful[0]
    assert {entry.question for entry in MISCONCEPTIONS} <= {row["question"] for row in choices}


def test_truthfulqa_false_statements_are_of_the_same_side() -> None:
    for rows in splits(RENDERED[f"{TRUTHFULQA_GENERATION}/{VALIDATION}.parquet"]).values():
        pairs = []
        for row in rows:
            if row["category"] == "Misconceptions":
                continue
            fact = fact_of(row)
            kind = KINDS[fact.kind]
            answers = {
                fill(wording, fact, other.answer): other.answer
                for wording in (kind.statement, kind.restatement)
                for other in FACTS
                if other.kind == fact.kind
            }
            pairs += [(fact, answers[statement]) for statement in row["incorrect_answers"]]
        check_false_answers(pairs, times=3)


def test_choose_leaves_out_kinds_with_too_few_answers() -> None:
    facts = [Fact("large", str(number), f"answer {number}", ()) for number in range(8)]
    facts += [Fact("small", str(number), f"answer {number}", ()) for number in range(3)]
    questions = {fact: f"{fact.kind} {fact.subject}" for fact in facts}
    chosen = choose_facts(facts, questions, count=6, wrong=3)
    assert {fact.kind for fact in chosen} == {"large"}
    with pytest.raises(ValueError, match="only 8 of 9 facts"):
        choose_facts(facts, questions, count=9, wrong=3)


def test_rotations_need_enough_answers() -> None:
    facts = [Fact("kind", str(number), f"answer {number % 2}", ()) for number in range(8)]
    with pytest.raises(ValueError, match="cannot have the false answers"):
        false_answers(facts, wrong=3, seed="test")
