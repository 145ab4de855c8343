"""What is read from the source of transformers is what the class has."""

from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from transformers import HfArgumentParser, TrainingArguments

from train.recipe import trainer_fields as module
from train.recipe.trainer_fields import argument_parser, trainer_fields

# What the source computes, so that only the class has it.
COMPUTED_DEFAULTS, COMPUTED_CHOICES = {"optim"}, {"log_level", "log_level_replica"}


def plain(hint: Any) -> Any:
    """A type with each enum as its values, and a class of the library as its name."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {member.name: member.value for member in hint}
    parts = get_args(hint)
    if parts and not all(isinstance(part, bool) for part in parts):
        return [str(getattr(hint, "__origin__", "union")), *(plain(part) for part in parts)]
    return hint if getattr(hint, "__module__", "") in ("builtins", "typing") else getattr(hint, "__name__", str(hint))


def test_the_source_is_read() -> None:
    assert trainer_fields() is not TrainingArguments


def test_names_defaults_and_help_are_those_of_the_class() -> None:
    ours, theirs = ({each.name: each for each in fields(kind)} for kind in (trainer_fields(), TrainingArguments))
    assert list(ours) == list(theirs)
    defaults = {name for name in theirs if ours[name].default != theirs[name].default}
    assert defaults == COMPUTED_DEFAULTS
    assert {name for name in theirs if ours[name].default_factory != theirs[name].default_factory} == set()
    more = {name: theirs[name].metadata.keys() - ours[name].metadata.keys() for name in theirs}
    assert {name: keys for name, keys in more.items() if keys} == {name: {"choices"} for name in COMPUTED_CHOICES}
    assert all(value == theirs[name].metadata[key] for name in ours for key, value in ours[name].metadata.items())


def test_types_are_those_of_the_class() -> None:
    ours, theirs = get_type_hints(trainer_fields()), get_type_hints(TrainingArguments)
    assert {name: plain(ours[name]) for name in ours} == {name: plain(theirs[name]) for name in ours}


def test_a_source_of_another_form_leaves_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a later version may have: no class of this name, or no parser by itself."""
    monkeypatch.setattr(module, "_folder", lambda: tmp_path)
    for path in module._SOURCES:
        (tmp_path / path).write_text("class Other: pass\n")
    (tmp_path / "hf_argparser.py").write_text("from .utils import nothing\n")
    assert trainer_fields.__wrapped__() is TrainingArguments
    assert argument_parser.__wrapped__() is HfArgumentParser
