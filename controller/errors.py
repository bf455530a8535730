"""Errors of the control plane.

::

    ControllerError             anything that a command may show as one line
    ├── UsageError              wrong arguments or configuration: says where and what to do; exit code 2
    ├── RetryableError          may succeed later; carries the delay that the caller should wait
    └── PermanentError          will not succeed by waiting
    InconsistentWorldError      the simulator reached a state that no world can be in: a defect of ours
"""

from __future__ import annotations

from typing import ClassVar


class ControllerError(Exception):
    """A failure that is explained in one line.

    Attributes:
        exit_code: What a command that fails with it exits with: 1 failed, 2 usage.
    """

    exit_code: ClassVar[int] = 1


class UsageError(ControllerError):
    """Arguments or configuration cannot be used; the message names the place and the cure."""

    exit_code: ClassVar[int] = 2


class RetryableError(ControllerError):
    """The same call may succeed later.

    Args:
        message: What failed.
        delay_seconds: How long to wait before the next try, > 0.
    """

    def __init__(self, message: str, *, delay_seconds: float) -> None:
        """Keep the delay beside the message."""
        super().__init__(message)
        self.delay_seconds = delay_seconds


class PermanentError(ControllerError):
    """The same call will fail again however long one waits."""


class InconsistentWorldError(AssertionError):
    """The simulator broke one of its own invariants; the message names it and the virtual time."""
