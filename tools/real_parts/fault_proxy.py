"""An HTTP proxy on loopback that injects faults between a client and a real server.

Stands before the API server (TLS on both sides) or before Prometheus and the like (plain HTTP). Requests pass
unchanged, unless a fault matches; streams such as watches pass as they come. Towards the API server a request keeps its
own bearer token; one without is sent with the administrator's certificate, since a client certificate cannot pass
a proxy. The faults, one per `FaultKind`:

1. LATENCY: the request is forwarded after a delay.
2. HANG: no answer, until the fault is cleared or a bound has passed; the server never sees the request.
3. DROP: the connection is reset; the server never sees the request.
4. LOSE_ANSWER: the server does as asked, then the connection is reset: the client cannot know.
5. STATUS: an answer with an error status in the API's own shape (409, 410, 429, 500, …); the server never sees the
   request.
6. TRUNCATE: the server's answer ends, without warning, after some bytes of its body, as a dead watch does.
"""

import http.client
import json
import select
import socket
import ssl
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tools.real_parts.credentials import Credentials
from tools.real_parts.processes import LOOPBACK

MAX_HANG_SECONDS = 300.0
# Longer than a watch stays silent: API servers end watches after 30 to 60 minutes, tests after seconds.
UPSTREAM_TIMEOUT_SECONDS = 600.0
HANDSHAKE_TIMEOUT_SECONDS = 30.0
WATCH_POLL_SECONDS = 0.2
MAX_FAULTS = 100
MAX_CONNECTIONS = 512
PIECE_BYTES = 65536
CONNECTION_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"})
REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


class FaultKind(StrEnum):
    """What goes wrong; the module says how each looks to the client."""

    LATENCY = "latency"
    HANG = "hang"
    DROP = "drop"
    LOSE_ANSWER = "lose_answer"
    STATUS = "status"
    TRUNCATE = "truncate"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault and the requests that it hits.

    Attributes:
        kind: what goes wrong.
        method: hits only this HTTP method; None hits all.
        path: hits only requests whose path and query contain this text.
        times: hits this many requests, then ends; None: until cleared.
        delay_seconds: for LATENCY.
        status: for STATUS, 400 to 599.
        after_bytes: for TRUNCATE, the bytes of the body that still pass.
    """

    kind: FaultKind
    method: str | None = None
    path: str = ""
    times: int | None = None
    delay_seconds: float = 0.0
    status: int = 500
    after_bytes: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request of this method and path is hit."""
        return self.method in (None, method) and self.path in path


