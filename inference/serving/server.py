"""The serving process: starts the parts, serves until SIGTERM, drains and ends.

The order at the end: readiness fails; after a delay, in which whatever routes requests learns of it, admission stops;
what runs is finished within the grace period; what cannot be is handed back with 503 and Retry-After; probes and
scrapes are answered until the very end.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from dataclasses import dataclass

import structlog
from aiohttp import web

from inference.admission.flags.sources import flag_source
from inference.engine.ports import ImageEngine
from inference.errors import InferenceError
from inference.serving.application import build_application
from inference.serving.pod import Pod, build_pod
from inference.serving.settings import (
    MAX_HEADER_BYTES,
    STOP_SECONDS,
    ServeSettings,
)

log = structlog.get_logger()
LOOK_SECONDS = 0.05
COUNT_SECONDS = 0.5
BACKLOG = 1_024
MAX_BAD_REQUESTS_LOGGED_PER_MINUTE = 10


class BadRequestLog(logging.Handler):
    """Hands what aiohttp logs about malformed requests on, at a bounded rate and without tracebacks."""

    def __init__(self) -> None:
        """Begin a minute."""
        super().__init__()
        self._minute = 0.0
        self._num_logged = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Log one line, unless there were many in this minute."""
        minute = record.created // 60
        if minute != self._minute:
            self._minute, self._num_logged = minute, 0
        self._num_logged += 1
        if self._num_logged <= MAX_BAD_REQUESTS_LOGGED_PER_MINUTE:
            cause = record.exc_info[1] if record.exc_info else None
            reason = " ".join(str(cause).split())[:200] if cause is not None else ""
            log.warning("http.bad_request", message=record.getMessage(), reason=reason)


def http_logger() -> logging.Logger:
    """Return the logger that aiohttp is given."""
    logger = logging.getLogger("meltguard.http")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(BadRequestLog())
    return logger


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server listens.

    Attributes:
        host: As it was asked for.
        port: The port that was taken.
    """

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as clients take it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class InferenceServer:
    """One serving process, or one of several servers in a test."""

    def __init__(self, settings: ServeSettings, engine: ImageEngine) -> None:
        """Put the parts together; `start` runs them.

        Args:
            settings: What the server was told.
            engine: What generates.

        Raises:
            InferenceSettingsError: If flags are to come from where they cannot.
        """
        self.pod: Pod = build_pod(settings, engine)
        self._settings = settings
        self._engine = engine
        self._source = None if settings.flags is None else flag_source(settings.flags, self.pod.provider)
        self._tasks: list[asyncio.Task[None]] = []
        self._runner = web.AppRunner(
            build_application(self.pod),
            access_log=None,
            logger=http_logger(),
            handle_signals=False,
            handler_cancellation=True,
            keepalive_timeout=settings.idle_seconds,
            shutdown_timeout=STOP_SECONDS,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )

    async def start(self) -> Address:
        """Listen at once (probes are answered while the engine warms up); return the address.

        Raises:
            InferenceError: If the address cannot be taken.
        """
        settings = self._settings
        self._engine.start()
        await self._runner.setup()
        site = web.TCPSite(self._runner, settings.host, settings.port, backlog=BACKLOG)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            where = f"{settings.host}:{settings.port}"
            raise InferenceError(f"--listen {where}: {error.strerror or error}; choose another") from error
        bodies = [self._count_connections()]
        if self._source is not None:
            bodies.append(self._source.run())
        if self.pod.thermal is not None:
            bodies.append(self.pod.thermal.run())
        self._tasks = [asyncio.create_task(body) for body in bodies]
        bound = self._runner.addresses[0]
        return Address(host=settings.host, port=int(bound[1]))

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and end; a second signal ends at once.

        Raises:
            InferenceError: If a part that must not end did.
        """
        asked_to_stop, asked_twice = asyncio.Event(), asyncio.Event()

        def asked() -> None:
            (asked_twice if asked_to_stop.is_set() else asked_to_stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked)
        stopping = asyncio.create_task(_until(asked_to_stop))
        done, _ = await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if stopping in done:
            impatient = asyncio.create_task(_until(asked_twice))
            drained = asyncio.create_task(self.drain())
            await asyncio.wait([impatient, drained], return_when=asyncio.FIRST_COMPLETED)
            for task in (impatient, drained):
                task.cancel()
            await asyncio.gather(impatient, drained, return_exceptions=True)
        stopping.cancel()
        await self.stop()
        for task in done - {stopping}:
            # A background task never ends by itself: hand on what ended it.
            error = task.exception()
            raise InferenceError(f"a part of the server ended: {error!r}") from error

    async def drain(self) -> None:
        """Fail readiness, stop admission a while later, and wait until what was admitted is finished or handed back."""
        delay, grace = self._settings.drain_delay_seconds, self._settings.grace_seconds
        self.pod.is_leaving = True
        if delay > 0.0:
            log.info("server.leaving", delay_seconds=delay)
            await asyncio.sleep(delay)
        engine = self._engine.snapshot()
        log.info("server.draining", grace_seconds=grace, num_running=engine.num_running_requests,
                 num_queued=engine.num_queued_requests)  # fmt: skip
        self.pod.gate.is_draining = True
        deadline = time.monotonic() + grace
        self._engine.begin_drain(deadline)
        while time.monotonic() < deadline + STOP_SECONDS:
            if self._engine.snapshot().is_drained and self.pod.runner.num_open == 0:
                break
            await asyncio.sleep(LOOK_SECONDS)
        engine = self._engine.snapshot()
        log.info("server.drained", is_complete=engine.is_drained, num_open=self.pod.runner.num_open)

    async def stop(self) -> None:
        """Close everything; what still runs is cut off."""
        self.pod.gate.is_draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        has_stopped = await asyncio.to_thread(self._engine.close, STOP_SECONDS)
        await self._runner.cleanup()
        await self.pod.runner.close()
        await self.pod.gate.ledger.close()
        self.pod.encoder.close()
        log.info("server.stopped", engine_stopped=has_stopped)

    async def _count_connections(self) -> None:
        while True:
            server = self._runner.server
            self.pod.num_connections = 0 if server is None else len(server.connections)
            await asyncio.sleep(COUNT_SECONDS)


async def _until(event: asyncio.Event) -> None:
    await event.wait()
