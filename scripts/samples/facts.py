"""Read and check the tables of facts (`data/samples/*.tsv`), choose facts, and give them false answers."""

import csv
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.examples import hash_fraction, normalise_question

TABLES = Path(__file__).resolve().parents[2] / "data" / "samples"

TRAIN = "train"
VALIDATION = "validation"


@dataclass(frozen=True)
class Kind:
    """The wordings that all facts of one kind share, with the placeholders `{subject}` and `{answer}`."""

    name: str
    question: str
    statement: str
    restatement: str
    sentence: str


@dataclass(frozen=True)
class Fact:
    """A true fact: the answer to its kind's question about its subject."""

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
    """Read the rows of a tab-separated file with a header. Quotes are ordinary characters."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def split_list(cell: str) -> tuple[str, ...]:
    """Split a cell that holds several texts, separated by `|`."""
    return tuple(text for text in cell.split("|") if text)


def read_facts(path: Path) -> list[Fact]:
    """Read all facts of `facts.tsv`, in the file's order."""
    return [
        Fact(row["kind"], row["subject"], row["answer"], split_list(row["aliases"] or "")) for row in read_table(path)
    ]


def read_kinds(path: Path) -> list[Kind]:
    """Read all kinds of `kinds.tsv`, in the file's order."""
    return [
        Kind(row["kind"], row["question"], row["statement"], row["restatement"], row["sentence"])
        for row in read_table(path)
    ]


def read_misconceptions(path: Path) -> list[Misconception]:
    """Read all misconceptions of `misconceptions.tsv`, in the file's order."""
    return [
        Misconception(row["question"], split_list(row["truthful"]), split_list(row["false"]))
        for row in read_table(path)
    ]


def fill(template: str, fact: Fact, answer: str | None = None) -> str:
    """Fill a template with the fact's subject and its own answer or `answer`, and capitalise the first letter."""
    text = template.format(subject=fact.subject, answer=fact.answer if answer is None else answer)
    return text[0].upper() + text[1:]


def query(question: str) -> str:
    """Write the question as people type it into a search box, in the form of Natural Questions."""
    return question.lower().removesuffix("?")


def split_of(question: str) -> str:
    """Return the split that a question belongs to in every set. Only its words decide."""
    return VALIDATION if hash_fraction(question) < 0.5 else TRAIN


def normalise_answer(answer: str) -> str:
    """Write an answer in TriviaQA's normalised form: lower case, without punctuation and articles."""
    words = re.sub(r"[\W_]+", " ", answer.lower()).split()
    return " ".join(word for word in words if word not in {"a", "an", "the"})


def check_facts(facts: Sequence[Fact], questions: dict[Fact, str]) -> None:
    """Check that no two facts ask the same, and that no alias of an answer is another answer of its kind.

    Raises:
        ValueError: they do, or one is.
    """
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
        if split_of(question) != split_of(query(question)):
            raise ValueError(f"the wordings of {question!r} fall into two splits")


def most_repeated(facts: Iterable[Fact]) -> int:
    """Count how often the most frequent answer occurs."""
    return max(Counter(fact.answer.lower() for fact in facts).values())


def most_varied_first(facts: Sequence[Fact], questions: dict[Fact, str]) -> list[Fact]:
    """Order one kind's facts by hash: first one fact for each answer, then a second one for each answer, and so on."""
    seen: Counter[str] = Counter()
    rank: dict[Fact, int] = {}
    by_hash = sorted(facts, key=lambda fact: hash_fraction(questions[fact]))
    for fact in by_hash:
        rank[fact] = seen[fact.answer.lower()]
        seen[fact.answer.lower()] += 1
    return sorted(by_hash, key=lambda fact: rank[fact])


def choose_facts(facts: Sequence[Fact], questions: dict[Fact, str], count: int, wrong: int) -> list[Fact]:
    """Choose `count` facts, from all kinds in proportion, as far as each kind has enough false answers.

    `false_answers` can give each of a kind's n facts `wrong` false answers, with every answer false exactly `wrong`
    times as often as it is true, if and only if no answer occurs more than n / (wrong + 1) times. A kind therefore
    starts with at least wrong + 1 facts, and grows only to sizes where that holds.
    """
    ladders: dict[str, list[Fact]] = {}
    for kind in sorted({fact.kind for fact in facts}):
        ladders[kind] = most_varied_first([fact for fact in facts if fact.kind == kind], questions)
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
        # The next kind is the one with the smallest share taken so far; between equal shares, the larger kind.
        kind = min(larger, key=lambda name: (taken[name] / len(ladders[name]), -len(ladders[name]), name))
        taken[kind] = larger[kind]
    chosen = [fact for kind, n in taken.items() for fact in ladders[kind][:n]]
    return sorted(chosen, key=lambda fact: hash_fraction(questions[fact]))


def false_answers(facts: Sequence[Fact], wrong: int, seed: str) -> dict[Fact, list[str]]:
    """Give every fact false answers, which are the true answers of other facts of its kind.

    The facts of a kind stand in a circle, those with the same answer side by side, and each takes the answers found
    at `wrong` fixed distances from it. So an answer is false exactly `wrong` times as often as it is true, and its
    frequency does not show whether it is right.
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
