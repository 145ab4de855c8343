"""Read rows from the Hub, by way of the cache of `datasets` or as a stream."""

from collections.abc import Iterator

from data.errors import DataError, first_line
from data.files import NumberedRow


def hub_rows(hub_id: str, config: str | None, split: str, streamed: bool = False) -> Iterator[NumberedRow]:
    """Read the numbered rows of a set on the Hub.

    Args:
        config: the name of its configuration; None for the default one.
        streamed: read the rows as they arrive and keep nothing on disk; else they are downloaded as a whole first, and
            found on disk the next time.

    Raises:
        DataError: there is no such set or split, or it cannot be read.
    """
    # Imported where the Hub is asked, since these libraries take a second.
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    known = (datasets.exceptions.DatasetGenerationError, datasets.exceptions.DatasetNotFoundError, HfHubHTTPError)
    try:
        yield from enumerate(datasets.load_dataset(hub_id, config, split=split, streaming=streamed), start=1)
    except (*known, HTTPError, ValueError, OSError) as error:
        where = f"{hub_id} (config {config or 'default'}, split {split})"
        raise DataError(
            f"{where} cannot be loaded from the Hub: {first_line(error.__cause__ or error)}; without a connection, set "
            "datasets_root to a folder in Hub layout or to 'samples'"
        ) from None


def is_hub_id(name: str) -> bool:
    """Return whether the Hub may have a set of this name. `load_dataset` would take ../x for a folder."""
    if name.count("/") != 1:
        return False
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
