"""Quotas on a real Redis: shared by pods, and what holds while it is gone and when it is back."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

from structlog.testing import capture_logs

from tests.inference_server import RunningServer, running_server
from tools.real_parts.servers import RedisServer

STORE_UP = "meltguard_inference_quota_store_up"
WITHOUT = "meltguard_inference_quota_decisions_without_store_total"


def used(server: RunningServer, user: str, tier: str = "free") -> list[int]:
    """Return a user's images in the hour and in the day."""
    windows = server.get("/v1/quota", X_Meltguard_User=user, X_Meltguard_Tier=tier).json["windows"]
    return [window["used"] for window in windows]


@contextmanager
def redis_gone(redis: RedisServer, server: RunningServer, *, killed: bool) -> Iterator[None]:
    """Let Redis hang or die, and bring it back; the body runs once the server has noticed."""
    if killed:
        redis.process.kill()
    else:
        redis.process.suspend()
    try:
        server.draw(user="prober", tier="paid")
        server.wait(lambda: server.metric(STORE_UP) == 0)
        yield
    finally:
        if killed:
            redis.process.start(lambda: answers(redis))
        else:
            redis.process.resume()
    server.wait(lambda: server.draw(user="prober", tier="paid").status == 200 and server.metric(STORE_UP) == 1)


def answers(redis: RedisServer) -> bool:
    try:
        return redis.command("PING") == "+PONG\r\n"
    except Exception:
        return False


def test_pods_share_quotas(redis_server: RedisServer) -> None:
    """What a user draws at one pod is counted at the other."""
    user = secrets.token_hex(4)
    with running_server(redis_url=redis_server.url) as one, running_server(redis_url=redis_server.url) as other:
        assert one.draw(user=user, n=3).status == 200
        assert used(other, user) == [3, 3]
        assert other.draw(user=user, n=2).status == 200
        assert used(one, user) == [5, 5]


def test_while_redis_hangs_paid_goes_on_and_free_is_counted_here(redis_server: RedisServer) -> None:
    """Fail open for paid; free up to its limit by what the pod last read plus what it admitted since."""
    free, paid = secrets.token_hex(4), secrets.token_hex(4)
    with capture_logs() as lines, running_server(redis_url=redis_server.url) as server:
        for _ in range(12):
            assert server.draw(user=free, n=4).status == 200
        with redis_gone(redis_server, server, killed=False):
            assert used(server, free) == [48, 48]
            assert server.draw(user=free, n=2).status == 200
            refused = server.draw(user=free, n=1)
            assert (refused.status, refused.error["limit"]) == (429, "images-per-hour")
            assert server.draw(user=paid, tier="paid", n=10).status == 200
            assert server.metric(WITHOUT, policy="open") >= 1
            assert server.metric(WITHOUT, policy="local") >= 1
            assert server.get("/readyz").status == 200
        # What was admitted meanwhile is counted in Redis now, once.
        assert used(server, free) == [50, 50]
        assert used(server, paid, "paid") == [10, 10]
        with running_server(redis_url=redis_server.url) as other:
            assert used(other, free) == [50, 50]
    # One warning for the whole time, not one for each request, and a word when it is over.
    told = [(line["event"], line["log_level"]) for line in lines if line["event"].startswith("quotas.")]
    assert told == [("quotas.store_lost", "warning"), ("quotas.store_back", "info")]


def test_counters_that_redis_lost_are_made_up_for(redis_server: RedisServer) -> None:
    """Redis dies with its counters and comes back empty: users' counts are as if nothing had happened."""
    user = secrets.token_hex(4)
    with running_server(redis_url=redis_server.url) as server:
        assert server.draw(user=user, n=4).status == 200
        with redis_gone(redis_server, server, killed=True):
            assert server.draw(user=user, n=3).status == 200
        assert used(server, user) == [7, 7]
        assert server.metric("meltguard_inference_quota_store_failures_total") >= 1


def test_a_client_that_goes_while_the_store_is_slow_costs_nothing(redis_server: RedisServer) -> None:
    """Who leaves before the quota was answered holds no place and has no image counted."""
    user = secrets.token_hex(4)
    with running_server(redis_url=redis_server.url) as server:
        assert used(server, user) == [0, 0]
        redis_server.process.suspend()
        try:
            where = urlparse(server.url)
            for _ in range(3):
                with socket.create_connection((where.hostname, where.port), timeout=10) as client:
                    body = b'{"prompt": "7"}'
                    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: pod\r\nX-Meltguard-User: {user}\r\n"
                    rest = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                    client.sendall(head.encode() + rest.encode() + body)
                    time.sleep(0.05)
        finally:
            redis_server.process.resume()
        received = "meltguard_inference_requests_received_total"
        server.wait(lambda: server.metric(received, outcome="admitted") == 3)
        server.wait(lambda: server.metric("meltguard_inference_requests_ended_total") == 3)
        done = server.metric("meltguard_inference_images_generated_total")
        server.wait(lambda: server.draw(user="prober", tier="paid").status == 200 and server.metric(STORE_UP) == 1)
        server.wait(lambda: used(server, user) == [done, done])
        assert server.server.pod.gate._in_work == {}
