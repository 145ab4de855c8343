"""The one record that a row of every data set becomes, and the split by hash."""

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A question with answers that are true and answers that are made up.

    Args:
        dataset: the set's name, as `nq`, or the path of a user's own file.
        question: the question's text, or a whole prompt where `verbatim` is set.
        truthful: answers to train towards, the set's best one first; never empty.
        hallucinated: wrong answers; empty until `data.hallucinations` fills it for the sets that have none.
        origins: where each hallucinated answer comes from (`dataset`, `model` or `similar`), same length.
        aliases: every text that counts as correct, for judging free answers; holds `truthful`.
        verbatim: the prompt and its answers are joined as they stand, without a template.
        support: a passage that holds the answer, for open-book evaluation; empty where the set has none.
    """

    dataset: str
    question: str
    truthful: tuple[str, ...]
    hallucinated: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    verbatim: bool = False
    support: str = ""

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("the question is empty")
        if not self.truthful or not all(answer.strip() for answer in self.truthful):
            raise ValueError(f"the question {self.question!r} has no truthful answer, or an empty one")
        if not all(answer.strip() for answer in self.hallucinated):
            raise ValueError(f"the question {self.question!r} has an empty hallucinated answer")
        if len(self.origins) != len(self.hallucinated):
            raise ValueError(f"{len(self.hallucinated)} hallucinated answers with {len(self.origins)} origins")


def normalise_question(question: str) -> str:
    """Lower-case words with single spaces: the form in which two questions are held to be the same one."""
    return " ".join(re.findall(r"\w+", question.lower()))


def hash_fraction(question: str) -> float:
    """A number in [0, 1) fixed by the question's words, for splits that survive reordering and relabelling."""
    digest = hashlib.sha256(normalise_question(question).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
