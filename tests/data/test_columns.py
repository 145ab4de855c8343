"""Columns have the types of their set, or the message says what they have."""

from collections.abc import Callable
from typing import Any

import pytest

from data.columns import as_label, as_text, inner, labels, text, texts


def test_what_is_right_is_returned() -> None:
    assert text({"a": "x"}, "a") == "x"
    assert texts({"a": ["x", "y"]}, "a") == ["x", "y"]
    assert inner({"a": {"b": 1}}, "a") == {"b": 1}
    assert labels({"a": [0, 1]}, "a") == [0, 1]
    assert as_label(1, "a") == 1


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (text, None, "a is missing (null), where a string would be right"),
        (text, 3, "a is 3, of type int, where a string would be right"),
        (text, "\ud800", "a holds U+D800, half of a surrogate pair"),
        (texts, "x", "a is 'x', of type str, where a list of strings would be right"),
        (texts, ["x", 3], "value 2 of a is 3, of type int, where a string would be right"),
        (inner, "x", "a is 'x', of type str, where an object with columns of its own would be right"),
        (labels, [0, 2], "value 2 of a is 2, of type int, where 0 or 1 would be right"),
        (labels, None, "a is missing (null), where a list of labels would be right"),
    ],
)
def test_what_is_wrong_is_named(read: Callable[..., Any], value: object, message: str) -> None:
    with pytest.raises(ValueError, match=r"would be right|surrogate") as caught:
        read({"a": value}, "a")
    assert message in str(caught.value)


def test_a_missing_column_is_a_key_error_and_a_long_value_is_cut() -> None:
    with pytest.raises(KeyError):
        text({}, "a")
    with pytest.raises(ValueError, match="would be right") as caught:
        as_text(list(range(1000)), "a")
    assert len(str(caught.value)) < 150
