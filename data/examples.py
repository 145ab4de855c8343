"""The one record that a row of every data set becomes, and the split by hash."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

from data.files import shown

# Where a wrong answer comes from: the set's own row, the model itself, or the true answer to a similar question.
Origin = Literal["dataset", "model", "similar"]


@dataclass(frozen=True)
class WrongAnswer:
    """A hallucinated answer, and where it comes from."""

    text: str
    origin: Origin


@dataclass(frozen=True)
class Example:
    """A question with answers that are true and answers that are made up.

    Args:
        dataset: the set's name, as `nq`, or the path of a user's own file.
        question: the question's text, a conversation's last one, or a whole prompt where `verbatim` is set.
        truthful: answers to train towards, the set's best one first; never empty.
        wrong_answers: hallucinated answers; empty until `data.hallucinations` fills it for the sets that have none.
        aliases: every text that counts as correct when a free answer is judged; holds `truthful`.
        verbatim: join the prompt and its answers as they stand, without a template.
        support: a passage that holds the answer, for open-book evaluation; empty where the set has none.
        system: the system message of a conversation; empty where there is none.
        history: the earlier turns of a conversation, as what the user said and what the assistant answered.
        pairs: which truthful answer is preferred to which hallucinated one, where the data say so; empty where each
            truthful answer is preferred to each hallucinated one.
    """

    dataset: str
    question: str
    truthful: tuple[str, ...]
    wrong_answers: tuple[WrongAnswer, ...] = ()
    aliases: tuple[str, ...] = ()
    verbatim: bool = False
    support: str = ""
    system: str = ""
    history: tuple[tuple[str, str], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("the question is empty")
        if not self.truthful or not all(answer.strip() for answer in self.truthful):
            raise ValueError(f"the question {shown(self.question)} has no truthful answer, or an empty one")
        if not all(answer.strip() for answer in self.hallucinated):
            raise ValueError(f"the question {shown(self.question)} has an empty hallucinated answer")
        if not all(right in self.truthful and wrong in self.hallucinated for right, wrong in self.pairs):
            raise ValueError(f"the question {shown(self.question)} has a pair of answers that are not its own")

    @property
    def hallucinated(self) -> tuple[str, ...]:
        """The texts of the wrong answers."""
        return tuple(answer.text for answer in self.wrong_answers)

    @property
    def opening(self) -> str:
        """The user's first message. Conversations that begin alike are on one side of a split by hash."""
        return self.history[0][0] if self.history else self.question

    @property
    def conversation(self) -> str:
        """All that was said up to the question, by which questions are told apart: "And then?" alone is none."""
        return "\n".join([*(text for turn in self.history for text in turn), self.question])

    @property
    def contrasts(self) -> list[tuple[str, str]]:
        """Every pair of a truthful answer and a hallucinated one that it is preferred to."""
        return list(self.pairs or product(self.truthful, self.hallucinated))

    def to_json(self) -> dict[str, Any]:
        """Return the example as a line of `training_examples.jsonl`."""
        row = asdict(self)
        del row["wrong_answers"]
        answers = {"hallucinated": self.hallucinated, "origins": tuple(answer.origin for answer in self.wrong_answers)}
        first = {key: row.pop(key) for key in ("dataset", "question", "truthful")}
        return first | answers | row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Example":
        """Read a line of `training_examples.jsonl`.

        Raises:
            KeyError, TypeError, ValueError: the line is not that of an example.
        """
        return cls(
            dataset=row["dataset"],
            question=row["question"],
            truthful=tuple(row["truthful"]),
            wrong_answers=tuple(WrongAnswer(*each) for each in zip(row["hallucinated"], row["origins"], strict=True)),
            aliases=tuple(row["aliases"]),
            verbatim=row["verbatim"],
            support=row["support"],
            system=row.get("system", ""),  # earlier runs have none of these
            history=tuple((said, answered) for said, answered in row.get("history", ())),
            pairs=tuple((right, wrong) for right, wrong in row.get("pairs", ())),
        )


def wrong_answers(texts: Iterable[str], origin: Origin) -> tuple[WrongAnswer, ...]:
    """Return the texts as wrong answers of one origin."""
    return tuple(WrongAnswer(text, origin) for text in texts)


def normalise_question(question: str) -> str:
    """Return the lower-case words with single spaces; two questions with the same ones are held to be one question."""
    return " ".join(re.findall(r"\w+", question.lower()))


def hash_fraction(question: str) -> float:
    """Return a number in [0, 1) fixed by the question's words, for splits that survive reordering and relabelling."""
    digest = hashlib.sha256(normalise_question(question).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
