"""The errors that a user can mend; each message says what is wrong and what would be right."""


class RecipeError(ValueError):
    """A recipe or the command line is not as it should be; the message names the key and what would be right."""


class ModelError(ValueError):
    """The model cannot be loaded, or the adapter did not land where it should."""


class HubError(RuntimeError):
    """The Hub refuses something, or cannot be reached."""
