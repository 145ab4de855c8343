"""What a checkpoint says of itself.

checkpoint-N/eavss_checkpoint.json    what the checkpoint belongs to, and the size and the hash of its files; written
                                      last, so a checkpoint without it is unfinished
$EAVSS_CACHE/checkpoint_key           the secret with which the manifests of this user are signed
"""

import hmac
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Any, TypedDict

from transformers import TrainingArguments

from train.runtime.files import cache_folder, size_and_hash, write_json
from train.runtime.records import read_record

MANIFEST = "eavss_checkpoint.json"


class Manifest(TypedDict):
    """The content of the file.

    Args:
        recipe: every key that the checkpoint was trained with.
        blocks: the blocks that have an adapter.
        step_size: pairs, or texts, in an optimiser step over all ranks.
        files: the size and the SHA-256 of every file, by name.
        signature: of all the rest, with this user's key.
    """

    recipe: dict[str, Any]
    blocks: list[int]
    step_size: int
    files: dict[str, list[int | str]]
    signature: str


def write_manifest(checkpoint: Path, recipe: dict[str, Any], blocks: Sequence[int], pairs: int) -> None:
    """Seal a checkpoint: write down what it belongs to and what its files are; see `Manifest`."""
    manifest: Manifest = {
        "recipe": recipe,
        "blocks": list(blocks),
        "step_size": pairs,
        "files": _files(checkpoint),
        "signature": "",
    }
    write_json(checkpoint / MANIFEST, manifest | {"signature": _signature(manifest)})


def step_size(training: TrainingArguments) -> int:
    """Return how many pairs an optimiser step takes over all ranks."""
    per_rank = training.per_device_train_batch_size * training.gradient_accumulation_steps
    return per_rank * training.world_size


def read_manifest(checkpoint: Path) -> Manifest | None:
    """Return what a checkpoint says of itself; None where it says nothing.

    Raises:
        ValueError: the file is damaged.
    """
    path = checkpoint / MANIFEST
    return read_record(path, Manifest) if path.exists() else None


def problem_of(checkpoint: Path) -> str:
    """Return why a checkpoint is not whole, or nothing."""
    try:
        manifest = read_manifest(checkpoint)
        if manifest is None:
            return "it was not finished"
        expected = manifest["files"]
        damaged = manifest.keys() != Manifest.__annotations__.keys()
    except ValueError:
        damaged = True
    if damaged:
        return f"its {MANIFEST} is damaged"
    found = _files(checkpoint)
    broken = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    return f"{min(broken)} is damaged or missing" if broken else ""


def is_own(manifest: Manifest) -> bool:
    """Return whether this user has written the manifest, on this machine or with its cache folder."""
    return bool(manifest["signature"]) and hmac.compare_digest(manifest["signature"], _signature(manifest))


def _files(folder: Path) -> dict[str, list[int | str]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): size_and_hash(path) for path in paths}


def _signature(manifest: Manifest) -> str:
    """Sign all the rest; return nothing where there is no place for a key."""
    try:
        key = _key()
    except OSError:
        return ""
    signed = json.dumps(manifest | {"signature": ""}, sort_keys=True).encode()
    return hmac.new(key, signed, "sha256").hexdigest()


def _key() -> bytes:
    """Return this user's secret, made at its first use and readable by nobody else."""
    path = cache_folder() / "checkpoint_key"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        descriptor, temporary = mkstemp(dir=path.parent)  # readable by its owner alone
        with open(descriptor, "wb") as file:
            file.write(os.urandom(32))
        with suppress(FileExistsError):  # another process was first
            os.link(temporary, path)
        os.unlink(temporary)
    return path.read_bytes()
