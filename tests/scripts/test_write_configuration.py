"""scripts/write_configuration.py: the page is current, and every key is on it."""

from dataclasses import fields
from typing import Literal

import pytest

from scripts.write_configuration import TARGET, configuration, type_name
from train.recipe.arguments import EavssArguments


def test_the_page_is_current() -> None:
    assert TARGET.read_text(encoding="utf-8") == configuration(), "run python scripts/write_configuration.py"


@pytest.mark.parametrize("key", [field.name for field in fields(EavssArguments)])
def test_every_key_has_one_row(key: str) -> None:
    rows = [line for line in configuration().splitlines() if line.startswith(f"| `{key}` |")]
    assert len(rows) == 1


def test_a_row_holds_type_default_and_help() -> None:
    page = configuration()
    assert "| `lora_r` | integer | `8` | LoRA rank. |" in page
    assert "| `model_name_or_path` | text | required |" in page
    assert "| `eval_limit` | integer, or null | `null` |" in page
    assert "| `form` | `contrast`, `conditional` | `contrast` |" in page


def test_keys_are_grouped_by_what_they_concern() -> None:
    page = configuration()
    lora = page[page.index("## LoRA") : page.index("## Loss")]
    assert "`lora_r`" in lora
    assert "`dpo_weight`" not in lora


def test_the_trainers_keys_are_those_that_recipes_set() -> None:
    trainer = configuration().partition("## Keys of the Trainer")[2]
    assert "`max_steps`" in trainer
    assert "`dpo_weight`" not in trainer


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "true or false"),
        (list[int] | None, "list of integers, or null"),
        (Literal["own", "harness"], "`own`, `harness`"),
    ],
    ids=str,
)
def test_types_are_described_in_words(hint: object, words: str) -> None:
    assert type_name(hint) == words
