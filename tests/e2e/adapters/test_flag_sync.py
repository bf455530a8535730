"""The embedded sync server with flagd's real provider: newest flags at once, no stale stream, no unbounded queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from openfeature import api as api_of_consumers
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc

from controller.adapters.flags.feed import FeedSettings, FlagFeed
from controller.adapters.flags.store import ConfigMapFlagStore
from controller.adapters.flags.sync_server import SyncServer, SyncSettings
from controller.adapters.ports import WriteOutcome
from controller.errors import PermanentError
from controller.types import Rung
from tests.flag_samples import first_of, rendered, rendered_ago
from tests.planning_samples import NOW

LIMITED = {"r0": first_of(Rung.DISABLE_FREE)}
FREE_USER = EvaluationContext(targeting_key="u", attributes={"region": "r0", "tier": "free"})


class Clock:
    """Seconds that a test moves by hand."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the present second."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def served(clock: Clock) -> Iterator[tuple[SyncServer, int]]:
    """A server with room for three streams, and its port."""
    server = SyncServer(SyncSettings(listen="127.0.0.1:0", max_subscribers=3, check_seconds=0.05), clock=clock)
    port = server.start()
    yield server, port
    server.stop()


def text_of(revision: int) -> str:
    """Return a small set of some revision."""
    return rendered({"r0": 0}, expires_at=NOW, revision=revision).text


def stream(port: int) -> tuple[grpc.Channel, Iterator[object]]:
    """Open a raw stream."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    return channel, sync_pb2_grpc.FlagSyncServiceStub(channel).SyncFlags(sync_pb2.SyncFlagsRequest(), timeout=20)


def test_a_real_provider_follows_every_change(served, wait_until) -> None:
    """A consumer starts on the flags as they stand, sees a limit when it is published, and its end by itself."""
    server, port = served
    server.publish(rendered_ago({"r0": 0}, seconds_past_expiry=-60.0, revision=1).text, 1)
    provider = FlagdProvider(host="127.0.0.1", port=port, resolver_type=ResolverType.IN_PROCESS, deadline_ms=5000)
    provider.initialize(EvaluationContext())
    try:

        def enabled() -> bool:
            return provider.resolve_boolean_details("image-generation-enabled", True, FREE_USER).value

        assert enabled()
        server.publish(rendered_ago(LIMITED, seconds_past_expiry=-60.0, revision=2).text, 2)
        wait_until(lambda: not enabled())
        server.publish(rendered_ago(LIMITED, seconds_past_expiry=900.0, revision=3).text, 3)
        wait_until(enabled)
    finally:
        provider.shutdown()


def test_streams_carry_the_newest_set_and_never_an_older_one(served) -> None:
    """A stream starts with the present set and goes on with newer ones; an older one is not published."""
    server, port = served
    server.publish(text_of(5), 5)
    channel, messages = stream(port)
    with channel:
        assert next(messages).flag_configuration == text_of(5)
        assert not server.publish(text_of(4), 4)
        assert server.publish(text_of(6), 6)
        assert next(messages).flag_configuration == text_of(6)
        assert sync_pb2_grpc.FlagSyncServiceStub(channel).FetchAllFlags(
            sync_pb2.FetchAllFlagsRequest(), timeout=5
        ).flag_configuration == text_of(6)


def test_a_server_that_cannot_confirm_ends_its_streams(served, clock, wait_until) -> None:
    """Without a confirmation streams end and new ones are refused; the next confirmation lets them in again."""
    server, port = served
    server.publish(text_of(1), 1)
    channel, messages = stream(port)
    with channel:
        next(messages)
        clock.seconds += 11.0
        with pytest.raises(grpc.RpcError) as ended:
            next(messages)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        wait_until(lambda: server.num_subscribers == 0)
    refused_channel, refused = stream(port)
    with refused_channel, pytest.raises(grpc.RpcError):
        next(refused)

    server.publish(text_of(1), 1)

    again_channel, again = stream(port)
    with again_channel:
        assert next(again).flag_configuration == text_of(1)


def test_threads_that_publish_at_once_never_send_a_stream_back(served) -> None:
    """However writes and reads of the store overlap, the revisions on a stream only grow, up to the last."""
    server, port = served
    server.publish('{"revision":1}', 1)
    channel, messages = stream(port)
    with channel:
        next(messages)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: server.publish(f'{{"revision":{number}}}', number), range(2, 1002)))
        seen = []
        for message in messages:
            seen.append(int(message.flag_configuration.partition(":")[2].rstrip("}")))
            if seen[-1] == 1001:
                break
    assert seen == sorted(seen)


def test_the_documented_consumer_works(served) -> None:
    """The example of the how-to, as it stands there, receives a limit and falls back to its own default."""
    server, port = served
    text = rendered_ago(LIMITED, seconds_past_expiry=-60.0, revision=2).text
    server.publish(text.replace('["r0"]', '["us-east"]'), 2)
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "receive-flags.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, object] = {}
    try:
        exec(example.replace('"meltguard-operator"', '"127.0.0.1"').replace("8015", str(port)), names)
    finally:
        api_of_consumers.shutdown()

    assert (names["enabled"], names["quota"]) == (False, 100)


def test_older_flags_confirm_nothing(served, clock) -> None:
    """A store that shows an older set than was streamed does not make the streams fresh."""
    server, _ = served
    server.publish(text_of(5), 5)
    clock.seconds += 11.0
    server.publish(text_of(4), 4)
    assert not server.is_fresh
    server.publish(text_of(5), 5)
    assert server.is_fresh


def test_streams_are_bounded(served) -> None:
    """The fourth stream at a server with room for three is sent elsewhere; a place that is left is given away."""
    server, port = served
    server.publish(text_of(1), 1)
    opened = [stream(port) for _ in range(3)]
    for _, messages in opened:
        next(messages)
    channel, messages = stream(port)
    with channel, pytest.raises(grpc.RpcError) as refused:
        next(messages)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for channel, _ in opened:
        channel.close()


def test_a_slow_consumer_skips_to_the_newest(served) -> None:
    """A consumer that does not read while hundreds of sets are published gets the last of them, not all of them."""
    server, port = served
    server.publish(text_of(1), 1)
    channel, messages = stream(port)
    with channel:
        next(messages)
        long = "x" * 200_000
        for revision in range(2, 402):
            server.publish(f'{{"n":{revision},"pad":"{long}"}}', revision)
        seen = []
        for message in messages:
            seen.append(message.flag_configuration[:12])
            if seen[-1].startswith('{"n":401'):
                break
        assert len(seen) < 300


def test_an_address_in_use_is_refused_in_words(served) -> None:
    """A port that somebody holds fails at start with the option's name."""
    _, port = served
    with pytest.raises(PermanentError, match="--sync-listen"):
        SyncServer(SyncSettings(listen=f"127.0.0.1:{port}")).start()


