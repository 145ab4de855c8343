"""Find the rows of a data set: on the Hub, in a local mirror in Hub layout, in the samples, or in a user's own file."""

from collections.abc import Iterable
from pathlib import Path

from data.errors import DataError, first_line
from data.files import READERS, NumberedRow, file_rows
from data.sets import SETS

SAMPLES = Path(__file__).parent / "samples"


def locate(hub_id: str, config: str, split: str, root: str | None) -> Path | None:
    """Return the file that holds one split, or None where the Hub has it.

    Args:
        root: as in `data.sources.DataSource`.

    Raises:
        DataError: there is no such file.
    """
    if root is None:
        return None
    folder = SAMPLES if root == "samples" else Path(root)
    path = folder / hub_id / config / f"{split}.parquet"
    if path.is_file():
        return path
    if split == "test" and path.with_stem("validation").is_file():
        raise DataError(f"no file {path}: to evaluate on the validation split, set evaluation_split: validation")
    raise DataError(
        f"no file {path}: datasets_root {root!r} should be 'samples' or a folder that holds "
        "<owner>/<name>/<config>/<split>.parquet"
    )


def hub_layout_rows(hub_id: str, config: str, split: str, root: str | None) -> tuple[Iterable[NumberedRow], str]:
    """Return the numbered rows of one split, and the name of their place for messages.

    Args:
        root: as in `data.sources.DataSource`.

    Raises:
        DataError: there is no such file or split, or it cannot be read.
    """
    path = locate(hub_id, config, split, root)
    if path is None:
        return _hub_rows(hub_id, config, split), f"{hub_id} ({config}, {split})"
    return file_rows(path), str(path)


def locate_own(dataset: str, root: str | None) -> Path | None:
    """Return the file of a user's own data, or None where the Hub has them.

    Args:
        dataset: a .jsonl, .json or .parquet file, or a Hub id.
        root: as in `data.sources.DataSource`.

    Raises:
        DataError: it is neither, or there is no such file.
    """
    path = Path(dataset)
    if path.suffix in READERS:
        if not path.is_file():
            raise DataError(f"dataset: no file {path}")
        return path
    if dataset.count("/") != 1 or not _is_hub_id(dataset):
        raise DataError(
            f"dataset: {dataset!r} is neither one of {', '.join(SETS)}, nor a .jsonl, .json or .parquet file, "
            "nor a Hub id such as trl-lib/ultrafeedback_binarized"
        )
    return locate(dataset, "default", "train", root)


def own_rows(dataset: str, root: str | None) -> tuple[Iterable[NumberedRow], str]:
    """Return the numbered rows of a user's own data, and the name of their place; see `locate_own`."""
    path = locate_own(dataset, root)
    if path is None:
        return _hub_rows(dataset, None, "train"), f"{dataset} (train)"
    return file_rows(path), str(path)


def _is_hub_id(name: str) -> bool:
    """Return whether the Hub may have a set of this name. `load_dataset` would take ../x for a folder."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _hub_rows(hub_id: str, config: str | None, split: str) -> Iterable[NumberedRow]:
    # Imported where the Hub is asked, since these libraries take a second.
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    known = (datasets.exceptions.DatasetGenerationError, datasets.exceptions.DatasetNotFoundError, HfHubHTTPError)
    try:
        return enumerate(datasets.load_dataset(hub_id, config, split=split), start=1)
    except (*known, HTTPError, ValueError, OSError) as error:
        where = f"{hub_id} (config {config or 'default'}, split {split})"
        raise DataError(
            f"{where} cannot be loaded from the Hub: {first_line(error.__cause__ or error)}; without a connection, set "
            "datasets_root to a folder in Hub layout or to 'samples'"
        ) from None
