"""The error of this package that a user can mend."""


class EavssError(ValueError):
    """The model, the questions or the choice of layers is not as it should be; the message says what would be right."""
