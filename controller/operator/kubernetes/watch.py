"""The events of a watch as they come."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import urllib3

from controller.operator.kubernetes.errors import UnreachableError
from controller.operator.kubernetes.resources import JsonObject

READ_BYTES = 64 * 1024
MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Longest line of a watch; the API's own limit of an object is a tenth of it."""


class Watch:
    """The events of one watch until it ends, breaks or is closed.

    Args:
        response: The answer, whose body is the stream.
        place: What to call it in errors.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, place: str) -> None:
        """Take over the response."""
        self._response = response
        self._place = place

    def __iter__(self) -> Iterator[JsonObject]:
        """Yield events with ``type`` and ``object``.

        Raises:
            UnreachableError: If the connection broke or fell silent.
        """
        rest = b""
        try:
            while piece := self._response.read1(READ_BYTES):
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    if line:
                        yield msgspec.json.decode(line)
                if len(rest) > MAX_EVENT_BYTES:
                    raise UnreachableError(f"{self._place}: an event of more than {MAX_EVENT_BYTES} bytes")
        except (urllib3.exceptions.HTTPError, OSError, msgspec.DecodeError) as error:
            raise UnreachableError(f"{self._place}: broke off ({error})") from error

    def close(self) -> None:
        """Close the connection; it is not reused, for it may still carry events."""
        self._response.close()
