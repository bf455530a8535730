"""Stands in for processes of meltguard whose metrics the rules read: operator, forecaster, inference pods.

It serves exactly the names and labels of ``exporters.metric_names`` and nothing that computes: a test sets what it
wants to be seen. Counters rise by themselves at the rate that the test gives them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Value = float | Callable[[], float]


class StubExposition:
    """A server of ``/metrics`` on loopback.

    Attributes:
        address: ``host:port`` for Prometheus.
    """

    def __init__(self, address: str) -> None:
        """Serve nothing yet."""
        self.address = address
        self._values: dict[str, Value] = {}
        self._rates: dict[str, float] = {}
        self._counters: dict[str, float] = {}
        self._seen = time.monotonic()
        self._lock = threading.Lock()

    def show(self, values: Mapping[str, Value]) -> None:
        """Set gauges, by series; a function is asked at every scrape."""
        with self._lock:
            self._values.update(values)

    def hide(self, *series: str) -> None:
        """Take series away."""
        with self._lock:
            for name in series:
                self._values.pop(name, None)

    def rise(self, rates: Mapping[str, float]) -> None:
        """Let counters rise from where they are, per second; a new one starts at 0."""
        with self._lock:
            self._advance()
            self._rates.update(rates)

    def page(self) -> str:
        """Return the exposition of now."""
        with self._lock:
            self._advance()
            values = {name: value() if callable(value) else value for name, value in self._values.items()}
            return "".join(f"{name} {value!r}\n" for name, value in {**values, **self._counters}.items())

    def _advance(self) -> None:
        now = time.monotonic()
        elapsed, self._seen = now - self._seen, now
        for name, rate in self._rates.items():
            self._counters[name] = self._counters.get(name, 0.0) + rate * elapsed


@contextmanager
def running_stub() -> Iterator[StubExposition]:
    """Run a stub on a port of its choice."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = stub.page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep the test output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = StubExposition(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, name="stub-exposition", daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10.0)
