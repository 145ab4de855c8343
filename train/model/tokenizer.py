"""Load a model's tokenizer, check once that the two fit each other, and copy it as it is."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import snapshot_download
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from train.model.source import reading, source_options
from train.recipe.settings import BaseModel
from train.runtime.distributed import say
from train.runtime.errors import ModelError

# The files of a tokenizer in a model's folder, as glob patterns.
FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece*.model",
    "*.tiktoken",
    "chat_template.*",
    "chat_templates/*",
)


def load_tokenizer(base: BaseModel) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer, with an end-of-sequence token and a padding token that the model has.

    Raises:
        ModelError: there is no such model, it has no tokenizer, or the tokenizer belongs to another model.
    """
    with reading(base):
        config = AutoConfig.from_pretrained(base.name, **source_options(base)).get_text_config()
        if Path(base.name).is_dir() and not _files(Path(base.name)):
            raise ValueError("it has no tokenizer; copy tokenizer.json and tokenizer_config.json of its base into it")
        raw, _ = PreTrainedConfig.get_config_dict(base.name, **source_options(base))
        tokenizer = AutoTokenizer.from_pretrained(base.name, **source_options(base))
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = _named_end(base.name, raw, tokenizer)
    _require_rows(base.name, tokenizer, config.vocab_size)
    return tokenizer


def _files(folder: Path) -> list[Path]:
    return sorted(found for pattern in FILES for found in folder.glob(pattern))


def _named_end(name: str, config: Mapping[str, object], tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the end-of-sequence token that config.json names itself; a model class has a default that means nothing.

    Raises:
        ModelError: it names none.
    """
    named = config.get("eos_token_id")
    first = named[0] if isinstance(named, list) and named else named
    token = tokenizer.convert_ids_to_tokens(first) if isinstance(first, int) else None
    if token is None:
        raise ModelError(
            f"model_name_or_path: neither the tokenizer of {name} nor its config.json names an end-of-sequence "
            "token; set eos_token in tokenizer_config.json"
        )
    return str(token)


def _require_rows(name: str, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Check that the model has an embedding for every token that text may become, and for the padding token.

    Raises:
        ModelError: it has not.
    """
    beyond = sorted((id_, token) for token, id_ in tokenizer.get_vocab().items() if id_ >= rows)
    needed = {tokenizer.eos_token_id, *tokenizer("a")["input_ids"]}
    # Extra tokens that no text needs, such as those of pictures, are no fault; a padding token is replaced below.
    lacking = [(id_, token) for id_, token in beyond if id_ in needed or token not in tokenizer.get_added_vocab()]
    if lacking:
        raise ModelError(
            f"model_name_or_path: the tokenizer of {name} is of another model: its token {lacking[0][1]!r} has the id "
            f"{lacking[0][0]}, and the model has {rows} tokens"
        )
    pad = tokenizer.pad_token_id
    if pad is not None and pad >= rows:
        say(
            f"note: the padding token {tokenizer.pad_token!r} is beyond the model's {rows} tokens; "
            f"{tokenizer.eos_token!r} is used instead"
        )
    if pad is None or pad >= rows:
        tokenizer.pad_token = tokenizer.eos_token


def copy_tokenizer(base: BaseModel, folder: Path) -> None:
    """Copy the files of the model's tokenizer to `folder`, byte by byte."""
    with reading(base):
        local = Path(base.name)
        if not local.is_dir():
            local = Path(snapshot_download(base.name, revision=base.revision, allow_patterns=list(FILES)))
        for path in _files(local):
            target = folder / path.relative_to(local)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
