"""The one exception that carries a message for the user instead of a traceback."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line: where, field, value, remedy."""
