"""First attempts told from retries, so that a forecast is trained on what people want and not on how often they ask.

A request is a retry when its client says so (``x-stainless-retry-count``, which OpenAI's libraries send, or
``x-retry-attempt``), or when its user was refused lately: each refusal lets one later request count as its retry.
Pure: ``now_seconds`` is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum

RETRY_HEADERS = ("x-stainless-retry-count", "x-retry-attempt")
MAX_USERS = 50_000
MAX_REFUSALS_PER_USER = 10
MEMORY_SECONDS = 900.0
"""After this long, asking again is a new wish."""


class Attempt(StrEnum):
    """Value of the label ``attempt``."""

    FIRST = "first"
    RETRY = "retry"


class AttemptMemory:
    """Refusals that have not been tried again yet, of the most recent users."""

    def __init__(self) -> None:
        """Begin with none."""
        self._refusals: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def classify(self, user: str, headers: Mapping[str, str], now_seconds: float) -> Attempt:
        """Return what a request is, and use up one remembered refusal when it is a retry.

        Args:
            user: Who asks.
            headers: Of the request.
            now_seconds: Monotonic time.

        Returns:
            Retry when the client says so or the user was refused lately.
        """
        count, refused_at = self._refusals.get(user, (0, 0.0))
        remembered = count > 0 and now_seconds - refused_at <= MEMORY_SECONDS
        if count > 0 and (not remembered or count == 1):
            del self._refusals[user]
        elif remembered:
            self._refusals[user] = (count - 1, refused_at)
        return Attempt.RETRY if remembered or _says_retry(headers) else Attempt.FIRST

    def refused(self, user: str, now_seconds: float) -> None:
        """Remember that a request of ``user`` was refused."""
        count, _ = self._refusals.pop(user, (0, 0.0))
        self._refusals[user] = (min(count + 1, MAX_REFUSALS_PER_USER), now_seconds)
        if len(self._refusals) > MAX_USERS:
            self._refusals.popitem(last=False)


def _says_retry(headers: Mapping[str, str]) -> bool:
    return any(headers.get(name, "0").strip() not in {"", "0"} for name in RETRY_HEADERS)
