"""Render the project's own small tables of facts into the schemas of five data sets on the Hugging Face Hub.

    python scripts/render_samples.py [--output_dir data/samples]

The tables are read from `data/samples/*.tsv`; the Parquet files go to `<output_dir>/<owner>/<name>/<config>/`.
The same tables give the same rows on every machine: all shuffles are seeded by fixed texts.
"""

import argparse
import csv
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.examples import hash_fraction, normalise_question

Row = dict[str, Any]

TABLES = Path(__file__).resolve().parent.parent / "data" / "samples"
SOURCE = "eavss samples"

TRAIN = "train"
VALIDATION = "validation"
COUNTS = {TRAIN: 200, VALIDATION: 100}

# WikiQA's rows need the most wrong answers per question, so the facts are chosen for that many.
WRONG_SENTENCES = 4
WRONG_CHOICES = 3

NQ = "google-research-datasets/nq_open/nq_open"
SCIQ = "allenai/sciq/default"
TRIVIAQA = "mandarjoshi/trivia_qa/rc.nocontext"
TRUTHFULQA_CHOICES = "truthfulqa/truthful_qa/multiple_choice"
TRUTHFULQA_GENERATION = "truthfulqa/truthful_qa/generation"
WIKIQA = "microsoft/wiki_qa/default"


@dataclass(frozen=True)
class Kind:
    """The wordings that all facts of one kind share, with `{subject}` and `{answer}` left open."""

    name: str
    question: str
    statement: str
    restatement: str
    sentence: str


@dataclass(frozen=True)
class Fact:
    """One thing that is true: the answer to its kind's question about its subject."""

    kind: str
    subject: str
    answer: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Misconception:
    """A question that many people answer wrongly, with two true and two false statements."""

    question: str
    truthful: tuple[str, ...]
    false: tuple[str, ...]


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated file with a header; quotes are ordinary characters."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def split_list(cell: str) -> tuple[str, ...]:
    """The texts of a cell that holds several, separated by `|`."""
    return tuple(text for text in cell.split("|") if text)


def read_facts(path: Path) -> list[Fact]:
    """All facts of `facts.tsv`, in the file's order."""
    return [
        Fact(row["kind"], row["subject"], row["answer"], split_list(row["aliases"] or "")) for row in read_table(path)
    ]


def read_kinds(path: Path) -> list[Kind]:
    """All kinds of `kinds.tsv`, in the file's order."""
    return [
        Kind(row["kind"], row["question"], row["statement"], row["restatement"], row["sentence"])
        for row in read_table(path)
    ]


def read_misconceptions(path: Path) -> list[Misconception]:
    """All misconceptions of `misconceptions.tsv`, in the file's order."""
    return [
        Misconception(row["question"], split_list(row["truthful"]), split_list(row["false"]))
        for row in read_table(path)
    ]


def fill(template: str, fact: Fact, answer: str | None = None) -> str:
    """A template about the fact's subject, with its own answer or a given one, starting with a capital letter."""
    text = template.format(subject=fact.subject, answer=fact.answer if answer is None else answer)
    return text[0].upper() + text[1:]


def query(question: str) -> str:
    """The question as people type it into a search box, as Natural Questions has it."""
    return question.lower().removesuffix("?")


def side(question: str) -> str:
    """The split that a question belongs to in every set, fixed by its words alone."""
    return VALIDATION if hash_fraction(question) < 0.5 else TRAIN


def normalise_answer(answer: str) -> str:
    """TriviaQA's form of an answer: lower-case, without punctuation and articles."""
    words = re.sub(r"[\W_]+", " ", answer.lower()).split()
    return " ".join(word for word in words if word not in {"a", "an", "the"})


def check(facts: Sequence[Fact], questions: dict[Fact, str]) -> None:
    """Raise where two facts ask the same thing, or an alias of one answer is another answer of the kind."""
    counts = Counter(normalise_question(question) for question in questions.values())
    repeated = [question for question, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"questions that occur more than once: {repeated}")
    answers = {(fact.kind, fact.answer.lower()) for fact in facts}
    for fact in facts:
        for alias in fact.aliases:
            if alias.lower() != fact.answer.lower() and (fact.kind, alias.lower()) in answers:
                raise ValueError(f"{alias!r}, an alias for {fact.subject!r}, is another answer of {fact.kind!r}")
    for question in questions.values():
        if side(question) != side(query(question)):
            raise ValueError(f"the wordings of {question!r} fall on two sides")


def most_repeated(facts: Iterable[Fact]) -> int:
    """How often the most frequent answer occurs."""
    return max(Counter(fact.answer.lower() for fact in facts).values())


