"""A small HTTP/1.1 server on asyncio: reads a request, asks a handler, writes the answer; everything is bounded.

Used by ``exporters.service``. It knows nothing of metrics. GET and HEAD only; a request body is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from exporters.settings import Address

MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 128
IDLE_SECONDS = 75.0
ANSWER_SECONDS = 10.0
"""Longest time for one answer, unless the scraper asks for less."""
SCRAPE_TIMEOUT_HEADER = "x-prometheus-scrape-timeout-seconds"
SCRAPE_TIMEOUT_RESERVE_SECONDS = 0.25
"""The answer must be there a little before the scraper gives up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer."""

    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class BadRequestError(Exception):
    """The bytes are no request that this server answers."""


@dataclass(slots=True, kw_only=True)
class HttpServer:
    """Serves ``handler`` at ``address``.

    Attributes:
        extra_headers: Headers of every answer.
        tls: The TLS context; None serves plainly.
    """

    handler: Handler
    address: Address
    tls: ssl.SSLContext | None = None
    extra_headers: Callable[[], tuple[tuple[str, str], ...]] = tuple
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> Address:
        """Listen, and return the address with the port that was taken."""
        self._server = await asyncio.start_server(
            self._connection, self.address.host, self.address.port, limit=MAX_HEAD_BYTES, ssl=self.tls, backlog=256
        )
        bound = self._server.sockets[0].getsockname()
        return Address(host=str(bound[0]), port=int(bound[1]))

    async def stop(self) -> None:
        """Stop listening and close what is open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections), timeout=2.0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs connections in tasks"
        self._connections.add(task)
        try:
            if len(self._connections) > MAX_CONNECTIONS:
                await self._send(writer, Response(status=HTTPStatus.SERVICE_UNAVAILABLE), head=False, keep=False)
            else:
                await self._converse(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, ssl.SSLError):
            # The other side is gone or too slow; there is nobody to tell.
            pass
        finally:
            self._connections.discard(task)
            with contextlib.suppress(ConnectionError, ssl.SSLError, OSError):
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        keep = True
        while keep:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                request, keep = parse_head(head, peer)
            except (BadRequestError, asyncio.LimitOverrunError) as error:
                bad = Response(status=HTTPStatus.BAD_REQUEST, body=f"{error}\n".encode())
                await self._send(writer, bad, head=False, keep=False)
                return
            async with asyncio.timeout(answer_seconds(request.headers)):
                response = await self._answer(request)
                await self._send(writer, response, head=request.method == "HEAD", keep=keep)

    async def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", "GET, HEAD"),))
        return await self.handler(request)

    async def _send(self, writer: asyncio.StreamWriter, response: Response, *, head: bool, keep: bool) -> None:
        lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
        lines.append(f"Content-Type: {response.content_type}")
        lines.append(f"Content-Length: {len(response.body)}")
        lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
        lines += [f"{name}: {value}" for name, value in (*response.headers, *self.extra_headers())]
        preamble = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")
        writer.write(preamble if head else preamble + response.body)
        await writer.drain()


def parse_head(head: bytes, peer: str) -> tuple[Request, bool]:
    """Return the request and whether the connection stays open.

    Raises:
        BadRequestError: If the head is malformed or announces a body.
    """
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise BadRequestError("malformed request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError("malformed header")
        headers[name.lower()] = value.strip()
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequestError("requests must have no body")
    connection = headers.get("connection", "").lower()
    keep = connection != "close" and (parts[2] != "HTTP/1.0" or connection == "keep-alive")
    path = parts[1].partition("?")[0]
    return Request(method=parts[0], path=path, headers=headers, peer=peer), keep


def answer_seconds(headers: Mapping[str, str]) -> float:
    """Return the time that one answer may take: what the scraper waits less a reserve, at most ``ANSWER_SECONDS``."""
    try:
        asked = float(headers.get(SCRAPE_TIMEOUT_HEADER, ""))
    except ValueError:
        return ANSWER_SECONDS
    if not asked > 0.0:
        return ANSWER_SECONDS
    return min(max(asked - SCRAPE_TIMEOUT_RESERVE_SECONDS, asked / 2.0), ANSWER_SECONDS)
