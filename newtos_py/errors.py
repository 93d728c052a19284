"""The one exception tree of newtos_py.

Everything the package raises on purpose is a NewtosError, so that a caller (the command line
first of all) tells a failure that has an explanation from a bug. Subclasses stand beside the code
that raises them. Messages say what is wrong and what to do next.
"""


class NewtosError(Exception):
    """A failure that newtos_py can explain; its text is meant for the user as it stands."""
