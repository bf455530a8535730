"""pytest fixtures for real servers; tests/conftest.py loads them for every test.

A test that uses one is marked `real_parts`. Where a part is missing the test is left out with the cure as its
reason; in CI (`CI=true`) it fails.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tools.real_parts.control_plane import ControlPlane, running_control_plane
from tools.real_parts.fault_proxy import FaultProxy, running_fault_proxy
from tools.real_parts.processes import LOOPBACK, MissingPartError
from tools.real_parts.servers import (
    AlertmanagerServer,
    PrometheusServer,
    RedisServer,
    running_alertmanager,
    running_prometheus,
    running_redis,
)

FIXTURES = frozenset({"control_plane", "own_control_plane", "prometheus", "alertmanager", "redis_server"})
MAX_NOTIFICATIONS = 1000

Server = TypeVar("Server")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that starts a real server."""
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("real_parts")


@contextmanager
def _or_left_out(server: AbstractContextManager[Server]) -> Iterator[Server]:
    try:
        running = server.__enter__()
    except MissingPartError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real Kubernetes API, one for the whole run: tests keep apart by namespaces of their own."""
    with _or_left_out(running_control_plane(tmp_path_factory.mktemp("control-plane"))) as server:
        yield server


@pytest.fixture
def own_control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A real Kubernetes API of the test's own, for what touches objects that no namespace holds apart."""
    directory = tmp_path / "control-plane"
    directory.mkdir()
    with _or_left_out(running_control_plane(directory)) as server:
        yield server


@pytest.fixture
def api_fault_proxy(control_plane: ControlPlane) -> Iterator[FaultProxy]:
    """A proxy before the Kubernetes API, one for each test; `write_kubeconfig` makes a kubeconfig of its address."""
    with running_fault_proxy(control_plane.url, credentials=control_plane.credentials) as proxy:
        yield proxy


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[PrometheusServer]:
    """A real Prometheus, one for each test, that scrapes nothing until told to."""
    directory = tmp_path / "prometheus"
    directory.mkdir()
    with _or_left_out(running_prometheus(directory)) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, one for the whole run: tests keep apart by keys of their own."""
    with _or_left_out(running_redis(tmp_path_factory.mktemp("redis"))) as server:
        yield server


class Webhook:
    """An HTTP receiver on loopback that keeps what is posted to it."""

    def __init__(self, url: str, notifications: "queue.Queue[bytes]"):
        """Describe a receiver that runs already.

        Args:
            url: its address.
            notifications: bodies of requests, oldest first.
        """
        self.url = url
        self._notifications = notifications

    def wait(self, *, timeout_seconds: float = 15.0) -> bytes:
        """Return the oldest body that nobody took yet.

        Args:
            timeout_seconds: how long to wait for one, above 0.

        Returns:
            The body as it came.

        Raises:
            AssertionError: if none arrives in time.
        """
        try:
            return self._notifications.get(timeout=timeout_seconds)
        except queue.Empty:
            raise AssertionError(f"no notification within {timeout_seconds:.0f} s at {self.url}") from None


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A receiver of notifications, one for each test."""
    notifications: queue.Queue[bytes] = queue.Queue(maxsize=MAX_NOTIFICATIONS)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notifications.put_nowait(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keep the test output clean."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="webhook", daemon=True)
    thread.start()
    try:
        yield Webhook(f"http://{LOOPBACK}:{server.server_port}/", notifications)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10.0)


@pytest.fixture
def alertmanager(tmp_path: Path, webhook: Webhook) -> Iterator[AlertmanagerServer]:
    """A real Alertmanager, one for each test, that posts every notification to the fixture `webhook`."""
    directory = tmp_path / "alertmanager"
    directory.mkdir()
    with _or_left_out(running_alertmanager(directory, webhook_url=webhook.url)) as server:
        yield server


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Waits, within a bound, until a condition holds: `wait_until(condition, timeout_seconds=…)`."""
    pause = threading.Event()

    def wait(condition: Callable[[], object], *, timeout_seconds: float = 15.0) -> None:
        for _ in range(round(timeout_seconds / 0.05)):
            if condition():
                return
            pause.wait(0.05)
        raise AssertionError(f"the condition did not hold within {timeout_seconds:.0f} s")

    return wait
