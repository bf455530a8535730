"""Flags from the operator's own sync server: taken at once, kept when it ends, and read again when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controller.adapters.flags.sync_server import SyncServer, SyncSettings
from tests.flag_documents import flag_document
from tests.inference_server import RunningServer, running_server
from tools.real_parts.processes import LOOPBACK, free_port


@contextmanager
def sync_server(port: int = 0) -> Iterator[tuple[SyncServer, int]]:
    """Run a sync server; yield it and its port."""
    server = SyncServer(SyncSettings(listen=f"{LOOPBACK}:{port}", fresh_seconds=60.0))
    bound = server.start()
    try:
        yield server, bound
    finally:
        server.stop()


def revision(server: RunningServer) -> float:
    return server.server.pod.provider.state().revision


def test_a_change_on_the_stream_reaches_admission() -> None:
    """What the stream sends holds from then on, a broken set does not; no set ages while its stream lives."""
    with sync_server() as (sync, port), running_server(flags=f"grpc://{LOOPBACK}:{port}") as server:
        sync.publish(flag_document(1), 1)
        server.wait(lambda: revision(server) == 1)
        assert server.draw().status == 200
        sync.publish(flag_document(2, image_generation_enabled=False), 2)
        server.wait(lambda: revision(server) == 2)
        assert server.draw().status == 403
        assert server.metric("meltguard_flags_age_seconds") == 0.0
        sync.publish("{", 3)
        server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="malformed") == 1)
        assert server.draw().status == 403


def test_a_lost_stream_leaves_the_flags_and_a_new_one_may_not_bring_older_ones() -> None:
    """A controller that dies changes nothing, one that comes back with an older set neither, one with a newer does."""
    port = free_port()
    with running_server(flags=f"grpc://{LOOPBACK}:{port}") as server:
        with sync_server(port) as (sync, _):
            sync.publish(flag_document(5, images_per_day=0), 5)
            server.wait(lambda: revision(server) == 5)
        server.wait(lambda: server.metric("meltguard_flags_age_seconds") > 0.2)
        assert server.draw().status == 429
        with sync_server(port) as (sync, _):
            sync.publish(flag_document(4), 4)
            server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="older") >= 1)
            assert server.draw().status == 429
            sync.publish(flag_document(6), 6)
            server.wait(lambda: revision(server) == 6)
            assert server.draw().status == 200


def test_a_pod_starts_without_its_controller() -> None:
    """No stream at the start: the pod serves by its normal limits and keeps trying."""
    port = free_port()
    with running_server(flags=f"grpc://{LOOPBACK}:{port}") as server:
        assert server.draw().status == 200
        server.wait(lambda: server.metric("meltguard_flags_refused_total", reason="unreadable") >= 1)
        with sync_server(port) as (sync, _):
            sync.publish(flag_document(1), 1)
            server.wait(lambda: revision(server) == 1)
