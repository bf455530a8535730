"""A queue of keys: each key at most once, one worker a key, failures wait longer each time, and a bound on everything.

A key that is added while it waits is not added again; one that is added while it is worked on comes once more
afterwards. The queue holds names, not work: whoever takes a key looks up what is to be done now.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from controller.operator.kubernetes.backoff import backoff_seconds

Key = TypeVar("Key", bound=Hashable)


class WorkQueue(Generic[Key]):
    """Keys that wait for a worker. Thread-safe.

    Args:
        max_keys: Most keys that wait; more are refused and counted.
        per_second: Most keys handed out in a second, in the long run.
        burst: Keys that may be handed out at once after a quiet time.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        *,
        max_keys: int = 10_000,
        per_second: float = 50.0,
        burst: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty, with a full burst."""
        self._max_keys = max_keys
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._working: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._count = 0
        self._tokens = float(burst)
        self._filled_at = clock()
        self.num_refused = 0

    def __len__(self) -> int:
        """Return how many keys wait."""
        with self._condition:
            return len(self._due) + len(self._again)

    def add(self, key: Key, *, delay_seconds: float = 0.0) -> bool:
        """Let a key be worked on, now or after a delay; an earlier time wins over a later one.

        Args:
            key: What to work on.
            delay_seconds: Not before, >= 0.

        Returns:
            False when the queue is full and the key was refused.
        """
        with self._condition:
            if key in self._working:
                self._again.add(key)
                return True
            due = self._clock() + delay_seconds
            if key in self._due and self._due[key] <= due:
                return True
            if key not in self._due and len(self._due) >= self._max_keys:
                self.num_refused += 1
                return False
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, key))
            self._condition.notify()
            return True

    def take(self, *, timeout_seconds: float) -> Key | None:
        """Wait for a key whose time has come.

        Args:
            timeout_seconds: How long, >= 0.

        Returns:
            The key, to be ended with :meth:`done` or :meth:`retry`; None when the time is over.
        """
        give_up = self._clock() + timeout_seconds
        with self._condition:
            while True:
                now = self._clock()
                wait_seconds = self._wait_seconds(now)
                if wait_seconds <= 0.0:
                    _, _, key = heapq.heappop(self._heap)
                    del self._due[key]
                    self._working.add(key)
                    self._tokens -= 1.0
                    return key
                if now >= give_up:
                    return None
                self._condition.wait(min(wait_seconds, give_up - now))

    def done(self, key: Key) -> None:
        """End the work on a key that succeeded."""
        with self._condition:
            self._failures.pop(key, None)
        self._finish(key, 0.0)

    def retry(self, key: Key, *, least_seconds: float = 0.0) -> float:
        """End the work on a key that failed, and let it come again later.

        Args:
            key: The key.
            least_seconds: Shortest wait, such as what the API asked for.

        Returns:
            The wait in seconds.
        """
        with self._condition:
            failures = self._failures[key] = min(self._failures.get(key, 0) + 1, 30)
            self._again.add(key)
        wait_seconds = max(least_seconds, backoff_seconds(failures))
        self._finish(key, wait_seconds)
        return wait_seconds

    def _finish(self, key: Key, delay_seconds: float) -> None:
        """Free a key, and queue it again when it was asked for meanwhile."""
        with self._condition:
            self._working.discard(key)
            again = key in self._again
            self._again.discard(key)
        if again:
            self.add(key, delay_seconds=delay_seconds)

    def _wait_seconds(self, now: float) -> float:
        """Return how long the next key has to wait, for its own time or for the rate; infinite without one."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # overtaken by an earlier time
        if not self._heap:
            return float("inf")
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        own_seconds = self._heap[0][0] - now
        rate_seconds = (1.0 - self._tokens) / self._per_second
        return max(own_seconds, rate_seconds)
