"""Find the rows of a data set: on the Hub, in a local mirror in Hub layout, in the samples, or in a user's own file."""

from collections.abc import Iterable
from pathlib import Path

from data.errors import DataError
from data.files import READERS, NumberedRow, file_rows
from data.hub import hub_rows, is_hub_id
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
        return hub_rows(hub_id, config, split), f"{hub_id} ({config}, {split})"
    return file_rows(path), str(path)


def locate_own(dataset: str, root: str | None) -> Path | None:
    """Return the file of a user's own data, or None where the Hub has them.

    Args:
        dataset: a file with one of the endings of `READERS`, or a Hub id.
        root: as in `data.sources.DataSource`.

    Raises:
        DataError: it is neither, or there is no such file.
    """
    path = Path(dataset)
    if path.suffix in READERS:
        if not path.is_file():
            raise DataError(f"dataset: no file {path}")
        return path
    if not is_hub_id(dataset):
        raise DataError(
            f"dataset: {dataset!r} is neither one of {', '.join(SETS)}, nor a {', '.join(READERS)} file, nor a Hub id "
            "such as trl-lib/ultrafeedback_binarized"
        )
    return locate(dataset, "default", "train", root)


def own_rows(dataset: str, path: Path | None, streamed: bool) -> tuple[Iterable[NumberedRow], str]:
    """Return the numbered rows of a user's own data, and the name of their place.

    Args:
        path: what `locate_own` has found.
        streamed: see `data.hub.hub_rows`.
    """
    if path is None:
        return hub_rows(dataset, None, "train", streamed), f"{dataset} (train)"
    return file_rows(path), str(path)
