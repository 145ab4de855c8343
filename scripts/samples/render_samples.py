"""Render the project's own small tables into the schemas of seven data sets on the Hugging Face Hub.

    python scripts/samples/render_samples.py [--output_dir data/samples]

The script reads the tables in `data/samples/*.tsv` and writes Parquet files to `<output_dir>/<owner>/<name>/<config>/`.
The same tables give the same rows on every machine, because fixed texts seed all shuffles.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.samples.facts import (
    TABLES,
    TRAIN,
    VALIDATION,
    Fact,
    Kind,
    Misconception,
    check_facts,
    choose_facts,
    false_answers,
    fill,
    normalise_answer,
    query,
    read_facts,
    read_kinds,
    read_misconceptions,
    split_of,
)
from scripts.samples.pairs import sentence_pairs
from scripts.samples.schemas import (
    NQ,
    SCIQ,
    TRIVIAQA,
    TRUTHFULQA_CHOICES,
    TRUTHFULQA_GENERATION,
    WIKIQA,
    Row,
    write,
    write_lines,
)
from train.runtime.command import Parser, exit_status

SOURCE = "eavss samples"
PREFERENCES = "preferences.jsonl"
PREFERENCE_KIND = "capital"

COUNTS = {TRAIN: 200, VALIDATION: 100}

# WikiQA's rows need the most wrong answers per question, so the facts are chosen for that many.
WRONG_SENTENCES = 4
WRONG_CHOICES = 3


def nq_rows(facts: Sequence[Fact], questions: dict[Fact, str]) -> list[Row]:
    """Make rows of Natural Questions, open: a search query with all its correct answers."""
    return [{"question": query(questions[fact]), "answer": [fact.answer, *fact.aliases]} for fact in facts]


def sciq_rows(facts: Sequence[Fact], questions: dict[Fact, str], kinds: dict[str, Kind], seed: str) -> list[Row]:
    """Make rows of SciQ: a question with three distractors, and a statement of the fact as its support."""
    false = false_answers(facts, WRONG_CHOICES, seed)
    return [
        {
            "question": questions[fact],
            "distractor3": false[fact][2],
            "distractor1": false[fact][0],
            "distractor2": false[fact][1],
            "correct_answer": fact.answer,
            "support": fill(kinds[fact.kind].statement, fact),
        }
        for fact in facts
    ]


def triviaqa_rows(facts: Sequence[Fact], questions: dict[Fact, str], ids: dict[Fact, int]) -> list[Row]:
    """Make rows of TriviaQA without context: the pages and the search results are empty."""
    rows = []
    for fact in facts:
        aliases = [fact.answer, *fact.aliases]
        normalised = normalise_answer(fact.answer)
        rows.append(
            {
                "question": questions[fact],
                "question_id": f"sample_{ids[fact]}",
                "question_source": SOURCE,
                "entity_pages": {name: [] for name in ("doc_source", "filename", "title", "wiki_context")},
                "search_results": {
                    name: [] for name in ("description", "filename", "rank", "title", "url", "search_context")
                },
                "answer": {
                    "aliases": aliases,
                    "normalized_aliases": list(dict.fromkeys(normalise_answer(alias) for alias in aliases)),
                    "matched_wiki_entity_name": fact.answer,
                    "normalized_matched_wiki_entity_name": normalised,
                    "normalized_value": normalised,
                    "type": "WikipediaEntity",
                    "value": fact.answer,
                },
            }
        )
    return rows


def wikiqa_rows(
    facts: Sequence[Fact], questions: dict[Fact, str], kinds: dict[str, Kind], ids: dict[Fact, int], seed: str
) -> list[Row]:
    """Make rows of WikiQA: for each question one sentence that answers it, and four that hold other answers."""
    false = false_answers(facts, WRONG_SENTENCES, seed)
    rows = []
    for fact in facts:
        labelled = [(fact.answer, 1), *((answer, 0) for answer in false[fact])]
        random.Random(f"{seed}/{questions[fact]}").shuffle(labelled)
        for answer, label in labelled:
            rows.append(
                {
                    "question_id": f"Q{ids[fact]}",
                    "question": questions[fact],
                    "document_title": fact.subject,
                    "answer": fill(kinds[fact.kind].sentence, fact, answer),
                    "label": label,
                }
            )
    return rows


def truthfulqa_questions(
    facts: Sequence[Fact],
    misconceptions: Sequence[Misconception],
    questions: dict[Fact, str],
    kinds: dict[str, Kind],
    split: str,
) -> list[tuple[str, Misconception]]:
    """Return one split of TruthfulQA as pairs of category and statements: misconceptions, then facts in their shape."""
    own = [("Misconceptions", entry) for entry in misconceptions if split_of(entry.question) == split]
    chosen = choose_facts(facts, questions, COUNTS[split] - len(own), WRONG_CHOICES)
    false = false_answers(chosen, WRONG_CHOICES, f"truthful_qa/{split}")
    for fact in chosen:
        kind = kinds[fact.kind]
        truthful = (fill(kind.statement, fact), fill(kind.restatement, fact))
        # Both wordings occur in true and in false statements, or the wording would give the answer away.
        wordings = (kind.statement, kind.restatement, kind.statement)
        wrong = tuple(fill(wording, fact, answer) for wording, answer in zip(wordings, false[fact], strict=True))
        own.append((fact.kind.capitalize(), Misconception(questions[fact], truthful, wrong)))
    return own


def labelled_choices(truthful: Sequence[str], false: Sequence[str]) -> Row:
    """Make TruthfulQA's targets: the true choices labelled 1, then the false ones labelled 0."""
    return {"choices": [*truthful, *false], "labels": [1] * len(truthful) + [0] * len(false)}


