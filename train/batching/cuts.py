"""Say what was cut from texts that are longer than `max_length`, and what was left out because of it."""

from collections.abc import Sequence

from eavss.batches import TokenSequence
from train.runtime.distributed import say
from train.runtime.errors import RecipeError


def say_cuts(what: str, groups: Sequence[Sequence[TokenSequence]], max_length: int, *, equal: int = 0) -> None:
    """Print how many groups were cut and how many were left out; print nothing where it is none.

    Args:
        what: what a group is, in the plural.
        groups: sequences that are compared with each other.
        max_length: the limit that they were cut to.
        equal: how many groups were left out, because their truthful and hallucinated answers have equal tokens.

    Raises:
        RecipeError: all groups were left out.
    """
    cuts = [{sequence.cut for sequence in group} for group in groups]
    prompts = sum("prompt" in cut and "answer" not in cut for cut in cuts)
    answers = sum("answer" in cut for cut in cuts)
    found = [
        f"{count} {happened}"
        for count, happened in (
            (prompts, "lost the start of the prompt"),
            (answers, "lost the end of an answer too"),
            (equal, "were left out, because both answers have equal tokens"),
        )
        if count
    ]
    if groups and equal == len(groups):
        longer = " once cut; raise max_length" if answers else ""
        raise RecipeError(
            f"{what}: in all {equal} the two answers have equal tokens{longer} (max_length: {max_length})"
        )
    if found:
        say(f"{what}: of {len(groups)}, cut to max_length {max_length}: {'; '.join(found)}")
