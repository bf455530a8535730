"""An embedded ``flagd.sync.v1`` server: every replica streams the stored flags to any number of consumers.

A stream is a promise that its flags are the newest ones. So a server that could not confirm for a while that it is
fresh ends its streams and takes no new ones: consumers then know that they are stale, turn to another replica, and
their limits go on to expire by themselves. Streams live on one event loop in a thread of their own; a consumer that
reads slowly skips to the newest set, so nothing queues up behind it. ``GetMetadata`` is left unimplemented on purpose:
an empty answer to it ends some providers' threads.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controller.adapters.flags.sync_wire import SERVICE, encode_configuration, ignore_request
from controller.errors import PermanentError

if TYPE_CHECKING:
    import grpc.aio

START_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSettings:
    """Bounds of the sync server.

    Attributes:
        listen: Address, ``HOST:PORT``; port 0 takes a free one.
        max_subscribers: More streams than this are refused.
        fresh_seconds: Without a confirmation for this long the streams are ended.
        check_seconds: How often the age of the confirmation is looked at.
        stop_seconds: Longest wait for streams to end at shutdown.
        keepalive_seconds: How often a silent connection is probed, so that dead consumers do not hold a place.
    """

    listen: str = "0.0.0.0:8015"
    max_subscribers: int = 5000
    fresh_seconds: float = 10.0
    check_seconds: float = 0.5
    stop_seconds: float = 2.0
    keepalive_seconds: float = 30.0


class SyncServer:
    """Streams the newest flag set. Thread-safe: any thread may publish and confirm.

    Args:
        settings: Bounds.
        clock: Seconds that never go back.
    """

    def __init__(self, settings: SyncSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Hold no flags yet; nothing listens until :meth:`start`."""
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._message = b""
        self._revision = -1
        self._confirmed_seconds = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: grpc.aio.Server | None = None
        self._stopping: asyncio.Event | None = None
        # Touched on the event loop only: one queue of one place each, so that the newest set replaces an unread one.
        self._subscribers: set[asyncio.Queue[bytes | None]] = set()

    @property
    def num_subscribers(self) -> int:
        """Streams that are open now."""
        return len(self._subscribers)

    @property
    def revision(self) -> int:
        """Revision that is streamed; -1 before the first."""
        return self._revision

    @property
    def is_fresh(self) -> bool:
        """Whether the flags were confirmed to be the newest not too long ago."""
        return self._clock() - self._confirmed_seconds <= self._settings.fresh_seconds

    def publish(self, text: str, revision: int) -> bool:
        """Stream a flag set that the store holds, and take that for a confirmation.

        Args:
            text: flagd's JSON.
            revision: Its revision.

        Returns:
            Whether it is news; an older revision than the last one is not, and confirms nothing.
        """
        with self._lock:
            if revision < self._revision:
                return False
            news = revision > self._revision
            if news:
                self._message = encode_configuration(text)
                self._revision = revision
            self._confirmed_seconds = self._clock()
            loop = self._loop
        if news and loop is not None:
            loop.call_soon_threadsafe(self._offer_newest)
        return news

    def start(self) -> int:
        """Listen, and return the port.

        Raises:
            PermanentError: If grpcio is missing or the address cannot be used.
        """
        ready: list[int | BaseException] = []
        done = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready, done), name="flag-sync-server", daemon=True)
        self._thread.start()
        done.wait(START_SECONDS)
        outcome = ready[0] if ready else TimeoutError("it did not start in time")
        if isinstance(outcome, int):
            return outcome
        raise PermanentError(f"--sync-listen {self._settings.listen}: {outcome}") from outcome

    def stop(self) -> None:
        """End all streams and stop listening."""
        loop, stopping, thread = self._loop, self._stopping, self._thread
        if loop is None or stopping is None or thread is None:
            return
        loop.call_soon_threadsafe(stopping.set)
        thread.join(self._settings.stop_seconds + START_SECONDS)

    # -- on the event loop's thread ------------------------------------------------------------------------------------

    def _run(self, ready: list[int | BaseException], done: threading.Event) -> None:
        """Serve until told to stop."""
        try:
            asyncio.run(self._serve(ready, done))
        except (ImportError, RuntimeError, OSError) as error:
            ready.append(error)
        finally:
            done.set()

    async def _serve(self, ready: list[int | BaseException], done: threading.Event) -> None:
        """Listen, then look at the freshness until told to stop."""
        import grpc

        settings = self._settings
        keepalive_ms = round(settings.keepalive_seconds * 1000)
        options = [("grpc.keepalive_time_ms", keepalive_ms), ("grpc.so_reuseport", 0)]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((_handlers(self._stream, self._fetch_all),))
        port = server.add_insecure_port(settings.listen)
        await server.start()
        self._server, self._stopping = server, asyncio.Event()
        with self._lock:
            self._loop = asyncio.get_running_loop()
        ready.append(port)
        done.set()
        while not self._stopping.is_set():
            if not self.is_fresh:
                self._offer(None)
            try:
                await asyncio.wait_for(self._stopping.wait(), settings.check_seconds)
            except TimeoutError:
                continue
        with self._lock:
            self._loop = None
        self._offer(None)
        await server.stop(settings.stop_seconds)

    def _offer_newest(self) -> None:
        """Give every stream what is newest now: of two threads that publish, the slower one must not win."""
        self._offer(self._message)

    def _offer(self, message: bytes | None) -> None:
        """Give every stream the newest message; None ends it."""
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(message)

    async def _stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Serve one stream: the set as it stands, then every newer one."""
        del request
        await self._admit(context, most=self._settings.max_subscribers)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._subscribers.add(queue)
        try:
            yield self._message
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self._subscribers.discard(queue)
        await context.abort(_status("UNAVAILABLE"), "flags cannot be confirmed to be fresh here; try another replica")

    async def _fetch_all(self, request: bytes, context: Any) -> bytes:
        """Serve the set as it stands, once."""
        del request
        await self._admit(context, most=None)
        return self._message

    async def _admit(self, context: Any, *, most: int | None) -> None:
        """Refuse a call that cannot be served well."""
        if not self._message or not self.is_fresh:
            await context.abort(_status("UNAVAILABLE"), "no fresh flags here yet; try another replica")
        if most is not None and len(self._subscribers) >= most:
            await context.abort(_status("RESOURCE_EXHAUSTED"), f"{most} streams are open; try another replica")


def _handlers(stream: Any, fetch_all: Any) -> Any:
    """Return the service's handlers; grpcio has no types for them."""
    import grpc

    plain = {"request_deserializer": ignore_request, "response_serializer": bytes}
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "SyncFlags": grpc.unary_stream_rpc_method_handler(stream, **plain),
            "FetchAllFlags": grpc.unary_unary_rpc_method_handler(fetch_all, **plain),
        },
    )


def _status(name: str) -> Any:
    """Return a gRPC status code."""
    import grpc

    return getattr(grpc.StatusCode, name)
