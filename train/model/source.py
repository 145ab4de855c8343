"""Where a base model and its tokenizer come from, and what is said when they cannot be read."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from train.recipe.settings import BaseModel
from train.runtime.errors import ModelError, single_line

# What configs call the number of blocks.
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
# Characters of a library's message that are shown.
_MESSAGE = 300


def source_options(base: BaseModel) -> dict[str, str | bool]:
    """Return the keyword arguments of `from_pretrained` that say which files of the model are meant."""
    return {"revision": base.revision, "trust_remote_code": base.trust_remote_code}


@contextlib.contextmanager
def reading(base: BaseModel) -> Iterator[None]:
    """Turn what the libraries raise inside into one line.

    Raises:
        ModelError: there is no such model, it is an adapter, or the body failed to read it.
    """
    require_base(base)
    try:
        yield
    except Exception as error:  # the libraries raise anything for a file that is broken or another model's
        raise ModelError(f"model_name_or_path: {base.name} cannot be loaded: {one_line(error)}") from None


def require_base(base: BaseModel) -> None:
    """Refuse a name that is neither a folder nor a Hub id, or the folder of an adapter.

    Raises:
        ModelError: it is.
    """
    name = base.name
    looks_local = name.count("/") != 1 or name.startswith((".", "/", "~"))
    if looks_local and not Path(name).is_dir():
        raise ModelError(
            f"model_name_or_path: no folder {name}; give a folder or a Hub id (`make model` builds the embedded one)"
        )
    _refuse_adapter(Path(name))


def count_blocks(base: BaseModel) -> int | None:
    """Return how many blocks the config in the base's folder names; None where there is none, or it names no number."""
    try:
        config = json.loads((Path(base.name) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    text = config.get("text_config", config) if isinstance(config, dict) else {}
    counts = [text.get(key) for key in _COUNTS] if isinstance(text, dict) else []
    return next((count for count in counts if isinstance(count, int) and not isinstance(count, bool)), None)


def _refuse_adapter(folder: Path) -> None:
    """Say what an adapter's folder is, where a base was expected."""
    config = folder / "adapter_config.json"
    if config.is_file() and not (folder / "config.json").is_file():
        base = named_base(folder)
        raise ModelError(
            f"model_name_or_path: {folder} is an adapter of {base}, not a base model; pass {base} here and the adapter "
            "with --adapter, or merge them with export_checkpoint.py --merge"
        )


def named_base(adapter: Path) -> str:
    """Return the name of the base in an adapter's config.

    Raises:
        ModelError: PEFT cannot read the config, or it names none.
    """
    from peft import PeftConfig  # imported here, since it takes seconds and few need it

    try:
        base = PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path
    except Exception as error:
        raise ModelError(f"adapter: the config of {adapter} cannot be read: {one_line(error)}") from None
    if not isinstance(base, str) or not base.strip():
        raise ModelError(f"adapter: the config of {adapter} names no base_model_name_or_path; it should name its base")
    return base


def one_line(error: BaseException) -> str:
    """Return a library's whole message as one line, without its markup, cut after some sentences."""
    text = single_line(str(error).strip() or type(error).__name__)
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE]} ..."
