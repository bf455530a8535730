"""Carries one admitted request to its end: collects or streams its images, and settles what it held.

However it ends (finished, stopped, the client gone, the server told to stop), the engine's slot is freed, images that
were not made go back to the quota, and the end is counted exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from inference.admission.gate import Admission, AdmissionGate
from inference.admission.verdicts import Refusal
from inference.engine.events import (
    Counts,
    Event,
    Finished,
    FinishedImage,
    ImageContent,
    PartialImage,
    Stopped,
    StopReason,
)
from inference.engine.ports import GenerationHandle
from inference.serving.pod_metrics import EndedRequest, Ending, PodMetrics
from inference.serving.settings import KEEP_ALIVE_SECONDS
from inference.serving.wishes import Wish

log = structlog.get_logger()
SETTLE_SECONDS = 2.0
"""Longest wait for the engine's last word on a request that was given up."""
LOOK_SECONDS = 0.01

_ENDINGS = {
    StopReason.CANCELLED: Ending.CANCELLED,
    StopReason.DEADLINE: Ending.DEADLINE,
    StopReason.DRAINING: Ending.DRAINING,
    StopReason.ERROR: Ending.ERROR,
}


@dataclass(slots=True, kw_only=True)
class Generation:
    """One admitted request on its way.

    Attributes:
        wish: What was asked.
        admission: Its admission.
        trace_id: The trace that it belongs to; empty: none that anybody keeps.
        counts: The engine's counts, complete at the end.
        ending: How it ended; cancelled until something better is known.
        message: The engine's word on why it stopped.
        num_finished: Images that are complete.
        has_first_partial: A first picture was sent.
        is_read: Somebody began to read its events, so they will be settled.
    """

    wish: Wish
    admission: Admission
    trace_id: str = ""
    started_at: float = field(default_factory=time.monotonic)
    counts: Counts = field(default_factory=Counts)
    ending: Ending = Ending.CANCELLED
    message: str = ""
    num_finished: int = 0
    has_first_partial: bool = False
    is_read: bool = False

    def saw(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, FinishedImage):
            self.num_finished += 1
        elif isinstance(event, Finished):
            self.counts, self.ending = event.counts, Ending.COMPLETED
        elif isinstance(event, Stopped):
            self.counts, self.ending, self.message = event.counts, _ENDINGS[event.reason], event.message

    @property
    def is_over(self) -> bool:
        """The engine has said its last word."""
        return self.counts.ended_at is not None


class GenerationRunner:
    """Runs generations for the API."""

    def __init__(self, gate: AdmissionGate, metrics: PodMetrics) -> None:
        """Settle with ``gate`` and count in ``metrics``."""
        self._gate = gate
        self._metrics = metrics
        self._settling: set[asyncio.Task[None]] = set()
        self.num_open = 0

    async def collect(self, generation: Generation) -> list[ImageContent]:
        """Wait for the end of a request that does not stream; return its images in order."""
        found: dict[int, ImageContent] = {}
        async for event in self.events(generation):
            if isinstance(event, FinishedImage):
                found[event.image_index] = event.content
        return [found[index] for index in sorted(found)]

    async def events(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Yield a request's events, and settle it when they end or the caller stops reading."""
        self.num_open += 1
        generation.is_read = True
        try:
            async for event in generation.admission.handle.events():
                generation.saw(event)
                if isinstance(event, PartialImage | FinishedImage) and not generation.has_first_partial:
                    generation.has_first_partial = True
                    self._metrics.first_partial(time.monotonic() - generation.started_at)
                yield event
        finally:
            self.num_open -= 1
            # The caller may be cancelled at this very moment; settling must not be.
            self._settle_later(generation)

    def settle_if_unread(self, generation: Generation) -> None:
        """Settle a request whose events nobody ever began to read, such as that of a client that went at once."""
        if not generation.is_read:
            generation.is_read = True
            self._settle_later(generation)

    def abandon(self, deciding: asyncio.Task[Generation | Refusal]) -> None:
        """Settle a request whose client went before it was decided, once it is."""

        async def settle() -> None:
            decided = await deciding
            if isinstance(decided, Generation):
                self.settle_if_unread(decided)

        self._keep(asyncio.create_task(settle()))

    async def close(self) -> None:
        """Wait for what is being settled, within a bound."""
        if self._settling:
            await asyncio.wait(list(self._settling), timeout=2 * SETTLE_SECONDS)

    def _settle_later(self, generation: Generation) -> None:
        self._keep(asyncio.create_task(self._settle(generation)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, generation: Generation) -> None:
        admission = generation.admission
        if not generation.is_over:
            admission.handle.cancel()
            await self._last_word(generation, admission.handle)
        counts = generation.counts
        ended = EndedRequest(
            admission=admission,
            ending=generation.ending,
            counts=counts,
            size=str(generation.wish.size),
            num_tokens=generation.wish.num_tokens,
            ended_at=time.monotonic() if counts.ended_at is None else counts.ended_at,
            trace_id=generation.trace_id,
        )
        wait = None if counts.admitted_at is None else counts.admitted_at - counts.submitted_at
        self._metrics.ended(ended)
        # A client that goes before its last image still had its GPU time: only images not made are given back.
        await self._gate.ended(admission, max(counts.num_images, generation.num_finished), wait)

    @staticmethod
    async def _last_word(generation: Generation, handle: GenerationHandle) -> None:
        """Read what the engine still says of a request that was given up."""
        give_up_at = time.monotonic() + SETTLE_SECONDS
        while not generation.is_over and time.monotonic() < give_up_at:
            event = handle.next_event(0.0)
            if event is None:
                await asyncio.sleep(LOOK_SECONDS)
            else:
                generation.saw(event)
        if not generation.is_over:
            log.warning("generation.no_last_word", request_id=handle.request_id)


async def with_signs_of_life(
    events: AsyncIterator[Event], sign: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Event, None]:
    """Yield ``events``; call ``sign`` whenever none came for a while, so that proxies and clients keep the line."""
    iterator = events.__aiter__()
    pending: asyncio.Task[Event] | None = None
    try:
        while True:
            if pending is None:
                pending = asyncio.ensure_future(_next(iterator))
            done, _ = await asyncio.wait([pending], timeout=KEEP_ALIVE_SECONDS)
            if not done:
                await sign()
                continue
            task, pending = pending, None
            try:
                event = task.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)


async def _next(iterator: AsyncIterator[Event]) -> Event:
    return await iterator.__anext__()
