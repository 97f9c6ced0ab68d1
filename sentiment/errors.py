"""The exceptions that this package raises for its users."""

from sentiment.console import format_message


class SentimentError(Exception):
    """A mistake or failure that the user can fix.

    Its text is one line that says what is wrong and what to do. The scripts print it and exit.

    Args:
        message: the line.
        status: the exit status; 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """

    def __init__(self, message: str, status: int = 1):
        super().__init__(format_message(message))
        self.status = status


class DivergenceError(SentimentError):
    """The loss of a training diverges."""
