"""Selectors as `--selectors` of the comparison names them."""

import re
from dataclasses import dataclass
from typing import get_args

from eavss.selectors import ScoreSelector
from train.runtime.errors import RecipeError

_PLAIN = (
    *(name for name in get_args(ScoreSelector) if name not in ("eavss", "avss")),
    *("diverse", "cost_aware", "first", "middle", "last", "all", "parts"),
)


@dataclass(frozen=True)
class NamedSelector:
    """A selector as `--selectors` names it.

    Args:
        selector: the selector; `layers` for blocks that are listed, `parts` for the attention and MLPs of blocks,
            `ranks` for ranks shared out by a score.
        form, estimator: which EAVSS and which AVSS.
        seed: the number of a random choice.
        layers: the listed blocks.
        score: what ranks are shared out by.
    """

    selector: str
    form: str = "contrast"
    estimator: str = "paper"
    seed: int = 0
    layers: tuple[int, ...] = ()
    score: str = ""


def parse_selector(name: str) -> NamedSelector:
    """Read the name of a selector with its form, its estimator or a number, `layers:8,11,14` or `ranks:probe`.

    Raises:
        RecipeError: there is no such selector.
    """
    selector, _, variant = name.partition(":")
    match selector, variant:
        case "random", number if number.isdigit():
            return NamedSelector(selector, seed=int(number))
        case "layers", numbers if re.fullmatch(r"\d+(,\d+)*", numbers):
            return NamedSelector(selector, layers=tuple(int(number) for number in numbers.split(",")))
        case "eavss", "contrast" | "conditional":
            return NamedSelector(selector, form=variant)
        case "avss", "paper" | "scale_free":
            return NamedSelector(selector, estimator=variant)
        case "ranks", score if score in get_args(ScoreSelector):
            return NamedSelector(selector, score=score)
        case plain, "" if plain in _PLAIN:
            return NamedSelector(selector)
    raise RecipeError(
        f"--selectors: {name!r} should be one of eavss:contrast, eavss:conditional, avss:paper, avss:scale_free, "
        f"{', '.join(_PLAIN)}, ranks:SCORE, random:NUMBER, layers:NUMBER,NUMBER,..."
    )
