"""The bounded stream of events from an engine's thread to one reader, in a thread or in an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from inference.engine.events import Event, Finished, Progress, Stopped
from inference.engine.ports import GenerationHandle
from inference.engine.requests import GenerationRequest

_OTHER_EVENTS = 3  # Admitted, the latest Progress, and the end


class EventStream(GenerationHandle):
    """The handle of one request; the engine puts events in, one reader takes them out.

    Args:
        request: The request; its numbers give the bound.
        cancel: Called, in the canceller's thread, when the reader gives the request up.
    """

    def __init__(self, request: GenerationRequest, cancel: Callable[[str], None]) -> None:
        self._request_id = request.request_id
        self._max_events = _OTHER_EVENTS + request.num_images * (request.num_partial_images + 1)
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._wake: Callable[[], None] | None = None
        self._has_ended = False
        self._cancel = cancel

    @property
    def request_id(self) -> str:
        """The id of the request."""
        return self._request_id

    def put(self, event: Event) -> None:
        """Add an event; what comes after the end is dropped, and progress replaces older progress."""
        with self._changed:
            if self._has_ended:
                return
            if isinstance(event, Progress):
                self._events = deque(other for other in self._events if not isinstance(other, Progress))
            self._events.append(event)
            assert len(self._events) <= self._max_events, "an engine sent more events than a request can have"
            self._has_ended = isinstance(event, Finished | Stopped)
            self._changed.notify_all()
            wake = self._wake
        if wake is not None:
            wake()

    def next_event(self, timeout_seconds: float) -> Event | None:
        """Wait for the next event outside an event loop; None when none came in time or the stream has ended."""
        give_up_at = time.monotonic() + timeout_seconds
        with self._changed:
            while not self._events:
                remaining_seconds = give_up_at - time.monotonic()
                if self._has_ended or remaining_seconds <= 0:
                    return None
                self._changed.wait(remaining_seconds)
            return self._events.popleft()

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over the events from an event loop; one reader, once."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(arrived.set)
            except RuntimeError:
                pass  # the reader's loop is closed: nobody reads any more, and the engine must not care

        with self._changed:
            self._wake = wake
        while True:
            arrived.clear()
            event = self.next_event(0.0)
            if event is None:
                await arrived.wait()
                continue
            yield event
            if isinstance(event, Finished | Stopped):
                return

    def cancel(self) -> None:
        """Give the request up; idempotent."""
        self._cancel(self._request_id)
