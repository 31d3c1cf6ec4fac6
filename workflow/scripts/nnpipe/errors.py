"""The exception for errors in the user's input."""


class InputError(ValueError):
    """An error that the user can mend.

    The message is one line: file, field, value, remedy. Scripts print it without a traceback.
    """
