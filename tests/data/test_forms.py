"""The columns of a row tell its form."""

import pytest

from data import labelled, preferences, questions
from data.files import Row
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
