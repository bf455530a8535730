"""Errors of the engine.

::

    EngineError                   anything that a caller may show as one line; exit code 1
    ├── RefusedRequestError       not admitted; nothing was started
    │   ├── QueueFullError        a limit of the queue is reached: says which one, and how full it is
    │   ├── DrainingError         the engine takes no more work
    │   └── UnsupportedRequestError  the model cannot do this: says what it can
    │       └── UnsupportedPromptError   it cannot draw what the prompt asks for
    ├── EngineFailedError         the engine broke while it worked
    └── ModelError                a model cannot be loaded, or would be decoded wrongly; exit code 2
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class EngineError(Exception):
    """A failure that is explained in one line.

    Attributes:
        exit_code: What a command that fails with it exits with: 1 failed, 2 usage.
    """

    exit_code: ClassVar[int] = 1


class RefusedRequestError(EngineError):
    """The request was not admitted; nothing of it was started."""


class QueueLimit(StrEnum):
    """Which limit of the queue is meant."""

    REQUESTS = "requests"
    TOKENS = "tokens"


class QueueFullError(RefusedRequestError):
    """A limit of the queue is reached.

    Attributes:
        limit: Which limit.
        maximum: Its value, in requests or in tokens.
        queued: How much is queued.
    """

    def __init__(self, limit: QueueLimit, *, maximum: int, queued: int) -> None:
        super().__init__(f"the queue holds {queued} of at most {maximum} {limit.value}; try again later")
        self.limit = limit
        self.maximum = maximum
        self.queued = queued


class DrainingError(RefusedRequestError):
    """The engine finishes what it has and takes no more."""


class UnsupportedRequestError(RefusedRequestError):
    """The model cannot do what is asked; the message says what it can do.

    Attributes:
        field: The field of the request that cannot be met, such as ``size``.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnsupportedPromptError(UnsupportedRequestError):
    """The model cannot draw what the prompt asks for; the message says what it can draw."""

    def __init__(self, message: str) -> None:
        super().__init__("prompt", message)


class EngineFailedError(EngineError):
    """The engine broke while it worked; it takes no more requests."""


class ModelError(EngineError):
    """A model cannot be loaded, or would be decoded wrongly; the message names the file or the check, and the cure."""

    exit_code: ClassVar[int] = 2