def ladder(facts: Sequence[Fact], questions: dict[Fact, str]) -> list[Fact]:
    """One kind's facts by hash, first one fact per answer, then a second one per answer, and so on."""
    seen: Counter[str] = Counter()
    rank: dict[Fact, int] = {}
    by_hash = sorted(facts, key=lambda fact: hash_fraction(questions[fact]))
    for fact in by_hash:
        rank[fact] = seen[fact.answer.lower()]
        seen[fact.answer.lower()] += 1
    return sorted(by_hash, key=lambda fact: rank[fact])


def choose(facts: Sequence[Fact], questions: dict[Fact, str], count: int, wrong: int) -> list[Fact]:
    """The given number of facts, taken from all kinds in proportion and as far as each has enough false answers.

    Of n facts of a kind, `rotations` can give each one `wrong` false answers, with every answer false exactly
    `wrong` times as often as it is true, if and only if no answer occurs more than n / (wrong + 1) times.
    A kind therefore starts with at least wrong + 1 facts, and grows only to sizes where that holds.
    """
    ladders: dict[str, list[Fact]] = {}
    for kind in sorted({fact.kind for fact in facts}):
        ladders[kind] = ladder([fact for fact in facts if fact.kind == kind], questions)
    sizes = {
        kind: [n for n in range(1, len(steps) + 1) if most_repeated(steps[:n]) * (wrong + 1) <= n]
        for kind, steps in ladders.items()
    }
    taken = dict.fromkeys(ladders, 0)
    while (missing := count - sum(taken.values())) > 0:
        larger = {
            kind: min(n for n in sizes[kind] if n > taken[kind])
            for kind in ladders
            if any(taken[kind] < n <= taken[kind] + missing for n in sizes[kind])
        }
        if not larger:
            raise ValueError(f"only {count - missing} of {count} facts have {wrong} false answers of their kind")
        # The kind of which the smallest share is taken comes next; of two with the same share, the larger one.
        kind = min(larger, key=lambda name: (taken[name] / len(ladders[name]), -len(ladders[name]), name))
        taken[kind] = larger[kind]
    chosen = [fact for kind, n in taken.items() for fact in ladders[kind][:n]]
    return sorted(chosen, key=lambda fact: hash_fraction(questions[fact]))


