"""The forms that a user's own rows may have, which their columns tell apart."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

from data import labelled, preferences, questions
from data.files import Row
from data.own_data import Form, OwnData


def own_data(rows: Iterable[Row], name: str, limit: int | None = None) -> OwnData:
    """Make examples from rows of one form; see `data.own_data.Form.collect`."""
    rows = iter(rows)
    first = next(rows, {})
    return form_of(first).collect(chain([first], rows), name, limit)


def row_reader() -> Callable[[Row], object]:
    """Return what reads rows alone, all in the form of the first one that has a form."""
    form: Form[Any] | None = None

    def read(row: Row) -> object:
        nonlocal form
        form = form or form_of(row)
        return form.read(row)

    return read


def form_of(row: Mapping[str, Any]) -> Form[Any]:
    """Return the form that a user's own rows have, by the columns of the first.

    Raises:
        ValueError: they are those of no form.
    """
    for column, form in _FORMS.items():
        if column in row:
            return form
    raise ValueError(
        "no chosen and no rejected; a row should have prompt, chosen and rejected; or prompt, completion and label; or "
        f"prompt and answers; this one has {', '.join(map(repr, row)) or 'no column'}"
    )


_FORMS: dict[str, Form[Any]] = {
    questions.ANSWERS: questions.FORM,
    "chosen": preferences.FORM,
    "rejected": preferences.FORM,
    "completion": labelled.FORM,
}
