"""The types of a script's options."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from train.runtime.option_types import (
    file_size,
    new_file,
    not_negative,
    port_number,
    positive,
    positive_number,
    seed_number,
)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (positive, {"1": 1, "7": 7}, ["0", "-1", "1.5", "x", "", "9" * 5000]),
        (not_negative, {"0": 0}, ["-1", "nan"]),
        (seed_number, {"4294967295": 4294967295}, ["4294967296", "-1"]),
        (port_number, {"0": 0, "65535": 65535}, ["65536"]),
        (positive_number, {"1e-4": 1e-4}, ["0", "nan", "inf", "-1", "x"]),
        (file_size, {"5GB": "5GB", "500MB": "500MB"}, ["5", "0GB", "-1GB", "big", "", "1e999GB"]),
        (new_file, {"a.json": Path("a.json")}, ["/", "/dev/null/x"]),
    ],
)
def test_a_word_becomes_a_value_or_a_line(
    kind: Callable[[str], object], right: dict[str, object], wrong: list[str]
) -> None:
    assert {word: kind(word) for word in right} == right
    for word in wrong:
        with pytest.raises(ArgumentTypeError, match=r"should be|cannot be written"):
            kind(word)