def test_every_replica_streams_what_the_store_holds(api, namespace, wait_until) -> None:
    """A write by one replica reaches the streams of another by the watch; before the first there is no limit."""
    store = ConfigMapFlagStore(api, namespace=namespace, name="flags")
    server = SyncServer(SyncSettings(listen="127.0.0.1:0"))
    feed = FlagFeed(
        store, server, FeedSettings(read_seconds=30.0, watch_seconds=2.0, retry_seconds=0.05), watch=api.watch
    )
    port = server.start()
    feed.start()
    try:
        wait_until(lambda: server.revision == 0)
        channel, messages = stream(port)
        with channel:
            assert '"flags":{}' in next(messages).flag_configuration
            flags = rendered(LIMITED, expires_at=NOW, revision=1)
            assert store.write(flags, epoch=1, token="", now=NOW).outcome is WriteOutcome.DONE
            assert next(messages).flag_configuration == flags.text
    finally:
        feed.stop()
        server.stop()


def test_flags_edited_by_hand_are_not_spread(api, namespace, wait_until) -> None:
    """A hand-made change of the ConfigMap reaches no stream, and the feed says why."""
    store = ConfigMapFlagStore(api, namespace=namespace, name="flags")
    server = SyncServer(SyncSettings(listen="127.0.0.1:0"))
    feed = FlagFeed(store, server, FeedSettings(read_seconds=0.05))
    flags = rendered(LIMITED, expires_at=NOW, revision=1)
    store.write(flags, epoch=1, token="", now=NOW)
    feed.start()
    try:
        wait_until(lambda: server.revision == 1)
        edited = {"data": {"flags.json": flags.text.replace('"revision":1', '"revision":2')}}
        assert api.call("PATCH", store.path, body=edited, content_type="application/merge-patch+json").ok
        wait_until(lambda: feed.problem is not None)
        assert "by hand" in str(feed.problem)
        assert server.revision == 1
    finally:
        feed.stop()


def test_hundreds_of_streams_open_at_once() -> None:
    """Three hundred consumers that arrive together are all served, by one thread."""
    server = SyncServer(SyncSettings(listen="127.0.0.1:0"))
    port = server.start()
    server.publish(text_of(1), 1)
    channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options=[("c", number)]) for number in range(10)]

    def follow(number: int) -> str:
        stub = sync_pb2_grpc.FlagSyncServiceStub(channels[number % 10])
        messages = stub.SyncFlags(sync_pb2.SyncFlagsRequest(), timeout=30)
        next(messages)
        second = next(messages).flag_configuration
        messages.cancel()
        return str(second)

    try:
        with ThreadPoolExecutor(300) as pool:
            following = [pool.submit(follow, number) for number in range(300)]
            pause = threading.Event()
            for _ in range(400):
                if server.num_subscribers == 300:
                    break
                pause.wait(0.05)
            assert server.num_subscribers == 300
            server.publish(text_of(2), 2)
            assert {one.result(30) for one in following} == {text_of(2)}
    finally:
        for channel in channels:
            channel.close()
        server.stop()
