"""What a model wrote, kept in the cache folder for runs that would have it write the same again."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from transformers import PreTrainedModel

from train.model.loading import fingerprint
from train.runtime.distributed import from_main, is_main_process
from train.runtime.files import cache_folder, write_text

Written = TypeVar("Written")


def kept(kind: str, model: PreTrainedModel, settings: Any, write: Callable[[], Written]) -> Written:
    """What `write` returns, or returned when an earlier run asked for it.

    Args:
        kind: a folder's name in the cache folder.
        model: whole, without an adapter.
        settings: all that it depends on beside the model; as JSON it makes the key, with the model's weights and dtype.
        write: called on every rank, or on none; returns what JSON can hold, not None.
    """
    digest = hashlib.sha256(fingerprint(model))
    digest.update(json.dumps([str(model.dtype), settings]).encode())
    path = cache_folder() / kind / f"{digest.hexdigest()[:32]}.json"
    # The main rank decides, since only its machine may have the file.
    found: Written | None = from_main(lambda: json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None)
    if found is not None:
        return found
    written = write()
    if is_main_process():
        write_text(path, json.dumps(written))
    return written
