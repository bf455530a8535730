"""Clients that vanish, send slowly, do not read, or send garbage: nothing leaks, nothing crashes, probes are served."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

import pytest

from inference.stepped.engine import SteppedEngine
from tests.inference_server import RunningServer, running_server

NUM_CLIENTS = 200


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(SteppedEngine(tokens_per_second=640.0, num_slots=2, max_queued_requests=16)) as running:
        yield running


def connect(server: RunningServer) -> socket.socket:
    where = urlparse(server.url)
    return socket.create_connection((where.hostname, where.port), timeout=10)


def request_bytes(user: str, **fields: object) -> bytes:
    """Return a whole request for an image."""
    body = json.dumps({"prompt": "7", **fields}).encode()
    head = (
        "POST /v1/images/generations HTTP/1.1\r\nHost: pod\r\nContent-Type: application/json\r\n"
        f"X-Meltguard-User: {user}\r\nX-Meltguard-Tier: paid\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_two_hundred_bad_clients_leave_nothing_behind(server: RunningServer) -> None:
    """All kinds at once: probes are answered meanwhile, and afterwards the pod is as it was before."""
    draw = random.Random(0)
    assert server.draw().status == 200
    files_before = open_files()

    def misbehave(number: int) -> None:
        with connect(server) as client:
            whole = request_bytes(f"bad-{number % 40}", stream=number % 2 == 0, partial_images=0)
            kind = number % 5
            if kind == 0:
                client.sendall(whole)  # asks and goes at once
            elif kind == 1:
                client.sendall(whole)
                client.recv(16)  # reads the beginning and goes
            elif kind == 2:
                client.sendall(whole[: draw.randrange(1, len(whole))])  # stops in the middle
            elif kind == 3:
                client.sendall(os.urandom(200) + b"\r\n\r\n")
            else:
                client.sendall(whole)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # resets

    with ThreadPoolExecutor(50) as pool:
        clients = [pool.submit(misbehave, number) for number in range(NUM_CLIENTS)]
        for _ in range(10):
            assert server.get("/livez").status == 200
            assert server.get("/metrics").status == 200
        for client in clients:
            client.result(timeout=60)
    server.wait(lambda: server.engine.snapshot().num_busy_slots == 0)
    server.wait(lambda: server.engine.snapshot().num_queued_requests == 0)
    server.wait(lambda: server.server.pod.runner.num_open == 0)
    admitted = server.metric("meltguard_inference_requests_received_total", outcome="admitted")
    server.wait(lambda: server.metric("meltguard_inference_requests_ended_total") == admitted)
    assert server.metric("meltguard_inference_clients_dropped_total", reason="vanished") >= 1
    assert server.draw().status == 200
    # Every image that nobody got is back in the quota, and nobody holds a place.
    assert server.server.pod.gate._in_work == {}
    server.wait(lambda: open_files() <= files_before + 2)


def test_a_client_that_goes_frees_its_slot(server: RunningServer) -> None:
    """The engine is told to stop within a step or so of the client's leaving, streaming or not."""
    engine = server.engine
    for streams in (False, True):
        with connect(server) as client:
            client.sendall(request_bytes("goes", stream=streams, n=10))
            server.wait(lambda: engine.snapshot().num_busy_slots == 2)
        server.wait(lambda: engine.snapshot().num_busy_slots == 0)
        assert engine.snapshot().queued_tokens == 0
    assert engine.snapshot().cancelled_tokens_total > 0
    assert server.metric("meltguard_inference_requests_ended_total", outcome="cancelled") == 2


def test_a_head_that_does_not_come_is_cut_off() -> None:
    """A connection without a complete request ends by itself."""
    with running_server(idle_seconds=0.3) as server, connect(server) as client:
        client.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: pod\r\nX-Slow: ")
        assert client.recv(100) == b""


def test_a_body_that_does_not_come_is_refused() -> None:
    """A body has a time limit of its own, answered with 408."""
    with running_server(body_seconds=0.3) as server, connect(server) as client:
        client.sendall(request_bytes("slow")[:-5])
        assert client.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_client_that_does_not_read_is_dropped() -> None:
    """A stream whose reader stands still is cut, its slot freed, and it is counted as slow."""
    engine = SteppedEngine(tokens_per_second=50_000.0, num_slots=2)
    with running_server(engine, write_seconds=0.3) as server:
        # Small buffers on both sides, so that a few answers fill them; accepted connections inherit the listener's.
        (site,) = server.server._runner.sites
        site._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        where = urlparse(server.url)
        with client:
            client.connect((where.hostname, where.port))
            for _ in range(20):
                client.sendall(request_bytes("deaf", stream=True, partial_images=3, n=10))
            server.wait(lambda: server.metric("meltguard_inference_clients_dropped_total", reason="slow") >= 1)
            server.wait(lambda: engine.snapshot().num_busy_slots == 0)
