"""The project's own small tables of facts (`data/samples/*.tsv`): read, checked, chosen from, given false answers."""

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