class FaultProxy:
    """A running proxy: faults are injected and cleared while it runs; the oldest that matches a request hits it."""

    def __init__(self, upstream_url: str, *, credentials: Credentials | None = None):
        """Describe the proxy; `running_fault_proxy` runs it.

        Args:
            upstream_url: the real server, `http://host:port` or `https://host:port`.
            credentials: certificates for TLS on both sides; None with plain HTTP.
        """
        self.upstream = urllib.parse.urlsplit(upstream_url)
        self.credentials = credentials
        self.url = ""
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, int | None]] = []
        self._num_hits: dict[Fault, int] = {}
        self._cleared = threading.Event()
        self._connections: set[socket.socket] = set()

    def inject(self, fault: Fault) -> None:
        """Let a fault hit the requests from now on that it matches.

        Raises:
            ValueError: if a hundred faults are in force already.
        """
        with self._lock:
            if len(self._faults) >= MAX_FAULTS:
                raise ValueError(f"{MAX_FAULTS} faults are in force; clear some")
            self._faults.append((fault, fault.times))

    def clear(self) -> None:
        """End every fault; requests that hang are dropped."""
        with self._lock:
            self._faults.clear()
            cleared, self._cleared = self._cleared, threading.Event()
        cleared.set()

    def num_hits(self, fault: Fault) -> int:
        """Return how many requests a fault has hit."""
        with self._lock:
            return self._num_hits.get(fault, 0)

    def cut_connections(self) -> None:
        """End every open connection, watches included, in the middle of whatever it carries."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                # The plain socket's method: the TLS one would pull the session away under its reader.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already, which is what we want

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that hits a request, and count the hit. Called by the proxy's own handler."""
        with self._lock:
            for index, (fault, left) in enumerate(self._faults):
                if fault.matches(method, path):
                    self._num_hits[fault] = self._num_hits.get(fault, 0) + 1
                    if left is not None:
                        self._faults[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault
        return None

    def hang(self) -> None:
        """Wait until the faults are cleared, within a bound. Called by the proxy's own handler."""
        with self._lock:
            cleared = self._cleared
        cleared.wait(MAX_HANG_SECONDS)

    def connect(self, *, has_token: bool) -> http.client.HTTPConnection:
        """Return a new connection to the real server. Called by the proxy's own handler."""
        host, port = self.upstream.hostname or LOOPBACK, self.upstream.port
        if self.credentials is None:
            return http.client.HTTPConnection(host, port, timeout=UPSTREAM_TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=str(self.credentials.authority))
        if not has_token:
            context.load_cert_chain(self.credentials.administrator)
        return http.client.HTTPSConnection(host, port, timeout=UPSTREAM_TIMEOUT_SECONDS, context=context)

    def opened(self, connection: socket.socket) -> bool:
        """Remember a connection of either side; False when there are too many."""
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS:
                return False
            self._connections.add(connection)
        return True

    def closed(self, connection: socket.socket | None) -> None:
        """Forget a connection of either side."""
        with self._lock:
            self._connections -= {connection}


@contextmanager
def running_fault_proxy(upstream_url: str, *, credentials: Credentials | None = None) -> Iterator[FaultProxy]:
    """Run a proxy before a server, and end it with every connection.

    Args:
        upstream_url: the real server.
        credentials: of the control plane; None with plain HTTP.

    Yields:
        The proxy; its `url` stands in for the server's.
    """
    proxy = FaultProxy(upstream_url, credentials=credentials)

    tls: ssl.SSLContext | None = None
    if credentials is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(credentials.server_certificate, credentials.server_key)
    server = _Server((LOOPBACK, 0), type("_BoundHandler", (_Handler,), {"proxy": proxy, "tls": tls}))
    proxy.url = f"{'https' if credentials else 'http'}://{LOOPBACK}:{server.server_port}"
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="fault-proxy", daemon=True
    )
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        proxy.clear()
        proxy.cut_connections()
        server.server_close()
        thread.join(timeout=10.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a broken connection is what this proxy is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = UPSTREAM_TIMEOUT_SECONDS
    proxy: FaultProxy
    tls: ssl.SSLContext | None = None

    def setup(self) -> None:
        if self.tls is not None:
            # Here and not on the listening socket, so that a slow handshake holds up its own thread only.
            self.request.settimeout(HANDSHAKE_TIMEOUT_SECONDS)
            self.request = self.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        # At once: the server would say goodbye in order first, and a reset connection must not.
        self.connection.close()

    def handle(self) -> None:
        if not self.proxy.opened(self.connection):
            return
        try:
            super().handle()
        except OSError:
            pass  # the client has gone, or a fault cut the connection
        finally:
            self.proxy.closed(self.connection)

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.take(self.command, self.path)
        kind = fault.kind if fault else None
        if fault is not None and kind is FaultKind.STATUS:
            self._refuse(fault.status)
        elif kind is FaultKind.HANG:
            self.proxy.hang()
            self._cut()
        elif kind is FaultKind.DROP:
            self._cut()
        else:
            if fault is not None and kind is FaultKind.LATENCY:
                threading.Event().wait(fault.delay_seconds)
            self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        upstream = self.proxy.connect(has_token="Authorization" in self.headers)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in CONNECTION_HEADERS}
        done = threading.Event()
        try:
            upstream.connect()
            if not self.proxy.opened(upstream.sock):
                self._cut()
                return
            if "watch=" in self.path:
                arguments = (self.connection, upstream.sock, done)
                threading.Thread(target=_end_with_client, args=arguments, name="fault-proxy-watch", daemon=True).start()
            upstream.request(self.command, self.path, body=body or None, headers=headers)
            response = upstream.getresponse()
            if fault is not None and fault.kind is FaultKind.LOSE_ANSWER:
                response.read(PIECE_BYTES)
                self._cut()
                return
            limit_bytes = fault.after_bytes if fault is not None and fault.kind is FaultKind.TRUNCATE else None
            self._pass_on(response, limit_bytes)
        except (OSError, http.client.HTTPException):
            self._cut()  # the real server has gone; the client sees the same
        finally:
            done.set()
            self.proxy.closed(upstream.sock)
            upstream.close()

    def _pass_on(self, response: http.client.HTTPResponse, limit_bytes: int | None) -> None:
        self.send_response_only(response.status, response.reason)
        for key, value in response.getheaders():
            if key.lower() not in CONNECTION_HEADERS:
                self.send_header(key, value)
        length = response.getheader("Content-Length")
        is_chunked = length is None and response.status not in (204, 304) and self.command != "HEAD"
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", length or "0")
        self.end_headers()
        num_passed = 0
        while piece := response.read1(PIECE_BYTES):
            if limit_bytes is not None and num_passed + len(piece) > limit_bytes:
                piece = piece[: limit_bytes - num_passed]
                self.wfile.write(_chunk(piece) if is_chunked and piece else piece)
                self._cut()
                return
            num_passed += len(piece)
            self.wfile.write(_chunk(piece) if is_chunked else piece)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, status: int) -> None:
        document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "injected by the fault proxy",
            "reason": REASONS.get(status, "Unknown"),
            "code": status,
        }
        body = json.dumps(document).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        # With no time to linger, closing resets the connection; `finish` closes it.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _end_with_client(client: socket.socket, upstream: socket.socket, done: threading.Event) -> None:
    """End a watch on the real server when its client goes: it may stay silent for long, and nothing else would tell."""
    while not done.is_set():
        try:
            if select.select([client], [], [], WATCH_POLL_SECONDS)[0]:
                socket.socket.shutdown(upstream, socket.SHUT_RDWR)
                return
        except (OSError, ValueError):
            return  # one of them is closed already


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)
