"""The error that this package raises for mistakes that a user can correct."""


class EavssError(ValueError):
    """The model, the questions or the choice of layers is invalid; the message says what would be valid."""
