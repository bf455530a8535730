"""What can go wrong between us and the Kubernetes API, by what the caller should do about it.

::

    KubernetesError           any of these; `status` is None when there was no answer
    ├── UnreachableError      no connection, no answer in time, or an answer that broke off: the outcome is unknown
    ├── ThrottledError        429: wait as told
    ├── ServerFailedError     500 and above: wait and try again
    ├── ConflictError         409: somebody else wrote; read again and decide again
    ├── MissingError          404: the object, or its kind, is not there
    ├── ExpiredError          410: the resource version is too old; list again
    ├── ForbiddenError        401, 403: a verb is missing; the message names it
    └── RefusedError          any other 4xx: the request is wrong, and will be tomorrow
"""

from __future__ import annotations

from controller.errors import ControllerError

DEFAULT_DELAY_SECONDS = 1.0


class KubernetesError(ControllerError):
    """A request to the Kubernetes API that did not end well.

    Args:
        message: What failed, with verb and path.
        status: HTTP status; None when there was no answer.
        reason: The API's own word for it.
        delay_seconds: How long to wait before the next try, > 0.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        delay_seconds: float = DEFAULT_DELAY_SECONDS,
    ) -> None:
        """Keep what a caller decides by beside the message."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.delay_seconds = delay_seconds


class UnreachableError(KubernetesError):
    """No answer: the request may or may not have been carried out."""


class ThrottledError(KubernetesError):
    """The API asks for patience."""


class ServerFailedError(KubernetesError):
    """The API failed itself."""


class ConflictError(KubernetesError):
    """The object has changed since it was read, or exists already."""


class MissingError(KubernetesError):
    """There is no such object or kind."""


class ExpiredError(KubernetesError):
    """The resource version is no longer known."""


class ForbiddenError(KubernetesError):
    """The service account lacks a verb."""


class RefusedError(KubernetesError):
    """The API does not accept the request as it is."""


_BY_STATUS: dict[int, type[KubernetesError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: MissingError,
    409: ConflictError,
    410: ExpiredError,
    429: ThrottledError,
}


def error_of(status: int, reason: str, message: str, *, delay_seconds: float) -> KubernetesError:
    """Return the error for an answer.

    Args:
        status: HTTP status, >= 400.
        reason: The API's own word for it.
        message: What failed.
        delay_seconds: How long to wait before the next try, > 0.

    Returns:
        The error, to be raised.
    """
    kind = _BY_STATUS.get(status, ServerFailedError if status >= 500 else RefusedError)
    return kind(message, status=status, reason=reason, delay_seconds=delay_seconds)
