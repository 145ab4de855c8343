"""Look for what a recipe names, the model, its blocks and the data, before the libraries that compute are imported."""

from collections.abc import Sequence

from data.places import locate_own
from data.sets import ALL, SETS
from data.text import require_texts
from eavss.selectors import check_layers
from train.model.source import count_blocks, require_base
from train.recipe.arguments import EavssArguments
from train.recipe.parse import read


def check_recipe(words: Sequence[str] | None = None) -> EavssArguments:
    """Read a recipe and the command line, and look for the own data that they name; return our own arguments.

    Raises:
        RecipeError: see `train.recipe.parse.parse`.
        DataError: `dataset` is neither a set, nor a file that is there, nor a Hub id.
    """
    args, _ = read(words)
    if args.dataset not in (*SETS, ALL):
        locate_own(args.dataset, args.datasets_root)
    return args


def check_inputs(args: EavssArguments) -> None:
    """Refuse what is missing of the inputs of a run, as far as files on this machine show it.

    Raises:
        ModelError: there is no such model.
        EavssError: `layers` names a block that the model's config does not have.
        DataError: there is no such data set, or a file of a set that is trained or evaluated on is missing.
    """
    require_base(args.base_model)
    if args.layers is not None and (total := count_blocks(args.base_model)) is not None:
        check_layers(args.layers, total)
    args.source.require(args.dataset, to_train=True)
    for name in args.evaluation.sets:
        args.source.require(name, to_train=False)
    if args.datasets_root != "samples":  # they hold no running text, and retention is left out
        require_texts(args.retention, args.datasets_root)
