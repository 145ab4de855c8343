"""Find the evaluation questions of a benchmark in prompts that are trained on."""

import re
from collections import defaultdict
from collections.abc import Iterable

from data.examples import Example, normalise_question

# A shorter question, such as "who is he", stands in many texts that do not ask it.
_WORDS = 6
_LABEL = re.compile(r"^[\w ]{1,20}:\s+")


class QuestionFinder:
    """Finds questions in the words of prompts, whatever their case and punctuation.

    A question of six words or more is found anywhere in a prompt; a shorter one where it is a whole line of it, but for
    a label as in "Question: who wrote emma".

    Args:
        questions: what to look for.
    """

    def __init__(self, questions: Iterable[str]) -> None:
        self._questions = {normalise_question(question) for question in questions} - {""}
        self._by_start: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for question in self._questions:
            words = tuple(question.split())
            if len(words) >= _WORDS:
                self._by_start[words[:_WORDS]].append(words)

    def __len__(self) -> int:
        return len(self._questions)

    def within(self, example: Example) -> set[str]:
        """Return the questions, in normalised form, that stand in what the user says in an example."""
        texts = [example.question, *(said for said, _ in example.history)]
        return set().union(*(self._whole_lines(text) | self._anywhere(text) for text in texts))

    def _whole_lines(self, text: str) -> set[str]:
        lines = [line.strip() for line in text.splitlines()]
        forms = [text, *lines, *(_LABEL.sub("", line) for line in lines)]
        return self._questions & set(map(normalise_question, forms))

    def _anywhere(self, text: str) -> set[str]:
        words = tuple(normalise_question(text).split())
        return {
            " ".join(question)
            for place in range(len(words) - _WORDS + 1)
            for question in self._by_start.get(words[place : place + _WORDS], ())
            if words[place : place + len(question)] == question
        }
