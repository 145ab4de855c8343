"""Copies of the Trainer's arguments, which nobody changes in place."""

import copy

from transformers import TrainingArguments


def with_values(training: TrainingArguments, **values: object) -> TrainingArguments:
    """Return a copy of the Trainer's arguments with some of them changed."""
    changed = copy.copy(training)
    for key, value in values.items():
        setattr(changed, key, value)
    return changed
