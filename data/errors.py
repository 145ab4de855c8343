"""The error of this package that a user can mend."""


class DataError(ValueError):
    """A data set, a file or a row is not as it should be; the message says what, where, and what would be right."""