def truthfulqa_choices_row(entry: Misconception) -> Row:
    """Make a row of TruthfulQA's multiple-choice configuration."""
    return {
        "question": entry.question,
        "mc1_targets": labelled_choices(entry.truthful[:1], entry.false),
        "mc2_targets": labelled_choices(entry.truthful, entry.false),
    }


def truthfulqa_generation_row(category: str, entry: Misconception) -> Row:
    """Make a row of TruthfulQA's generation configuration. Questions that invite a known mistake are adversarial."""
    return {
        "type": "Adversarial" if category == "Misconceptions" else "Non-Adversarial",
        "category": category,
        "question": entry.question,
        "best_answer": entry.truthful[0],
        "correct_answers": list(entry.truthful),
        "incorrect_answers": list(entry.false),
        "source": SOURCE,
    }


def render(
    facts: Sequence[Fact], kinds: Sequence[Kind], misconceptions: Sequence[Misconception]
) -> dict[str, list[Row]]:
    """Make the rows of every file, by the file's path below the output folder.

    Args:
        facts: the facts of `facts.tsv`.
        kinds: the kinds of `kinds.tsv`, one for each kind that a fact names.
        misconceptions: the questions of `misconceptions.tsv`, for TruthfulQA alone.

    Returns:
        The rows. Each set has 200 training questions and 100 evaluation questions.
    """
    by_name = {kind.name: kind for kind in kinds}
    questions = {fact: fill(by_name[fact.kind].question, fact) for fact in facts}
    check_facts(facts, questions)
    chosen = {
        split: choose_facts(
            [fact for fact in facts if split_of(questions[fact]) == split], questions, count, WRONG_SENTENCES
        )
        for split, count in COUNTS.items()
    }
    ids = {fact: place for place, fact in enumerate([*chosen[TRAIN], *chosen[VALIDATION]], start=1)}

    files: dict[str, list[Row]] = {}
    truthfulqa: list[tuple[str, Misconception]] = []
    for split, own in chosen.items():
        files[f"{NQ}/{split}.parquet"] = nq_rows(own, questions)
        files[f"{SCIQ}/{split}.parquet"] = sciq_rows(own, questions, by_name, f"sciq/{split}")
        files[f"{TRIVIAQA}/{split}.parquet"] = triviaqa_rows(own, questions, ids)
        files[f"{WIKIQA}/{split}.parquet"] = wikiqa_rows(own, questions, by_name, ids, f"wiki_qa/{split}")
        truthfulqa += truthfulqa_questions(own, misconceptions, questions, by_name, split)
    # TruthfulQA has one split only. Its reader divides it by the same hash.
    files[f"{TRUTHFULQA_CHOICES}/{VALIDATION}.parquet"] = [truthfulqa_choices_row(entry) for _, entry in truthfulqa]
    files[f"{TRUTHFULQA_GENERATION}/{VALIDATION}.parquet"] = [
        truthfulqa_generation_row(category, entry) for category, entry in truthfulqa
    ]
    return files


def preference_rows(facts: Sequence[Fact], kinds: Sequence[Kind]) -> list[Row]:
    """Make preferences in TRL's columns from the facts of one kind, as a user's own file holds them."""
    (kind,) = (kind for kind in kinds if kind.name == PREFERENCE_KIND)
    own = [fact for fact in facts if fact.kind == kind.name]
    return [
        {
            "prompt": f"Question: {fill(kind.question, fact)}\nAnswer:",
            "chosen": f" {fact.answer}",
            "rejected": f" {other.answer}",
        }
        for fact, other in zip(own, [*own[1:], own[0]], strict=True)
    ]


def render_tables(tables: Path = TABLES) -> dict[str, list[Row]]:
    """Read the tables in a folder and make the rows of every file from them."""
    facts, kinds = read_facts(tables / "facts.tsv"), read_kinds(tables / "kinds.tsv")
    own = render(facts, kinds, read_misconceptions(tables / "misconceptions.tsv"))
    return own | sentence_pairs(tables / "sentence_pairs.tsv")


def main() -> None:
    """Render the tables that ship with the project."""
    parser = Parser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=TABLES, help="default: data/samples")
    folder = parser.parse_args().output_dir
    write(render_tables(), folder)
    rows = preference_rows(read_facts(TABLES / "facts.tsv"), read_kinds(TABLES / "kinds.tsv"))
    write_lines(rows, folder / PREFERENCES)


if __name__ == "__main__":
    sys.exit(exit_status(main))
