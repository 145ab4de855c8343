"""Keep what a model wrote in the cache folder, for runs that would have it write the same again."""

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypeVar

from peft import PeftModel
from transformers import PreTrainedModel

from train.model.loading import fingerprint
from train.runtime.distributed import from_main, is_main_process
from train.runtime.files import cache_folder, write_text

Written = TypeVar("Written")


def reuse_or_write(
    kind: str, model: PreTrainedModel | PeftModel, settings: Any, write: Callable[[], Written]
) -> Written:
    """Return what `write` returned to an earlier run with the same model and settings, or call it and keep its result.

    Args:
        kind: the name of a folder in the cache folder.
        model: the model that writes, whole.
        settings: everything besides the model that the result depends on. As JSON it makes the key, together with the
            model's weights and dtype.
        write: a function that is called on every rank, or on none. It returns what JSON can hold, and not None.
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
