"""Server-sent events of one generation: partial images, complete ones, progress, and errors after the first byte."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from inference.engine.events import FinishedImage, ImageContent, PartialImage, Progress
from inference.serving.api import (
    COMPLETED_EVENT,
    PARTIAL_EVENT,
    PROGRESS_EVENT,
    ApiError,
    ErrorResponse,
    ImageEvent,
    ProgressEvent,
    Usage,
)
from inference.serving.generation import Generation, GenerationRunner, with_signs_of_life
from inference.serving.images import ImageEncoder

HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

MAX_UNREAD_BYTES = 32 * 1024
"""What may wait for a client that reads slowly, beside the system's own buffers."""
LOOK_SECONDS = 0.02


class SlowClientError(Exception):
    """The client did not accept a piece of the answer in time; its connection was cut."""


class EventWriter:
    """Writes events to one client, each within a time limit."""

    def __init__(self, request: web.Request, response: web.StreamResponse, write_seconds: float) -> None:
        """Write to a client.

        Args:
            request: What it sent.
            response: The answer, prepared before the first event.
            write_seconds: Longest time that it may take to accept one event.
        """
        self._write_seconds = write_seconds
        self._request = request
        self._response = response

    async def event(self, name: str, data: msgspec.Struct) -> None:
        """Write one event."""
        await self._write(b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n")

    async def sign_of_life(self) -> None:
        """Write a comment, which clients ignore and proxies count."""
        await self._write(b": waiting\n\n")

    async def _write(self, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await self._response.write(piece)
                # aiohttp waits for the client only after 64 KiB of one answer; several answers on one connection would
                # pile up.
                while (transport := self._request.transport) is not None:
                    if transport.get_write_buffer_size() <= MAX_UNREAD_BYTES:
                        break
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise SlowClientError("the client accepts no data") from None


async def stream_events(
    writer: EventWriter, generation: Generation, runner: GenerationRunner, encoder: ImageEncoder, usage: Usage
) -> None:
    """Write every event of a generation; one that stops early ends with an ``error`` event.

    Args:
        writer: The client.
        generation: The request.
        runner: Runs it.
        encoder: Encodes its images.
        usage: Tokens of the whole request, told with each complete image.

    Raises:
        SlowClientError: If the client does not read.
    """
    body = generation.wish.body

    async def image(content: ImageContent, kind: str, index: int, partial: int | None) -> ImageEvent:
        partial_index: int | UnsetType = UNSET if partial is None else partial
        return ImageEvent(
            type=kind,
            b64_json=await encoder.base64(content, generation.wish.output_format, body.output_compression),
            created_at=int(time.time()),
            size=str(generation.wish.size),
            quality=body.quality or "auto",
            background="opaque",
            output_format=generation.wish.output_format,
            image_index=index,
            partial_image_index=partial_index,
            usage=usage if partial is None else UNSET,
        )

    async with (
        contextlib.aclosing(runner.events(generation)) as source,
        contextlib.aclosing(with_signs_of_life(source, writer.sign_of_life)) as events,
    ):
        async for event in events:
            if isinstance(event, PartialImage):
                partial = await image(event.content, PARTIAL_EVENT, event.image_index, event.partial_index)
                await writer.event(PARTIAL_EVENT, partial)
            elif isinstance(event, FinishedImage):
                complete = await image(event.content, COMPLETED_EVENT, event.image_index, None)
                await writer.event(COMPLETED_EVENT, complete)
            elif isinstance(event, Progress):
                await writer.event(PROGRESS_EVENT, _progress(event.image_tokens_done, event.image_tokens, None))


async def tell_place(writer: EventWriter, generation: Generation) -> None:
    """Tell the wait at the beginning of a stream that asked for progress."""
    await writer.event(
        PROGRESS_EVENT, _progress(0, generation.wish.num_tokens, generation.admission.estimated_wait_seconds)
    )


async def tell_error(writer: EventWriter, error: ApiError) -> None:
    """End a stream with an error."""
    await writer.event("error", ErrorResponse(error))


def _progress(done: int, total: int, wait_seconds: float | None) -> ProgressEvent:
    return ProgressEvent(
        type=PROGRESS_EVENT,
        image_tokens_done=done,
        image_tokens=total,
        estimated_wait_seconds=None if wait_seconds is None else round(wait_seconds, 3),
    )
