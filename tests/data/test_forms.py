"""The columns of a row tell its form."""

import json
import re
from pathlib import Path

import pytest

from data import labelled, preferences, questions
from data.files import Row, file_rows
from data.forms import form_of, own_data
from data.own_data import Form


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"prompt": "", "chosen": "", "rejected": ""}, preferences.FORM),
        ({"chosen": ""}, preferences.FORM),
        ({"prompt": "", "answers": []}, questions.FORM),
        ({"prompt": "", "completion": "", "label": True}, labelled.FORM),
    ],
)
def test_the_form_of_a_row(row: Row, form: Form[object]) -> None:
    assert form_of(row) is form


def test_other_columns_are_named() -> None:
    with pytest.raises(ValueError, match=r"no chosen and no rejected; .* this one has 'question', 'answer'$"):
        own_data([{"question": "Who?", "answer": "I"}], "own")


BLOCK = re.compile(r"^```(json|csv)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
EXAMPLES = BLOCK.findall((Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "block"), EXAMPLES)
def test_the_examples_of_the_documentation_are_read(kind: str, block: str, tmp_path: Path) -> None:
    """Each is one question about a novel."""
    path = tmp_path / f"own.{kind}"
    path.write_text(block)
    data = own_data((row for _, row in file_rows(path)), "own")
    (example,) = data.examples
    assert "Emma" in example.question or "Emma" in example.opening
    assert example.truthful[0].strip(" .") in ("Jane Austen", "In 1815")
    assert bool(example.wrong_answers) == ("answers" not in block)
    assert not any(number for number, _ in data.findings)


def test_the_documentation_shows_every_form() -> None:
    shown = {form_of(row) for kind, block in EXAMPLES if kind == "json" for row in map(json.loads, block.splitlines())}
    assert shown == {preferences.FORM, questions.FORM, labelled.FORM}
    assert len(EXAMPLES) >= 13
