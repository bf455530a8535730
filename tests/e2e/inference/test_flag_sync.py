"""Flags over a flagd sync stream: taken at once, kept when the stream ends, and read again when it is back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc

from tests.flag_documents import flag_document
from tests.inference_server import RunningServer, running_server
from tools.real_parts.processes import LOOPBACK, free_port


class FlagStream(sync_pb2_grpc.FlagSyncServiceServicer):
    """A flagd sync server that sends what it is given to everybody who listens."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.current = flag_document(1)
        self.changed = threading.Condition()
        self._server: grpc.Server | None = None

    def SyncFlags(self, request, context):
        sent = None
        while context.is_active():
            with self.changed:
                if self.current == sent:
                    self.changed.wait(0.1)
                    continue
                sent = self.current
            yield sync_pb2.SyncFlagsResponse(flag_configuration=sent)

    def send(self, document: str) -> None:
        with self.changed:
            self.current = document
            self.changed.notify_all()

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        sync_pb2_grpc.add_FlagSyncServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"{LOOPBACK}:{self.port}") == self.port
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(grace=0).wait(5)
            self._server = None


@pytest.fixture
def stream() -> Iterator[FlagStream]:
    running = FlagStream(free_port())
    running.start()
    yield running
    running.stop()


def revision(server: RunningServer) -> float:
    return server.server.pod.provider.state().revision


def test_a_change_on_the_stream_reaches_admission(stream: FlagStream) -> None:
    """What the stream sends holds from then on, and the set does not age while the stream lives."""
    with running_server(flags=f"grpc://{LOOPBACK}:{stream.port}") as server:
        server.wait(lambda: revision(server) == 1)
        assert server.draw().status == 200
        stream.send(flag_document(2, image_generation_enabled=False))
        server.wait(lambda: revision(server) == 2)
        assert server.draw().status == 403
        assert server.metric("meltguard_flags_age_seconds") == 0.0
        stream.send("{")
        server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="malformed") == 1)
        assert server.draw().status == 403


def test_a_lost_stream_leaves_the_flags_and_a_new_one_may_not_bring_older_ones(stream: FlagStream) -> None:
    """A controller that dies changes nothing, one that comes back with an older set neither, one with a newer does."""
    with running_server(flags=f"grpc://{LOOPBACK}:{stream.port}") as server:
        stream.send(flag_document(5, images_per_day=0))
        server.wait(lambda: revision(server) == 5)
        stream.stop()
        server.wait(lambda: server.metric("meltguard_flags_age_seconds") > 0.2)
        assert server.draw().status == 429
        stream.current = flag_document(4)
        stream.start()
        server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="older") >= 1)
        assert server.draw().status == 429
        stream.send(flag_document(6))
        server.wait(lambda: revision(server) == 6)
        assert server.draw().status == 200


def test_a_pod_starts_without_its_controller() -> None:
    """No stream at the start: the pod serves by its normal limits and keeps trying."""
    port = free_port()
    with running_server(flags=f"grpc://{LOOPBACK}:{port}") as server:
        assert server.draw().status == 200
        server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="unreadable") >= 1)
        late = FlagStream(port)
        late.start()
        try:
            server.wait(lambda: revision(server) == 1)
        finally:
            late.stop()
