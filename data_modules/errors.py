"""The one exception whose text is written for the person at the keyboard."""


class InputError(ValueError):
    """Bad input: a file, a folder, an option or a checkpoint that cannot be used.

    The message is complete on its own: it names the file or key, what was found, what was expected and what to do. The
    command line prints it without a traceback and exits with status 2.
    """


def input_error_behind(error: BaseException | None) -> InputError | None:
    """The `InputError` that led to an error, if one did: jsonargparse wraps what a constructor raises into errors of its own."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error
