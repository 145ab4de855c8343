"""The error of this package that a user can mend."""


class DataError(ValueError):
    """A data set, a file or a row is not as it should be; the message says what, where, and what would be right."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's name where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
