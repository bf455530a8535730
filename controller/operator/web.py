"""The operator's HTTP server: metrics, probes, status. Reads only; every connection and every wait is bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from controller.errors import UsageError

MAX_CONNECTIONS = 32
CONNECTION_SECONDS = 10.0
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer."""

    body: bytes
    content_type: str = TEXT
    status: int = 200


Pages = Mapping[str, Callable[[], Page]]


def parse_listen(text: str, *, option: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``.

    Args:
        text: The address; an IPv6 host stands in brackets.
        option: What to call it in errors.

    Returns:
        Host and port.

    Raises:
        UsageError: If it is no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{option}: {text!r} is no address; write HOST:PORT, port 0 takes a free one")
    return host.strip("[]") or "0.0.0.0", int(port)


class WebServer:
    """Serves pages from threads of its own.

    Args:
        listen: ``HOST:PORT``.
        pages: By path; each is rendered when it is asked for.

    Raises:
        UsageError: If the address cannot be listened on.
    """

    def __init__(self, listen: str, pages: Pages) -> None:
        """Bind the address; nothing is served before :meth:`start`."""
        address = parse_listen(listen, option="--listen")
        slots = threading.BoundedSemaphore(MAX_CONNECTIONS)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = CONNECTION_SECONDS

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def _answer(self, *, with_body: bool) -> None:
                render = pages.get(self.path.partition("?")[0])
                page = render() if render is not None else Page(body=b"not found\n", status=404)
                self.send_response(page.status)
                self.send_header("Content-Type", page.content_type)
                self.send_header("Content-Length", str(len(page.body)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                if with_body:
                    self.wfile.write(page.body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Leave the log to what matters."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def process_request(self, request: object, client_address: object) -> None:
                if not slots.acquire(blocking=False):
                    self.shutdown_request(request)  # type: ignore[arg-type]
                    return
                super().process_request(request, client_address)  # type: ignore[arg-type]

            def process_request_thread(self, request: object, client_address: object) -> None:
                try:
                    super().process_request_thread(request, client_address)  # type: ignore[arg-type]
                finally:
                    slots.release()

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away is no event of ours."""

        try:
            self._server = Server(address, Handler)
        except OSError as error:
            raise UsageError(f"--listen {listen}: {error.strerror or error}; choose another port") from error
        host, port = self._server.server_address[:2]
        self.address = f"{host if isinstance(host, str) else host.decode()}:{port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="web", daemon=True
        )

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(CONNECTION_SECONDS)
