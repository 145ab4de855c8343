"""The errors that a user can mend; each message says what is wrong and what would be right."""


class RecipeError(ValueError):
    """A recipe or the command line is not as it should be; the message names the key and what would be right."""


class ModelError(ValueError):
    """The model cannot be loaded, or the adapter did not land where it should."""


class HubError(RuntimeError):
    """The Hub refuses something, or cannot be reached."""


def require(holds: bool, key: str, value: object, right: str) -> None:
    """Refuse a key's value that does not hold, in one line that says what would be right.

    Raises:
        RecipeError: it does not hold.
    """
    if not holds:
        raise RecipeError(f"{key}: {value} should be {right}")
