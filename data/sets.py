"""The data sets that a recipe can name, one line each."""

from importlib import import_module

from data.dataset import CONTRAST_ACCURACY, DataSet

_MODULES = (
    "nq",
    "sciq",
    "triviaqa",
    "truthfulqa",
    "wikiqa",
)
SETS: dict[str, DataSet] = {name: import_module(f"data.{name}").SET for name in _MODULES}
# What a recipe calls all of them together.
ALL = "all"


def leading_metric(name: str) -> str:
    """Return the metric that leads the set; a user's own data are led by the contrast accuracy."""
    return SETS[name].leading_metric if name in SETS else CONTRAST_ACCURACY
