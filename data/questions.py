"""A user's own questions with right answers alone, for which wrong answers are found (`data.hallucinations`)."""

from collections.abc import Iterable, Mapping
from typing import Any

from data.columns import as_text, described, text, texts
from data.conversations import asked
from data.examples import Example

ANSWERS = "answers"
PASSAGE = "passage"


def examples(rows: Iterable[Mapping[str, Any]], name: str) -> list[Example]:
    """Make an example from each row {"prompt": "Who wrote Emma?", "answers": ["Jane Austen", "Austen"]}.

    The prompt is a question, or messages as in `data.conversations`; `prompt_style` poses it. Rows of one prompt are
    one question, and any of its answers counts as right. The first one is the best. A row may also have a `passage`
    that holds the answer; with another passage it is another question.

    Args:
        name: the path or Hub id of the data, for `Example.dataset`.

    Raises:
        ValueError: a row has no prompt or no answer, or a value is of another type.
    """
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in rows:
        if row.get("prompt") in (None, "", []):
            raise ValueError(f"no prompt; each row needs a prompt and {ANSWERS}")
        value = row[ANSWERS]
        given = [as_text(value, ANSWERS)] if isinstance(value, str) else texts(row, ANSWERS)
        if not any(answer.strip() for answer in given):
            raise ValueError(f"{ANSWERS} is {described(value)}, where a right answer or a list of some would be right")
        prompt = asked(row["prompt"])
        passage = "" if row.get(PASSAGE) is None else text(row, PASSAGE).strip()
        Example(name, prompt.text, tuple(a for a in given if a.strip()))  # reports an empty question with its row
        found.setdefault((prompt.text, prompt.system, passage), {}).update(dict.fromkeys(a for a in given if a.strip()))
    return [
        Example(name, question, tuple(answers), aliases=tuple(answers), support=passage, system=system)
        for (question, system, passage), answers in found.items()
    ]