def rotations(facts: Sequence[Fact], wrong: int, seed: str) -> dict[Fact, list[str]]:
    """False answers for every fact: the true answers of other facts of its kind, among the facts given.

    The facts of a kind stand in a circle, those with the same answer side by side, and each takes the answers found
    at `wrong` fixed distances from it. So an answer is false exactly `wrong` times as often as it is true, and how
    often an answer occurs does not tell whether it is right.
    """
    false: dict[Fact, list[str]] = {}
    for kind in sorted({fact.kind for fact in facts}):
        members = [fact for fact in facts if fact.kind == kind]
        answers = sorted({fact.answer for fact in members})
        random.Random(f"{seed}/{kind}").shuffle(answers)
        circle = sorted(members, key=lambda fact: answers.index(fact.answer))
        # The distances, the way round to the start included, are at least as long as the longest run of one answer.
        distances = [step * len(circle) // (wrong + 1) for step in range(1, wrong + 1)]
        for place, fact in enumerate(circle):
            false[fact] = [circle[(place + distance) % len(circle)].answer for distance in distances]
            if len({text.lower() for text in (fact.answer, *false[fact])}) != wrong + 1:
                raise ValueError(f"{fact} cannot have the false answers {false[fact]}")
    return false


def nq_rows(facts: Sequence[Fact], questions: dict[Fact, str]) -> list[Row]:
    """Rows of Natural Questions, open: a search query with all its correct answers."""
    return [{"question": query(questions[fact]), "answer": [fact.answer, *fact.aliases]} for fact in facts]


def sciq_rows(facts: Sequence[Fact], questions: dict[Fact, str], kinds: dict[str, Kind], seed: str) -> list[Row]:
    """Rows of SciQ: a question with three distractors, and a statement of the fact as its support."""
    false = rotations(facts, WRONG_CHOICES, seed)
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
    """Rows of TriviaQA without context: the pages and the search results are empty."""
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
    """Rows of WikiQA: for each question one sentence that answers it, and four that hold other answers."""
    false = rotations(facts, WRONG_SENTENCES, seed)
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
    """One side's TruthfulQA, as pairs of category and statements: misconceptions first, then facts in their shape."""
    own = [("Misconceptions", entry) for entry in misconceptions if side(entry.question) == split]
    chosen = choose(facts, questions, COUNTS[split] - len(own), WRONG_CHOICES)
    false = rotations(chosen, WRONG_CHOICES, f"truthful_qa/{split}")
    for fact in chosen:
        kind = kinds[fact.kind]
        truthful = (fill(kind.statement, fact), fill(kind.restatement, fact))
        # Both wordings are true and false alike, or the wording would tell.
        wordings = (kind.statement, kind.restatement, kind.statement)
        wrong = tuple(fill(wording, fact, answer) for wording, answer in zip(wordings, false[fact], strict=True))
        own.append((fact.kind.capitalize(), Misconception(questions[fact], truthful, wrong)))
    return own


def labelled_choices(truthful: Sequence[str], false: Sequence[str]) -> Row:
    """TruthfulQA's targets: the true choices labelled 1, then the false ones labelled 0."""
    return {"choices": [*truthful, *false], "labels": [1] * len(truthful) + [0] * len(false)}


def truthfulqa_choices_row(entry: Misconception) -> Row:
    """A row of TruthfulQA's multiple choice."""
    return {
        "question": entry.question,
        "mc1_targets": labelled_choices(entry.truthful[:1], entry.false),
        "mc2_targets": labelled_choices(entry.truthful, entry.false),
    }


def truthfulqa_generation_row(category: str, entry: Misconception) -> Row:
    """A row of TruthfulQA's generation; the questions that invite a known mistake are the adversarial ones."""
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
    """The rows of every file, by the file's path below the output folder.

    Args:
        facts: the facts of `facts.tsv`.
        kinds: the kinds of `kinds.tsv`, one for each kind that a fact names.
        misconceptions: the questions of `misconceptions.tsv`, for TruthfulQA alone.

    Returns:
        The rows; each set has 200 questions on the training side and 100 on the evaluation side.
    """
    by_name = {kind.name: kind for kind in kinds}
    questions = {fact: fill(by_name[fact.kind].question, fact) for fact in facts}
    check(facts, questions)
    chosen = {
        split: choose([fact for fact in facts if side(questions[fact]) == split], questions, count, WRONG_SENTENCES)
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
    # TruthfulQA has one split only; its reader tells the sides apart by the same hash.
    files[f"{TRUTHFULQA_CHOICES}/{VALIDATION}.parquet"] = [truthfulqa_choices_row(entry) for _, entry in truthfulqa]
    files[f"{TRUTHFULQA_GENERATION}/{VALIDATION}.parquet"] = [
        truthfulqa_generation_row(category, entry) for category, entry in truthfulqa
    ]
    return files


def struct(**fields: pa.DataType) -> pa.DataType:
    """A struct type with the given fields, in their order."""
    return pa.struct(list(fields.items()))


def schemas() -> dict[str, pa.Schema]:
    """The columns of each set, as the Hub's files have them."""
    text, texts = pa.string(), pa.list_(pa.string())
    targets = struct(choices=texts, labels=pa.list_(pa.int32()))
    pages = struct(doc_source=texts, filename=texts, title=texts, wiki_context=texts)
    results = struct(
        description=texts, filename=texts, rank=pa.list_(pa.int32()), title=texts, url=texts, search_context=texts
    )
    answer = struct(
        aliases=texts,
        normalized_aliases=texts,
        matched_wiki_entity_name=text,
        normalized_matched_wiki_entity_name=text,
        normalized_value=text,
        type=text,
        value=text,
    )
    return {
        NQ: pa.schema({"question": text, "answer": texts}),
        SCIQ: pa.schema(
            dict.fromkeys(["question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"], text)
        ),
        TRIVIAQA: pa.schema(
            {
                "question": text,
                "question_id": text,
                "question_source": text,
                "entity_pages": pages,
                "search_results": results,
                "answer": answer,
            }
        ),
        TRUTHFULQA_CHOICES: pa.schema({"question": text, "mc1_targets": targets, "mc2_targets": targets}),
        TRUTHFULQA_GENERATION: pa.schema(
            {
                "type": text,
                "category": text,
                "question": text,
                "best_answer": text,
                "correct_answers": texts,
                "incorrect_answers": texts,
                "source": text,
            }
        ),
        WIKIQA: pa.schema(
            {"question_id": text, "question": text, "document_title": text, "answer": text, "label": pa.int64()}
        ),
    }


def write(files: dict[str, list[Row]], folder: Path) -> None:
    """Write each file's rows as Parquet below the folder."""
    columns = schemas()
    for name, rows in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=columns[str(Path(name).parent)]), path)
        print(f"{path}: {len(rows)} rows")


def render_tables(tables: Path = TABLES) -> dict[str, list[Row]]:
    """`render` for the tables in a folder."""
    return render(
        read_facts(tables / "facts.tsv"),
        read_kinds(tables / "kinds.tsv"),
        read_misconceptions(tables / "misconceptions.tsv"),
    )


def main() -> None:
    """Render the tables that ship with the project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=TABLES, help="where the sets go; the shipped ones' place")
    write(render_tables(), parser.parse_args().output_dir)


if __name__ == "__main__":
    main()
