"""Everything a user can get wrong, as one family of exceptions.

A message has at most three lines: what was given, what is allowed, what to do. It may quote a stranger's file, so a
question mark stands for whatever a terminal would not show. Each family knows the exit code that
`search_space.command_line` ends the process with.

    SnapNASError                 1   the run failed
      UsageError                 2   an argument, a config or a file is not what it has to be
      NoFeasibleTrialError       3   the search ended without an architecture that keeps the constraints
      StorageError               4   the database cannot be reached, read or written
"""

from typing import ClassVar


class SnapNASError(Exception):
    """The base of every error SnapNAS raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, given: str, *, allowed: str = "", fix: str = "") -> None:
        """Builds the message.

        Args:
            given: What was given or what happened, in one line.
            allowed: What would have been accepted, in one line.
            fix: What to do now, in one line, a command where there is one.
        """
        lines = [given, allowed and f"allowed: {allowed}", fix and f"fix: {fix}"]
        super().__init__("\n".join(_printable(" ".join(line.split())) for line in lines if line))


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)


class UsageError(SnapNASError, ValueError):
    """An argument, a config or a file is not what it has to be."""

    exit_code = 2


class NoFeasibleTrialError(SnapNASError):
    """The search ended without an architecture that keeps every constraint."""

    exit_code = 3


class StorageError(SnapNASError):
    """The database cannot be reached, read or written."""

    exit_code = 4
